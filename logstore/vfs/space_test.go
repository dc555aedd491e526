package vfs

import (
	"errors"
	"os"
	"strings"
	"testing"
)

// A full disk takes what needs no more room than there is, refuses the rest
// with ErrFull, and is as before once there is room.
func TestMemLimit(t *testing.T) {
	m := NewMem()
	f, err := m.Create("x")
	must(t, err)
	_, err = f.WriteAt(make([]byte, PageSize+1), 0)
	must(t, err)
	m.Limit(3 * PageSize)
	if free, err := m.Free("."); free != PageSize || err != nil {
		t.Errorf("free: got %d, %v, want a page", free, err)
	}
	_, err = f.WriteAt(make([]byte, PageSize), PageSize) // into what it has
	must(t, err)
	if n, err := f.WriteAt(make([]byte, 2*PageSize), 2*PageSize); n != PageSize || !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), "write x") {
		t.Errorf("a write beyond: got %d, %v, want a page and ErrFull", n, err)
	}
	if n, err := f.WriteAt([]byte("a"), 9*PageSize); n != 0 || !errors.Is(err, ErrFull) {
		t.Errorf("a write far beyond: got %d, %v", n, err)
	}
	if err := f.Truncate(4 * PageSize); !errors.Is(err, ErrFull) {
		t.Errorf("a longer file: got %v", err)
	}
	if _, err := m.Create("y"); !errors.Is(err, ErrFull) {
		t.Errorf("a new file: got %v", err)
	}
	if m.Used() != 3*PageSize {
		t.Errorf("used: got %d", m.Used())
	}
	_, err = f.WriteAt([]byte("over"), 5)
	must(t, err)
	must(t, f.Sync())
	must(t, f.Truncate(PageSize))
	_, err = m.Create("y")
	must(t, err)
	m.Limit(0)
	_, err = f.WriteAt(make([]byte, 9*PageSize), 0)
	must(t, err)
}

// The system's error about lack of space is told from its other errors.
func TestSystemFull(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("no /dev/full here")
	}
	f, err := OS{}.Open("/dev/full")
	must(t, err)
	defer f.Close()
	if _, err := f.WriteAt([]byte("a"), 0); !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), "/dev/full") {
		t.Errorf("got %v, want ErrFull with the name", err)
	}
	if _, err := (OS{}).Open("/dev/none"); errors.Is(err, ErrFull) {
		t.Errorf("an absent file: got %v", err)
	}
}
