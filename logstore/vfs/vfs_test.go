package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// The disk in memory stands in for the real one in most tests, so both must
// answer alike.
func TestBothDisksAlike(t *testing.T) {
	for name, disk := range map[string]FS{"mem": NewMem(), "os": OS{}, "faulty": NewFaulty(NewMem())} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir() + "/a/b"
			if free, err := disk.Free(dir); err == nil {
				t.Errorf("free in an absent directory: got %d", free)
			}
			if _, err := disk.List(dir); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("list of an absent directory: got %v", err)
			}
			must(t, disk.MkdirAll(dir))
			must(t, disk.MkdirAll(dir))
			if free, err := disk.Free(dir); free <= 0 || err != nil {
				t.Errorf("free: got %d, %v", free, err)
			}
			for _, op := range []struct {
				name string
				err  error
			}{
				{"open", func() error { _, err := disk.Open(dir + "/x"); return err }()},
				{"open to read", func() error { _, err := disk.OpenRead(dir + "/x"); return err }()},
				{"rename", disk.Rename(dir+"/x", dir+"/y")},
				{"remove", disk.Remove(dir + "/x")},
				{"create", func() error { _, err := disk.Create(dir + "/none/x"); return err }()},
			} {
				if !errors.Is(op.err, fs.ErrNotExist) || !strings.Contains(op.err.Error(), dir) {
					t.Errorf("%s of what is absent: got %v", op.name, op.err)
				}
			}
			f, err := disk.Create(dir + "/x")
			must(t, err)
			_, err = f.WriteAt([]byte("hello"), 3)
			must(t, err)
			must(t, f.Sync())
			must(t, disk.Rename(dir+"/x", dir+"/y"))
			must(t, disk.SyncDir(dir))
			b := make([]byte, 10)
			if n, err := f.ReadAt(b, 0); n != 8 || err != io.EOF || string(b[:n]) != "\x00\x00\x00hello" {
				t.Errorf("read: got %q, %v", b[:n], err)
			}
			must(t, f.Truncate(4))
			must(t, f.Truncate(6))
			if n, err := f.ReadAt(b[:6], 0); n != 6 || string(b[:6]) != "\x00\x00\x00h\x00\x00" {
				t.Errorf("read after truncate: got %q, %v", b[:n], err)
			}
			if size, err := f.Size(); size != 6 || err != nil {
				t.Errorf("size: got %d, %v", size, err)
			}
			must(t, disk.MkdirAll(dir+"/c/d"))
			if err := disk.Remove(dir + "/c"); err == nil {
				t.Error("a directory with another one in it is removed")
			}
			if err := disk.Remove(dir); err == nil {
				t.Error("a directory with a file in it is removed")
			}
			must(t, disk.Remove(dir+"/c/d"))
			must(t, disk.Remove(dir+"/c"))
			if _, err := disk.List(dir + "/c"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("list of a directory that was removed: got %v", err)
			}
			r, err := disk.OpenRead(dir + "/y")
			must(t, err)
			if n, err := r.ReadAt(b[:6], 0); n != 6 || string(b[:6]) != "\x00\x00\x00h\x00\x00" {
				t.Errorf("opened to read: got %q, %v", b[:n], err)
			}
			if size, err := r.Size(); size != 6 || err != nil {
				t.Errorf("opened to read: size: got %d, %v", size, err)
			}
			must(t, r.Close())
			must(t, f.Close())
			for _, err := range []error{f.Close(), f.Sync(), func() error { _, err := f.ReadAt(b, 0); return err }()} {
				if !errors.Is(err, fs.ErrClosed) {
					t.Errorf("after close: got %v", err)
				}
			}
			f, err = disk.Create(dir + "/y") // in its place
			must(t, err)
			if size, _ := f.Size(); size != 0 {
				t.Errorf("created anew: %d bytes", size)
			}
			must(t, f.Close())
			if names, err := disk.List(dir); fmt.Sprint(names) != "[y]" {
				t.Errorf("list: got %v, %v", names, err)
			}
			lock, err := disk.Lock(dir + "/lock")
			must(t, err)
			if _, err := disk.Lock(dir + "/lock"); !errors.Is(err, ErrLocked) {
				t.Errorf("second lock: got %v", err)
			}
			must(t, lock.Close())
			lock, err = disk.Lock(dir + "/lock")
			must(t, err)
			must(t, lock.Close())
			must(t, disk.Remove(dir+"/y"))
		})
	}
}

// A crash takes exactly what the mode says. If it took less, the tests that
// rest on it would show nothing.
func TestCrash(t *testing.T) {
	const old, next = "oooooooo", "nnnnnnnn"
	for _, test := range []struct {
		name          string
		mode          CrashMode
		sync, syncDir bool
		want          []string // what y, or else x, may hold; "" for neither
	}{
		{"drop", DropUnsynced, false, false, []string{"x " + old}},
		{"drop, bytes synced", DropUnsynced, true, false, []string{"x " + next}},
		{"drop, name synced", DropUnsynced, false, true, []string{"y " + old}},
		{"drop, both synced", DropUnsynced, true, true, []string{"y " + next}},
		{"keep", KeepUnsynced, false, false, []string{"y " + next}},
		{"pick", PickUnsynced, false, false, []string{"x " + old, "x " + next, "y " + old, "y " + next}},
		{"tear", TearUnsynced, false, false, []string{"x " + old, "x " + next, "y " + old, "y " + next}},
	} {
		t.Run(test.name, func(t *testing.T) {
			seen := map[string]bool{}
			for chance := range uint64(40) {
				m := NewMem()
				must(t, m.MkdirAll("d"))
				f, err := m.Create("d/x")
				must(t, err)
				_, err = f.WriteAt([]byte(old), 0)
				must(t, err)
				must(t, f.Sync())
				must(t, m.SyncDir("d"))
				_, err = f.WriteAt([]byte(next), 0)
				must(t, err)
				must(t, m.Rename("d/x", "d/y"))
				if test.sync {
					must(t, f.Sync())
				}
				if test.syncDir {
					must(t, m.SyncDir("d"))
				}
				m.Crash(test.mode, chance)
				if err := f.Sync(); !errors.Is(err, ErrPower) {
					t.Fatalf("a file of the earlier life: got %v", err)
				}
				names, err := m.List("d")
				must(t, err)
				f, err = m.Open("d/" + names[0])
				must(t, err)
				b := make([]byte, len(old))
				_, err = f.ReadAt(b, 0)
				must(t, err)
				seen[fmt.Sprintf("%s %s", strings.Join(names, ","), b)] = true
			}
			for _, want := range test.want {
				if !seen[want] {
					t.Errorf("%q never came", want)
				}
				delete(seen, want)
			}
			for got := range seen {
				t.Errorf("%q came", got)
			}
		})
	}
}

// No file outlives its directory: a file system orders the one before the other.
func TestRemovedDirectoryKeepsNothing(t *testing.T) {
	for _, mode := range CrashModes() {
		m := NewMem()
		must(t, m.MkdirAll("d/e"))
		for _, name := range []string{"d/e/x", "d/y"} {
			f, err := m.Create(name)
			must(t, err)
			must(t, f.Sync())
			must(t, m.SyncDir(name[:len(name)-2]))
		}
		must(t, m.Remove("d/e/x"))
		must(t, m.Remove("d/e"))
		m.Crash(mode, 7)
		if names, err := m.List("d"); err != nil || !slices.Equal(names, []string{"y"}) {
			t.Errorf("%s: left are %v, %v", mode, names, err)
		}
		if _, err := m.Open("d/e/x"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: the file is back without its directory: %v", mode, err)
		}
	}
}

// The end of a process leaves what it wrote where others see it, and makes none
// of it durable.
func TestKeepIsNotSync(t *testing.T) {
	m := NewMem()
	f, err := m.Create("x")
	must(t, err)
	_, err = f.WriteAt([]byte("a"), 0)
	must(t, err)
	m.Crash(KeepUnsynced, 0)
	f, err = m.Open("x")
	must(t, err)
	if size, err := f.Size(); size != 1 || err != nil {
		t.Errorf("after the process: %d bytes, %v", size, err)
	}
	m.Crash(DropUnsynced, 0)
	if _, err := m.Open("x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after the power: got %v, want no file", err)
	}
}

// What a crash leaves of several writes is any choice among them, each whole;
// where two overlap, the later may be lost and the earlier kept. Of the changes
// in one directory it leaves a beginning, whatever it leaves in another.
func TestPick(t *testing.T) {
	seen, dirs := map[string]bool{}, map[string]bool{}
	for chance := range uint64(200) {
		m := NewMem()
		f, err := m.Create("x")
		must(t, err)
		must(t, m.SyncDir("."))
		for _, w := range []struct {
			at   int64
			what string
		}{{0, "aaaa"}, {2, "bbbb"}} {
			_, err = f.WriteAt([]byte(w.what), w.at)
			must(t, err)
		}
		for _, dir := range []string{"p", "q"} {
			must(t, m.MkdirAll(dir))
			for _, name := range []string{"1", "2"} {
				_, err := m.Create(dir + "/" + name)
				must(t, err)
			}
		}
		m.Crash(PickUnsynced, chance)
		seen[string(m.Bytes("x"))] = true
		p, _ := m.List("p")
		q, _ := m.List("q")
		dirs[fmt.Sprint(p, q)] = true
	}
	if want := map[string]bool{"": true, "aaaa": true, "\x00\x00bbbb": true, "aabbbb": true}; !maps.Equal(seen, want) {
		t.Errorf("left of the writes: got %q, want %q", slices.Sorted(maps.Keys(seen)), slices.Sorted(maps.Keys(want)))
	}
	if len(dirs) != 9 || dirs["[2] []"] || dirs["[] [2]"] {
		t.Errorf("left of the names: got %v, want any beginnings", slices.Sorted(maps.Keys(dirs)))
	}
}

// A copy holds what the disk held, with what a crash may take of it, and goes
// its own way.
func TestCopy(t *testing.T) {
	m := NewMem()
	f, err := m.Create("x")
	must(t, err)
	_, err = f.WriteAt([]byte("old"), 0)
	must(t, err)
	must(t, f.Sync())
	must(t, m.SyncDir("."))
	_, err = f.WriteAt([]byte("new"), 0)
	must(t, err)
	must(t, m.Rename("x", "y"))
	c := m.Copy()
	m.Crash(DropUnsynced, 0)
	if got := string(c.Bytes("y")); got != "new" || c.Bytes("x") != nil {
		t.Errorf("the copy holds %q, want new", got)
	}
	kept := c.Copy()
	c.Crash(DropUnsynced, 0)
	if got := string(c.Bytes("x")); got != "old" {
		t.Errorf("after a crash of the copy: got %q, want old", got)
	}
	must(t, kept.SyncDir("."))
	kept.Crash(DropUnsynced, 0)
	if got := string(kept.Bytes("y")); got != "old" {
		t.Errorf("with the name synced: got %q, want old", got)
	}
}

// A sync that failed is not made good by one that succeeds: the system took
// what it could not write for written. A test double that forgave it would hide
// exactly what must not be done.
func TestFailedSyncStaysFailed(t *testing.T) {
	m := NewMem()
	f, err := m.Create("x")
	must(t, err)
	must(t, m.SyncDir("."))
	_, err = f.WriteAt([]byte("old"), 0)
	must(t, err)
	must(t, f.Sync())
	_, err = f.WriteAt([]byte("new"), 0)
	must(t, err)
	broken := errors.New("broken")
	m.Fail(func(op string) error { return broken })
	if err := f.Sync(); !errors.Is(err, broken) {
		t.Fatalf("got %v", err)
	}
	m.Fail(nil)
	must(t, f.Sync())
	if got := string(m.Bytes("x")); got != "new" {
		t.Errorf("while the power is on: got %q, want what was written", got)
	}
	m.Crash(DropUnsynced, 0)
	if got := string(m.Bytes("x")); got != "old" {
		t.Errorf("after the power went: got %q, want what was synced", got)
	}
}

// A torn write leaves sectors of both lives, none of them mixed, and the file
// may be shorter than it was to become.
func TestTear(t *testing.T) {
	mixed, short := false, false
	for chance := range uint64(50) {
		m := NewMem()
		f, err := m.Create("x")
		must(t, err)
		must(t, m.SyncDir("."))
		_, err = f.WriteAt([]byte(strings.Repeat("o", 4*SectorSize)), 0)
		must(t, err)
		must(t, f.Sync())
		_, err = f.WriteAt([]byte(strings.Repeat("n", 5*SectorSize)), SectorSize/2)
		must(t, err)
		m.Crash(TearUnsynced, chance)
		f, err = m.Open("x")
		must(t, err)
		size, err := f.Size()
		must(t, err)
		short = short || size == 4*SectorSize
		b := make([]byte, size)
		_, err = f.ReadAt(b, 0)
		must(t, err)
		kinds := ""
		for i := 1; i < 4; i++ {
			sector := string(b[i*SectorSize : (i+1)*SectorSize])
			if strings.Count(sector, sector[:1]) != SectorSize {
				t.Fatalf("sector %d is mixed", i)
			}
			kinds += sector[:1]
		}
		mixed = mixed || strings.Contains(kinds, "n") && strings.Contains(kinds, "o")
	}
	if !mixed || !short {
		t.Errorf("mixed %v, short %v: tears nothing", mixed, short)
	}
}

// StopAt hits the operation that it names, and nothing works after it until
// the crash.
func TestStopAt(t *testing.T) {
	for n := 1; n <= 5; n++ {
		m := NewMem()
		var ops []string
		m.Trace(func(op string) { ops = append(ops, op) })
		m.StopAt(n)
		err := func() error {
			f, err := m.Create("x")
			if err != nil {
				return err
			}
			if _, err := f.WriteAt([]byte("a"), 0); err != nil {
				return err
			}
			if err := f.Sync(); err != nil {
				return err
			}
			if err := m.Rename("x", "y"); err != nil {
				return err
			}
			return m.SyncDir(".")
		}()
		if !errors.Is(err, ErrPower) || len(ops) != n-1 || m.Ops() != n {
			t.Errorf("stop at %d: got %v after %q", n, err, ops)
		}
		if _, err := m.List("."); !errors.Is(err, ErrPower) {
			t.Errorf("list without power: got %v", err)
		}
		m.Crash(DropUnsynced, 0)
		if _, err := m.Create("x"); err != nil {
			t.Errorf("after the crash: got %v", err)
		}
	}
}
