// Package probetest starts servers that tests have checked.
//
// They are those of Debian's packages, as processes on free ports of this host: their
// protocols have corners that a server of ours would share our misreading of. Of gRPC, which
// has no server of its own, it has the standard health service, as a handler.
//
// It decides nothing about checks, and no product code imports it. server.go has what all
// servers share, real.go how each is prepared, health.go the health service, small.go what
// stands in for servers that are not installed. Each server that runs has one goroutine, which
// waits for the end of its process.
package probetest

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	// readyMax is how long a server may take to start, on a machine that other tests keep busy.
	readyMax = 2 * time.Minute
	// readyEvery is how often it is looked at meanwhile.
	readyEvery = 10 * time.Millisecond
)

// Server is a server of its own process, which can be ended and started again at the same
// address. It ends with its test. One goroutine uses it.
type Server struct {
	// Set once. What a check logs in with; empty: nothing.
	User, Pass, Database string
	// Port is where it listens, on 127.0.0.1.
	Port string

	t       testing.TB
	command func() *exec.Cmd
	ready   string         // part of what it prints once it serves
	end     syscall.Signal // ends it at once, and all its processes

	said  output
	cmd   *exec.Cmd     // nil while it does not run
	ended chan struct{} // closed when cmd has
}

// ErrNotInstalled tells of a server that this host does not have.
type ErrNotInstalled struct{ Program string }

func (e *ErrNotInstalled) Error() string {
	return fmt.Sprintf("no %s is installed (.ci/run installs it)", e.Program)
}

// Addr is where it listens, as host:port.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", s.Port) }

// Said is all that it has printed.
func (s *Server) Said() string { return s.said.String() }

// Start starts it, and returns once it serves.
func (s *Server) Start() {
	s.t.Helper()
	before := len(s.Said())
	cmd := s.command()
	cmd.Stdout, cmd.Stderr = &s.said, &s.said
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	// A test that is killed takes its servers along.
	cmd.SysProcAttr.Pdeathsig = s.end
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	s.cmd, s.ended = cmd, ended
	// It is not asked whether it serves: a server that is asked while it starts may complain.
	late := time.After(readyMax)
	for !strings.Contains(s.Said()[before:], s.ready) {
		select {
		case <-ended:
			s.t.Fatalf("%s has ended by itself", cmd.Path)
		case <-late:
			s.t.Fatalf("%s does not serve after %v", cmd.Path, readyMax)
		case <-time.After(readyEvery):
		}
	}
}

// Kill ends it at once, as if its host had lost power. Its data is there at the next start.
func (s *Server) Kill() {
	if s.cmd != nil {
		_ = s.cmd.Process.Signal(s.end)
		<-s.ended
		s.cmd = nil
	}
}

// newServer makes one on a free port. It is not started yet.
func newServer(t testing.TB) *Server {
	t.Helper()
	s := &Server{t: t, Port: FreePort(t), end: syscall.SIGKILL}
	t.Cleanup(func() {
		s.Kill()
		if t.Failed() {
			t.Logf("the server at %s said:\n%s", s.Addr(), s.Said())
		}
	})
	return s
}

// FreePort returns a port of this host that nothing listens on.
func FreePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// folder is one that other users can enter, unlike that of t.TempDir.
func folder(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "probe-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// output is what a server prints.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}
