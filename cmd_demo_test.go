package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// demonstration is a running demo.
type demonstration struct {
	*exec.Cmd
	out     io.ReadCloser
	said    bytes.Buffer // of standard output, so far
	stderr  bytes.Buffer
	scratch string
}

// startDemo returns when the demo has said what matches until.
func startDemo(t *testing.T, until string) (d *demonstration, match []string) {
	t.Helper()
	d = &demonstration{Cmd: command("demo"), scratch: t.TempDir()}
	d.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	d.Env = append(d.Env, "TMPDIR="+d.scratch)
	d.Stderr = &d.stderr
	var err error
	if d.out, err = d.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(runMax, func() { d.Process.Kill() })
	t.Cleanup(func() { late.Stop() })
	for buf := make([]byte, 4096); ; {
		n, err := d.out.Read(buf)
		d.said.Write(buf[:n])
		if m := regexp.MustCompile(until).FindStringSubmatch(d.said.String()); m != nil {
			return d, m
		}
		if err != nil {
			t.Fatalf("the demo ended: %v\n%s%s", err, &d.said, &d.stderr)
		}
	}
}

// nothingLeft checks that an ended demo has removed its data.
func (d *demonstration) nothingLeft(t *testing.T) {
	t.Helper()
	if left, err := os.ReadDir(d.scratch); err != nil || len(left) > 0 {
		t.Errorf("it left %v behind, %v", left, err)
	}
}

// The demo must come up, serve what it says to try, and leave nothing behind
// when it is interrupted.
func TestDemo(t *testing.T) {
	t.Parallel()
	d, m := startDemo(t, `MUSTER_ENDPOINTS=(\S+)\n`)
	one := regexp.MustCompile(`--endpoints (\S+) kv set greeting hello color blue\n`).FindSubmatch(d.said.Bytes())
	if one == nil {
		t.Fatalf("it does not say what to try:\n%s", &d.said)
	}
	muster(t, "--endpoints", string(one[1]), "kv", "set", "greeting", "hello", "color", "blue").done(t)
	for e := range strings.SplitSeq(m[1], ",") {
		if got := muster(t, "--endpoints", e, "kv", "get", "greeting").done(t); got != "hello\n" {
			t.Errorf("%s has %q", e, got)
		}
	}
	d.Process.Signal(os.Interrupt)
	rest, _ := io.ReadAll(d.out)
	if err := d.Wait(); err != nil || d.stderr.Len() > 0 {
		t.Errorf("the demo ended with %v and said %s%s", err, rest, &d.stderr)
	}
	d.nothingLeft(t)
}

// A demo ends in other ways than by its user's hand: its terminal is closed, or
// whoever read what it prints has gone. It must remove its data all the same.
func TestDemoIsLeftAlone(t *testing.T) {
	t.Parallel()
	t.Run("terminal closed", func(t *testing.T) {
		// Where the tests are to outlive their terminal (nohup), a process that
		// they start does too, unless they take the signal themselves.
		hangUp := make(chan os.Signal, 1)
		signal.Notify(hangUp, syscall.SIGHUP)
		defer signal.Stop(hangUp)
		d, _ := startDemo(t, "founding a cluster")
		// The shell and the system both tell.
		d.Process.Signal(syscall.SIGHUP)
		d.Process.Signal(syscall.SIGHUP)
		rest, _ := io.ReadAll(d.out)
		if err := d.Wait(); err != nil {
			t.Errorf("the demo ended with %v and said %s%s", err, rest, &d.stderr)
		}
		d.nothingLeft(t)
	})
	t.Run("pipe closed", func(t *testing.T) {
		d, _ := startDemo(t, "founding a cluster")
		d.out.Close()
		err := d.Wait()
		if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != int(exitRefused) ||
			!strings.HasPrefix(d.stderr.String(), "muster: write output: ") {
			t.Errorf("the demo ended with %v and said %s", err, &d.stderr)
		}
		d.nothingLeft(t)
	})
}
