package system

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// process is a node that runs.
type process struct{ cmd *exec.Cmd }

// begin starts a program, which writes its output behind that of earlier starts
// into the file log. It dies with this process, whatever ends this one.
func begin(log, program string, args ...string) (*process, error) {
	f, err := os.OpenFile(log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer f.Close() // the child has its own copy
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = f, f
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &process{cmd}, nil
}

// kill ends it and waits until it is gone.
func (p *process) kill() {
	p.cmd.Process.Kill()
	p.cmd.Wait() // the error says that it was killed
}

// group is the nodes of one system, by number.
type group struct {
	dir     string
	running map[int]*process
}

// restart forgets what ran before: the nodes' data lie under dir.
func (g *group) restart(dir string) { g.dir, g.running = dir, map[int]*process{} }

// data is the folder of one node.
func (g *group) data(node int) string { return filepath.Join(g.dir, fmt.Sprintf("n%d", node)) }

func (g *group) begin(node int, program string, args ...string) error {
	if err := os.MkdirAll(g.data(node), 0o755); err != nil {
		return err
	}
	p, err := begin(g.data(node)+".log", program, args...)
	if err != nil {
		return fmt.Errorf("start node %d: %w", node, err)
	}
	g.running[node] = p
	return nil
}

// Kill ends a node by SIGKILL.
func (g *group) Kill(node int) {
	if p := g.running[node]; p != nil {
		p.kill()
		delete(g.running, node)
	}
}

// Stop kills all nodes at once.
func (g *group) Stop() {
	for _, p := range g.running {
		p.cmd.Process.Kill()
	}
	for node := range g.running {
		g.Kill(node)
	}
}

// Processes are the process ids of the nodes that run.
func (g *group) Processes() (pids []int) {
	for _, p := range g.running {
		pids = append(pids, p.cmd.Process.Pid)
	}
	return pids
}

// freeAddresses returns addresses on which nobody listens now. They are held at
// the same time, so they differ.
func freeAddresses(n int) (addrs []string, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		addrs = append(addrs, l.Addr().String())
	}
	return addrs, nil
}

var errNotYet = errors.New("not yet")

// await calls f again and again until it returns nil.
func await(what string, f func() error) error {
	for until := time.Now().Add(startMax); ; time.Sleep(askEach) {
		err := f()
		if err == nil {
			return nil
		}
		if time.Now().After(until) {
			return fmt.Errorf("%s after %s: %w", what, startMax, err)
		}
	}
}
