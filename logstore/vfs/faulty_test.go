package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"
	"time"
)

// Each fault of an operation does what it says, to the call that it is about
// and to no other, and is counted.
func TestFaultyOperations(t *testing.T) {
	const old, next = "oooo", "nnnn"
	for _, test := range []struct {
		rule Rule
		want error
		op   string // that says it
		left string // what a reader finds after a second write, sync and so on
	}{
		{Rule{Fault: Error, Op: "write", Name: "x", At: 2}, ErrFault, "write d/x", old},
		{Rule{Fault: Error, Op: "sync", Name: "d/*"}, ErrFault, "sync d/x", "none"},
		{Rule{Fault: Error, At: 6}, ErrFault, "sync d/x", next},
		{Rule{Fault: ShortWrite, At: 2}, ErrFault, "write d/x", "nnoo"},
		{Rule{Fault: LostWrite, At: 2}, nil, "", old},
		{Rule{Fault: FailedSync, Op: "sync", At: 2}, ErrFault, "sync d/x", old},
		{Rule{Fault: Full, Op: "write", At: 2}, ErrFull, "write d/x", old},
		{Rule{Fault: Full, Op: "create"}, ErrFull, "create d/x", "none"},
		{Rule{Fault: Missing, Op: "open"}, fs.ErrNotExist, "open d/x", next},
		{Rule{Fault: Error, Name: "y", Times: Always}, nil, "", next},
	} {
		t.Run(fmt.Sprintf("%s %s", test.rule.Fault, test.rule.Op), func(t *testing.T) {
			m := NewMem()
			must(t, m.MkdirAll("d"))
			disk := NewFaulty(m)
			armed := disk.Add(test.rule)
			err := func() error {
				f, err := disk.Create("d/x")
				if err != nil {
					return err
				}
				defer f.Close()
				for i, what := range []string{old, next} {
					if _, err := f.WriteAt([]byte(what), 0); err != nil {
						return err
					}
					if err := f.Sync(); err != nil {
						return err
					}
					if i == 0 {
						if err := disk.SyncDir("d"); err != nil {
							return err
						}
					}
				}
				_, err = disk.Open("d/x")
				return err
			}()
			if !errors.Is(err, test.want) || err != nil && !strings.Contains(err.Error(), test.op) {
				t.Errorf("got %v, want %v of %s", err, test.want, test.op)
			}
			fired := 1
			if test.rule.Name == "y" {
				fired = 0
			}
			if armed.Fired() != fired || disk.Fired()[test.rule.Fault] != fired {
				t.Errorf("fired %d times, want %d", armed.Fired(), fired)
			}
			// What was dropped by a sync that failed does not come back with
			// one that succeeds.
			if f, err := disk.Open("d/x"); err == nil {
				must(t, f.Sync())
			}
			m.Crash(DropUnsynced, 0)
			left := string(m.Bytes("d/x"))
			if m.Bytes("d/x") == nil {
				left = "none"
			}
			if left != test.left {
				t.Errorf("left: got %q, want %q", left, test.left)
			}
		})
	}
}

// What is read is rotten as the rules say, with the same faults as Mem's own
// damage; what is on the disk is not, and so the rot ends with its rule.
func TestFaultyReads(t *testing.T) {
	for _, test := range rotTests {
		disk := NewFaulty(NewMem())
		armed := disk.Add(Rule{Fault: test.fault, Offset: test.off, Times: Always})
		f, err := disk.Create("x")
		must(t, err)
		for _, first := range []byte("aA") {
			_, err = f.WriteAt(pattern(first, 12), 0)
			must(t, err)
		}
		b := make([]byte, 12*SectorSize)
		n, err := f.ReadAt(b, 0)
		if err != nil && err != io.EOF {
			t.Fatal(err)
		}
		if got := letters(b[:n]); got != test.want || armed.Fired() == 0 {
			t.Errorf("%s at %d: got %s, want %s; fired %d times", test.fault, test.off, got, test.want, armed.Fired())
		}
		if size, err := f.Size(); err != nil || size != int64(len(test.want)*SectorSize) {
			t.Errorf("%s: size %d, %v", test.fault, size, err)
		}
		// A sector at a time, from the middle of one.
		if test.fault != Truncated {
			got := ""
			for at := int64(0); at < 12*SectorSize; at += SectorSize {
				one := make([]byte, SectorSize)
				_, err := f.ReadAt(one, at)
				must(t, err)
				got += letters(one)
			}
			if got != test.want {
				t.Errorf("%s at %d, sector by sector: got %s, want %s", test.fault, test.off, got, test.want)
			}
		}
		disk.Clear()
		_, err = f.ReadAt(b, 0)
		must(t, err)
		if got := letters(b); got != "ABCDEFGHIJKL" {
			t.Errorf("%s: after it: got %s", test.fault, got)
		}
	}
}

// A call that is stuck waits until it is let go, and no longer; a slow one
// takes its time. Neither fails.
func TestFaultyTime(t *testing.T) {
	disk := NewFaulty(NewMem())
	took := time.Duration(0)
	disk.Sleep(func(d time.Duration) { took += d })
	disk.Add(Rule{Fault: Slow, Op: "write", At: 2, Times: 2, Delay: time.Second})
	stuck := disk.Add(Rule{Fault: Stuck, Op: "sync", Times: Always})
	f, err := disk.Create("x")
	must(t, err)
	for range 4 {
		_, err = f.WriteAt([]byte("a"), 0)
		must(t, err)
	}
	if took != 2*time.Second {
		t.Errorf("took %v, want 2s", took)
	}
	done := make(chan error)
	go func() { done <- f.Sync() }()
	<-stuck.Held()
	select {
	case err := <-done:
		t.Errorf("it was not held: %v", err)
	default:
	}
	stuck.Release()
	must(t, <-done)
	must(t, f.Sync())
	if stuck.Fired() != 2 {
		t.Errorf("fired %d times, want 2", stuck.Fired())
	}
}

// Every call is counted, traced, and can be hit: else "the n-th call for all n"
// would leave some out.
func TestFaultyEveryCall(t *testing.T) {
	all := func(disk FS) error {
		steps := []func() error{
			func() error { return disk.MkdirAll("d") },
			func() error {
				c, err := disk.Lock("d/lock")
				if err == nil {
					err = c.Close()
				}
				return err
			},
			func() error { _, err := disk.Free("d"); return err },
			func() error { _, err := disk.List("d"); return err },
			func() (err error) {
				f, err := disk.Create("d/x")
				if err != nil {
					return err
				}
				defer func() { err = errors.Join(err, f.Close()) }()
				if _, err := f.WriteAt([]byte("a"), 0); err != nil {
					return err
				}
				if err := f.Truncate(1); err != nil {
					return err
				}
				if err := f.Sync(); err != nil {
					return err
				}
				if _, err := f.Size(); err != nil {
					return err
				}
				_, err = f.ReadAt(make([]byte, 1), 0)
				return err
			},
			func() error { return disk.Rename("d/x", "d/y") },
			func() error { return disk.SyncDir("d") },
			func() error {
				f, err := disk.Open("d/y")
				if err == nil {
					err = f.Close()
				}
				return err
			},
			func() error { return disk.Remove("d/y") },
		}
		for _, step := range steps {
			if err := step(); err != nil {
				return err
			}
		}
		return nil
	}
	disk := NewFaulty(NewMem())
	var ops []string
	disk.Trace(func(op, name string) { ops = append(ops, op) })
	must(t, all(disk))
	if got, want := strings.Join(ops, " "), "mkdir lock free list create write truncate sync size read close rename syncdir open close remove"; got != want {
		t.Errorf("traced %q, want %q", got, want)
	}
	if disk.Calls() != len(ops) {
		t.Errorf("counted %d calls, want %d", disk.Calls(), len(ops))
	}
	for n := range ops {
		disk := NewFaulty(NewMem())
		disk.Add(Rule{Fault: Error, At: n + 1})
		if err := all(disk); !errors.Is(err, ErrFault) {
			t.Errorf("fault at call %d, %s: got %v", n+1, ops[n], err)
		}
	}
}

// A full disk says so when it is asked, and one that has lost a file does not list it.
func TestFaultyWhole(t *testing.T) {
	disk := NewFaulty(NewMem())
	must(t, disk.MkdirAll("d"))
	for _, name := range []string{"d/x", "d/y"} {
		_, err := disk.Create(name)
		must(t, err)
	}
	disk.Add(Rule{Fault: Full, Times: Always})
	if free, err := disk.Free("d"); free != 0 || err != nil {
		t.Errorf("free on a full disk: got %d, %v", free, err)
	}
	disk.Add(Rule{Fault: Missing, Name: "x", Times: Always})
	if names, err := disk.List("d"); fmt.Sprint(names) != "[y]" {
		t.Errorf("list: got %v, %v, want y alone", names, err)
	}
	if _, err := disk.Open("d/x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("open: got %v", err)
	}
	disk.Clear()
	if _, err := disk.Open("d/x"); err != nil {
		t.Errorf("after it: got %v", err)
	}
}
