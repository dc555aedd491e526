package trial

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"muster/repl/client"
)

// stopWithin is what a node takes at most to end whose disk hangs: the bound of
// docs/operating.md, and what a busy machine adds.
const stopWithin = 12*time.Second + busyMax

// A second SIGTERM does not wait for the first one's bound: the process ends at
// once, whatever does not return, and not as if all were well.
func TestHungDiskToldTwice(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1)
	c.hang(0, "io_submit:retval=1")
	p := c.nodes[0]
	c.until("a write hangs", func(ctx context.Context) error {
		cl := c.client()
		defer cl.Close()
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if _, err := cl.Set(ctx, []byte("k"), []byte("v"), client.WriteOptions{}); err == nil {
			return errors.New("it does not")
		}
		if !strings.Contains(c.logOf(0), "disk stalls") {
			return errors.New("it is slow")
		}
		return nil
	})
	p.cmd.Process.Signal(syscall.SIGTERM)
	c.until("it knows that it is to stop", func(context.Context) error {
		if log, err := os.ReadFile(p.log); err != nil || !strings.Contains(string(log), "node stops") {
			return fmt.Errorf("%v: %s", err, log)
		}
		return nil
	})
	told := time.Now()
	p.cmd.Process.Signal(syscall.SIGTERM)
	<-p.exited
	log, err := os.ReadFile(p.log)
	if err != nil || strings.Contains(string(log), "nothing that was confirmed is lost") {
		t.Errorf("it ended by the first bound, %v after the second SIGTERM: %v", time.Since(told), err)
	}
	if p.cmd.ProcessState.ExitCode() == 0 {
		t.Error("it ended as if all were well")
	}
}

// hang has all of a process's calls to the disk hang from now on, until release
// is called. It skips the test where that can't be done.
func (c *cluster) hang(i int, inject string) (release func()) {
	c.t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		c.t.Skip("HUNG DISKS OF REAL PROCESSES ARE NOT TESTED: there is no strace")
	}
	var said strings.Builder
	cmd := exec.Command(strace, "-f", "-qq", "-o", "/dev/null", "-p", fmt.Sprint(c.nodes[i].cmd.Process.Pid),
		"-e", "trace=io_submit,pwrite64,fdatasync,fsync", "-e", "inject="+inject)
	cmd.Stderr = &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		c.t.Skipf("HUNG DISKS OF REAL PROCESSES ARE NOT TESTED: %v", err)
	}
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	release = func() { cmd.Process.Kill(); <-ended }
	c.t.Cleanup(release)
	c.until("strace has the process", func(context.Context) error {
		select {
		case <-ended:
			c.t.Skipf("HUNG DISKS OF REAL PROCESSES ARE NOT TESTED: strace: %s", said.String())
		default:
		}
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.nodes[i].cmd.Process.Pid))
		if err == nil && strings.Contains(string(b), "TracerPid:\t0\n") {
			err = errors.New("nobody traces it")
		}
		return err
	})
	return release
}

// A node whose disk hangs, be it that a thread stands in a call or that a write
// which no thread waits for never ends: its status names the disk and ends with
// 1, its log has a line, and SIGTERM ends it within its bound, with a status
// that is not 0 and a line that says what did not return. Whatever was
// acknowledged is there afterwards.
func TestHungDiskOfAProcess(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, inject string }{
		{"a thread stands in a call", "io_submit,pwrite64,fdatasync,fsync:delay_enter=600000000"},
		{"a write is begun and never ends", "io_submit:retval=1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := startCluster(t, 3, "--groups", "3")
			const kept = 20
			cl := c.client()
			for i := range kept {
				if _, err := cl.Set(t.Context(), fmt.Appendf(nil, "kept-%d", i), []byte("v"), client.WriteOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			release := c.hang(0, test.inject)
			for i := range c.nodes { // each makes the hung node write
				if _, err := cl.Set(t.Context(), fmt.Appendf(nil, "later-%d", i), []byte("v"), client.WriteOptions{}); err != nil {
					t.Errorf("two of three nodes are well, and a write fails: %v", err)
				}
			}
			for i := range 2 { // the node itself, which names the file, and another
				var r result
				c.until(fmt.Sprintf("the status of n%d names the disk", i+1), func(context.Context) error {
					if r = muster(t, "status", "--endpoints", c.nodes[i].addr); r.status != 1 || !strings.Contains(r.stdout, "the disk of node n1 ("+c.nodes[0].addr+") stands still") {
						return fmt.Errorf("status %d: %s%s", r.status, r.stdout, r.stderr)
					}
					return nil
				})
				if i == 0 && !strings.Contains(r.stdout, c.nodes[0].data) || !strings.Contains(r.stdout, "remedy: check whether that disk still works") {
					t.Errorf("n%d does not name the file and a remedy:\n%s", i+1, r.stdout)
				}
			}
			p := c.nodes[0]
			p.cmd.Process.Signal(syscall.SIGTERM)
			told := time.Now()
			c.until("it says that it ends", func(context.Context) error {
				if log, err := os.ReadFile(p.log); err != nil || !strings.Contains(string(log), "nothing that was confirmed is lost") {
					return fmt.Errorf("%v: %s", err, log)
				}
				return nil
			})
			// What strace holds of the process, though it has ended, goes with
			// strace.
			release()
			<-p.exited
			if took := time.Since(told); took > stopWithin {
				t.Errorf("it ended %v after SIGTERM, want %v", took, stopWithin)
			}
			if p.cmd.ProcessState.ExitCode() == 0 {
				t.Error("it ended as if all were well")
			}
			log := c.logOf(0)
			if n := strings.Count(log, "nothing that was confirmed is lost"); n != 1 {
				t.Errorf("it says %d times why it ends", n)
			}
			// A busy machine may have let the disk stand before.
			if stalls, ends := strings.Count(log, "disk stalls"), strings.Count(log, "disk is back"); stalls != ends+1 {
				t.Errorf("it says %d times that the disk stands, and %d times that it is back", stalls, ends)
			}
			c.start(0)
			c.healthy()
			for i := range kept {
				key := fmt.Sprintf("kept-%d", i)
				if r := muster(t, "kv", "get", key, "--endpoints", p.addr); r.status != 0 || strings.TrimSpace(r.stdout) != "v" {
					t.Errorf("%s: %+v", key, r)
				}
			}
		})
	}
}
