package clustertest

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Memory returns what a process has resident, and the most that it ever had, in
// bytes.
func (p *Process) Memory(t testing.TB) (now, most int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Cmd.Process.Pid))
	if err != nil {
		t.Skipf("no figures of processes here: %v", err)
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		if n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(value), " kB")); err == nil {
			switch name {
			case "VmRSS":
				now = n << 10
			case "VmHWM":
				most = n << 10
			}
		}
	}
	return now, most
}

// ProcessorTimeOf is the processor time that a process has taken, user and system. Its error says
// that the system has no such figure, or no such process.
func ProcessorTimeOf(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name in brackets may have spaces; utime and stime are the 12th and
	// 13th field behind it, in hundredths of a second.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields behind the name", pid, len(fields))
	}
	var ticks int64
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/%d/stat: %w", pid, err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}

// ProcessorTime is what all nodes of a cluster have taken of the processors since they were started.
// It skips the test where the system tells nothing of processes, and fails it if a node has ended.
func ProcessorTime(c *Cluster) (sum time.Duration) {
	c.T.Helper()
	if _, err := ProcessorTimeOf(os.Getpid()); err != nil {
		c.T.Skipf("NOT TESTED: the processor time of nodes: %v", err)
	}
	for _, p := range c.Nodes {
		took, err := ProcessorTimeOf(p.Cmd.Process.Pid)
		if err != nil {
			c.T.Fatal(err)
		}
		sum += took
	}
	return sum
}
