package trial

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"muster/node"
	"muster/repl/client/bench"
)

// besideRedis is a table of what one Redis does that syncs each write before it
// answers: keys and values of the sizes of r, as many in flight, and fewer.
func besideRedis(t *testing.T, r bench.Result) (string, error) {
	for _, program := range []string{"redis-server", "redis-benchmark"} {
		if _, err := exec.LookPath(program); err != nil {
			return "", fmt.Errorf("no %s here", program)
		}
	}
	addrs, err := node.FreeAddrs(1)
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(addrs[0])
	if err != nil {
		return "", err
	}
	server := exec.Command("redis-server", "--port", port, "--bind", "127.0.0.1", "--dir", t.TempDir(), "--save", "",
		"--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0")
	server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := server.Start(); err != nil {
		return "", err
	}
	defer func() {
		server.Process.Kill()
		server.Wait()
	}()
	for end := time.Now().Add(readyMax); ; {
		conn, err := net.Dial("tcp", addrs[0])
		if err == nil {
			conn.Close()
			break
		}
		if time.Now().After(end) {
			return "", err
		}
		time.Sleep(20 * time.Millisecond)
	}
	var b strings.Builder
	b.WriteString("| | in flight | writes/s | CPU µs per write, servers |\n|---|---|---|---|\n")
	fmt.Fprintf(&b, "| muster, three nodes | %s | %s | %.1f, for each node %.1f |\n", thousands(r.InFlight), thousands(r.OpsPerS), r.ServerCPU, r.ServerCPU/3)
	for _, pipeline := range []int{16, 64} {
		const connections, few = 16, 50_000
		load := func(n int) (time.Duration, error) {
			began := time.Now()
			out, err := exec.Command("redis-benchmark", "-p", port, "-t", "set", "-d", strconv.Itoa(r.ValueBytes), "-r", strconv.Itoa(r.Keys),
				"-c", strconv.Itoa(connections), "-P", strconv.Itoa(pipeline), "-n", strconv.Itoa(n), "-q").CombinedOutput()
			if err != nil {
				return 0, fmt.Errorf("redis-benchmark: %w\n%s", err, out)
			}
			return time.Since(began), nil
		}
		took, err := load(few)
		if err != nil {
			return "", err
		}
		n := int(few * stagesFor.Seconds() / took.Seconds())
		before, err := cpuOf(server.Process.Pid)
		if err != nil {
			return "", err
		}
		if took, err = load(n); err != nil {
			return "", err
		}
		after, err := cpuOf(server.Process.Pid)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "| Redis, one node, appendfsync always, %d connections with a pipeline of %d | %s | %s | %.1f |\n",
			connections, pipeline, thousands(connections*pipeline), thousands(float64(n)/took.Seconds()), float64((after-before).Nanoseconds())/1000/float64(n))
	}
	return b.String(), nil
}

// cpuOf is the processor time that a process has taken, user and system.
func cpuOf(pid int) (time.Duration, error) {
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
