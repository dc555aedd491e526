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

	"muster/node/trial/clustertest"
	"muster/repl/client"
)

// stopWithin is what a node takes at most to end whose disk hangs: the bound of
// docs/operating.md, and what a busy machine adds.
const stopWithin = 12*time.Second + clustertest.BusyMax

// A second SIGTERM does not wait for the first one's bound: the process ends at
// once, whatever does not return, and not as if all were well.
func TestHungDiskToldTwice(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, 1)
	hang(c, 0, "io_submit:retval=1")
	p := c.Nodes[0]
	c.Until("a write hangs", func(ctx context.Context) error {
		cl := c.Client()
		defer cl.Close()
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if _, err := cl.Set(ctx, []byte("k"), []byte("v"), client.WriteOptions{}); err == nil {
			return errors.New("it does not")
		}
		if !strings.Contains(c.LogOf(0), "disk stalls") {
			return errors.New("it is slow")
		}
		return nil
	})
	p.Cmd.Process.Signal(syscall.SIGTERM)
	c.Until("it knows that it is to stop", func(context.Context) error {
		if log, err := os.ReadFile(p.Log); err != nil || !strings.Contains(string(log), "node stops") {
			return fmt.Errorf("%v: %s", err, log)
		}
		return nil
	})
	told := time.Now()
	p.Cmd.Process.Signal(syscall.SIGTERM)
	<-p.Exited
	log, err := os.ReadFile(p.Log)
	if err != nil || strings.Contains(string(log), "nothing that was confirmed is lost") {
		t.Errorf("it ended by the first bound, %v after the second SIGTERM: %v", time.Since(told), err)
	}
	if p.Cmd.ProcessState.ExitCode() == 0 {
		t.Error("it ended as if all were well")
	}
}

// hang has all of a process's calls to the disk hang from now on, until release
// is called. It skips the test where that can't be done.
func hang(c *clustertest.Cluster, i int, inject ...string) (release func()) {
	c.T.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		c.T.Skip("HUNG DISKS OF REAL PROCESSES ARE NOT TESTED: there is no strace")
	}
	var said strings.Builder
	cmd := exec.Command(strace, "-f", "-qq", "-o", "/dev/null", "-p", fmt.Sprint(c.Nodes[i].Cmd.Process.Pid),
		"-e", "trace=io_submit,pwrite64,fdatasync,fsync")
	for _, call := range inject {
		cmd.Args = append(cmd.Args, "-e", "inject="+call)
	}
	cmd.Stderr = &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		c.T.Skipf("HUNG DISKS OF REAL PROCESSES ARE NOT TESTED: %v", err)
	}
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	release = func() { cmd.Process.Kill(); <-ended }
	c.T.Cleanup(release)
	c.Until("strace has the process", func(context.Context) error {
		select {
		case <-ended:
			c.T.Skipf("HUNG DISKS OF REAL PROCESSES ARE NOT TESTED: strace: %s", said.String())
		default:
		}
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.Nodes[i].Cmd.Process.Pid))
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
	for _, test := range []struct {
		name   string
		inject []string
	}{
		// A call that was told not to wait returns at once, and is refused: the runtime does not hear of it, so
		// where it stood still the process would do so at its next garbage collection.
		{"a thread stands in a call", []string{"io_submit:error=EAGAIN", "pwrite64,fdatasync,fsync:delay_enter=600000000"}},
		{"a write is begun and never ends", []string{"io_submit:retval=1"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := clustertest.Start(t, 3, "--groups", "3")
			const kept = 20
			cl := c.Client()
			for i := range kept {
				if _, err := cl.Set(t.Context(), fmt.Appendf(nil, "kept-%d", i), []byte("v"), client.WriteOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			release := hang(c, 0, test.inject...)
			for i := range c.Nodes { // each makes the hung node write
				if _, err := cl.Set(t.Context(), fmt.Appendf(nil, "later-%d", i), []byte("v"), client.WriteOptions{}); err != nil {
					t.Errorf("two of three nodes are well, and a write fails: %v", err)
				}
			}
			for i := range 2 { // the node itself, which names the file, and another
				var r clustertest.Result
				c.Until(fmt.Sprintf("the status of n%d names the disk", i+1), func(context.Context) error {
					if r = clustertest.Run(t, "status", "--endpoints", c.Nodes[i].Addr); r.Status != 1 || !strings.Contains(r.Stdout, "the disk of node n1 ("+c.Nodes[0].Addr+") stands still") {
						return fmt.Errorf("status %d: %s%s", r.Status, r.Stdout, r.Stderr)
					}
					return nil
				})
				if i == 0 && !strings.Contains(r.Stdout, c.Nodes[0].Data) || !strings.Contains(r.Stdout, "remedy: check whether that disk still works") {
					t.Errorf("n%d does not name the file and a remedy:\n%s", i+1, r.Stdout)
				}
			}
			p := c.Nodes[0]
			p.Cmd.Process.Signal(syscall.SIGTERM)
			told := time.Now()
			c.Until("it says that it ends", func(context.Context) error {
				if log, err := os.ReadFile(p.Log); err != nil || !strings.Contains(string(log), "nothing that was confirmed is lost") {
					return fmt.Errorf("%v: %s", err, log)
				}
				return nil
			})
			// What strace holds of the process, though it has ended, goes with
			// strace.
			release()
			<-p.Exited
			if took := time.Since(told); took > stopWithin {
				t.Errorf("it ended %v after SIGTERM, want %v", took, stopWithin)
			}
			if p.Cmd.ProcessState.ExitCode() == 0 {
				t.Error("it ended as if all were well")
			}
			log := c.LogOf(0)
			if n := strings.Count(log, "nothing that was confirmed is lost"); n != 1 {
				t.Errorf("it says %d times why it ends", n)
			}
			// A busy machine may have let the disk stand before.
			if stalls, ends := strings.Count(log, "disk stalls"), strings.Count(log, "disk is back"); stalls != ends+1 {
				t.Errorf("it says %d times that the disk stands, and %d times that it is back", stalls, ends)
			}
			c.Start(0)
			c.Healthy()
			for i := range kept {
				key := fmt.Sprintf("kept-%d", i)
				if r := clustertest.Run(t, "kv", "get", key, "--endpoints", p.Addr); r.Status != 0 || strings.TrimSpace(r.Stdout) != "v" {
					t.Errorf("%s: %+v", key, r)
				}
			}
		})
	}
}
