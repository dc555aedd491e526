package web

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"muster/node/overview"
	"muster/node/trial/clustertest"
)

// terminal is a pseudo-terminal of Linux: what a program at its other side draws is read here as a
// person sees it.
type terminal struct {
	t           testing.TB
	ours, other *os.File

	mu  sync.Mutex // guards what follows
	raw bytes.Buffer
}

// winsize is what the kernel keeps of a terminal's size.
type winsize struct{ rows, columns, x, y uint16 }

func ioctl(t testing.TB, f *os.File, request uintptr, arg unsafe.Pointer) {
	t.Helper()
	c, err := f.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var errno syscall.Errno
	if err := c.Control(func(fd uintptr) { _, _, errno = syscall.Syscall(syscall.SYS_IOCTL, fd, request, uintptr(arg)) }); err != nil || errno != 0 {
		t.Fatalf("ioctl %#x: %v, %v", request, err, errno)
	}
}

func newTerminal(t testing.TB, rows, columns uint16) *terminal {
	t.Helper()
	ours, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	unlock, number := int32(0), uint32(0)
	ioctl(t, ours, syscall.TIOCSPTLCK, unsafe.Pointer(&unlock))
	ioctl(t, ours, syscall.TIOCGPTN, unsafe.Pointer(&number))
	other, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	m := &terminal{t: t, ours: ours, other: other}
	m.resize(rows, columns)
	gone := make(chan struct{})
	go func() { // ends when ours is closed
		defer close(gone)
		b := make([]byte, 64<<10)
		for {
			n, err := ours.Read(b)
			m.mu.Lock()
			m.raw.Write(b[:n])
			m.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() { ours.Close(); other.Close(); <-gone })
	return m
}

func (m *terminal) resize(rows, columns uint16) {
	size := winsize{rows: rows, columns: columns}
	ioctl(m.t, m.ours, syscall.TIOCSWINSZ, unsafe.Pointer(&size))
}

// modes are the settings of the terminal, which a program changes and has to put back.
func (m *terminal) modes() (t syscall.Termios) {
	ioctl(m.t, m.other, syscall.TCGETS, unsafe.Pointer(&t))
	return t
}

func (m *terminal) press(keys string) {
	if _, err := m.ours.WriteString(keys); err != nil {
		m.t.Fatal(err)
	}
}

// start runs a command that has the terminal for its own.
func (m *terminal) start(cmd *exec.Cmd) {
	m.t.Helper()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = m.other, m.other, m.other
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { cmd.Process.Kill() })
}

// drawing is what a terminal is told: to go to a line, to clear the rest of it or all, or something
// that changes no text.
var drawing = regexp.MustCompile(`\x1b\[(\??[0-9;]*)([A-Za-z])`)

// written returns all that was written to the terminal.
func (m *terminal) written() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.raw.String()
}

// screen returns what a person sees.
func (m *terminal) screen() string {
	raw := m.written()
	lines, at := map[int]string{}, 1
	for len(raw) > 0 {
		i := drawing.FindStringSubmatchIndex(raw)
		if i == nil {
			lines[at] += raw
			break
		}
		lines[at] += raw[:i[0]]
		switch arg, what := raw[i[2]:i[3]], raw[i[4]:i[5]]; {
		case what == "H":
			fmt.Sscanf(arg, "%d", &at)
			lines[at] = ""
		case what == "J":
			clear(lines)
		}
		raw = raw[i[1]:]
	}
	var b strings.Builder
	for i := 1; i <= 100; i++ {
		if lines[i] != "" {
			fmt.Fprintln(&b, lines[i])
		}
	}
	return b.String()
}

// shows waits until all of some words are on the screen.
func (m *terminal) shows(words ...string) {
	m.t.Helper()
	clustertest.Await(m.t, fmt.Sprintf("seen %q", words), clustertest.ReadyMax, func(context.Context) error {
		s := m.screen()
		for _, w := range words {
			if !strings.Contains(s, w) {
				return fmt.Errorf("no %q on\n%s", w, s)
			}
		}
		return nil
	})
}

// ended waits until a command has ended, and returns its status.
func ended(t testing.TB, cmd *exec.Cmd) int {
	t.Helper()
	over := make(chan struct{})
	go func() { cmd.Wait(); close(over) }()
	select {
	case <-over:
	case <-time.After(clustertest.ReadyMax):
		t.Fatal("it has not ended")
	}
	return cmd.ProcessState.ExitCode()
}

// A person at a terminal must see the cluster live, turn to each table, be told which node has died,
// and have the terminal back as it was, also when the program is told to end. Without a terminal
// there is one overview, and a status.
func TestTop(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, 3, "--groups", "2")
	top := func(args ...string) *exec.Cmd {
		cmd := c.Command(append([]string{"top"}, args...)...)
		cmd.Env = append(cmd.Env, "MUSTER_ENDPOINTS="+c.Endpoints(), "TERM=xterm")
		return cmd
	}
	m := newTerminal(t, 24, 80)
	before := m.modes()
	cmd := top()
	m.start(cmd)
	m.shows("muster top · cluster", "[1:nodes (3)]", "n1", "n2", "n3", "writes ")
	if m.modes() == before {
		t.Error("the terminal waits for whole lines")
	}
	m.press("2")
	m.shows("[2:groups (3)]", "REPLICAS")
	m.press("\x1b[B\r")
	m.shows("group 1: leader", "replica ")
	m.press("\x1b")
	m.shows("[2:groups (3)]", "LEADER")
	m.resize(24, 160)
	m.press("1")
	m.shows("[1:nodes (3)]", "ADDR", c.Nodes[2].Addr)
	c.Kill(2)
	m.shows("ERROR", "node n3 ("+c.Nodes[2].Addr+")", "!n3", overview.RemedyStart)
	m.press("4")
	m.shows("[4:events", "node n3 is dead")
	m.press("q")
	if status := ended(t, cmd); status != 0 {
		t.Errorf("ended with status %d after q", status)
	}
	if m.modes() != before {
		t.Error("the terminal is not as it was after q")
	}

	var row overview.Overview
	r := c.Run("top", "-o", "json")
	if err := json.Unmarshal([]byte(r.Stdout), &row); err != nil || r.Status != clustertest.ExitRefused || row.Verdict != overview.VerdictError || len(row.Nodes) != 3 || row.Rates.WindowMs == 0 {
		t.Errorf("off a terminal: status %d, %v, %+v%s", r.Status, err, row, r.Stderr)
	}
	c.Start(2)
	c.Healthy()
	c.Until("well again, says top", func(context.Context) error {
		r := c.Run("top")
		if r.Status != clustertest.ExitDone || !strings.Contains(r.Stdout, "all 3 nodes are there") && !strings.Contains(r.Stdout, "is warning") || !strings.Contains(r.Stdout, "writes ") {
			return fmt.Errorf("status %d, %s%s", r.Status, r.Stdout, r.Stderr)
		}
		return nil
	})

	told := newTerminal(t, 24, 80)
	before = told.modes()
	cmd = top()
	cmd.Env = append(cmd.Env, "NO_COLOR=1")
	told.start(cmd)
	told.shows("[1:nodes (3)]")
	cmd.Process.Signal(syscall.SIGTERM)
	if status := ended(t, cmd); status != 0 {
		t.Errorf("ended with status %d after SIGTERM", status)
	}
	if told.modes() != before {
		t.Error("the terminal is not as it was after SIGTERM")
	}
	clustertest.Await(t, "given back", clustertest.ReadyMax, func(context.Context) error { // what it wrote last may still be on its way
		if raw := told.written(); !strings.HasSuffix(raw, "\x1b[?25h\x1b[?1049l") {
			return fmt.Errorf("it wrote %q", raw)
		}
		return nil
	})
	if raw := told.written(); regexp.MustCompile(`\x1b\[[1-9][0-9]*m`).MatchString(raw) {
		t.Errorf("with NO_COLOR, it wrote %q", raw)
	}
}
