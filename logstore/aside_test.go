package logstore

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"testing"

	"muster/logstore/vfs"
	"muster/raft"
)

// keptAside keeps a state aside.
func keptAside(s *Store, r Replica, at raft.LogID, state []byte) (string, error) {
	return s.KeepAside(r, at, func(w io.Writer) error {
		for len(state) > 0 { // in pieces that divide no block
			n, err := w.Write(state[:min(len(state), 100_003)])
			if err != nil {
				return err
			}
			state = state[n:]
		}
		return nil
	})
}

// A state that was kept aside can be read back, whatever its length is to that of a block
// and of a piece, on both disks. Its blocks have checksums, so that nobody looks for the
// cause of what the disk did to the file.
func TestKeepAside(t *testing.T) {
	for name, fs := range map[string]vfs.FS{"mem": vfs.NewMem(), "os": vfs.OS{}} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			must(t, fs.MkdirAll(dir))
			s := fillStore(t, mustOpen(t, fs, Options{Dir: dir}), one)
			if files, err := AsideFiles(fs, dir); err != nil || len(files) > 0 {
				t.Errorf("before the first: %v, %v", files, err)
			}
			for _, size := range []int{0, 1, blockBytes - 1, blockBytes, blockBytes + 1, snapshotPieceBytes, 5*blockBytes + 7} {
				at, state := raft.LogID{Term: 2, Index: uint64(size)}, stream(size)
				file, err := keptAside(s, one, at, state)
				must(t, err)
				a, in, err := OpenAside(fs, file)
				must(t, err)
				got, err := io.ReadAll(in)
				must(t, errors.Join(err, in.Close()))
				if !bytes.Equal(got, state) || a.Replica != one || a.At != at || a.File != file || a.Size != int64(len(raw(t, fs, file))) {
					t.Errorf("%d bytes: read %d, as %+v", size, len(got), a)
				}
			}
			must(t, s.Close())
		})
	}
	if _, _, err := OpenAside(vfs.NewMem(), "d/aside/g1-i1-r11-1.7.snap"); err == nil {
		t.Error("a file with the name of a snapshot is opened")
	}
}

// Damage to a state that was kept aside is found.
func TestKeptAsideDamage(t *testing.T) {
	disk := vfs.NewMem()
	s := snapshotStore(t, disk, one)
	file, err := keptAside(s, one, raft.LogID{Term: 1, Index: 7}, stream(1000))
	must(t, err)
	must(t, s.Close())
	good := raw(t, disk, file)
	for i := 0; i < len(good); i += 7 {
		b := slices.Clone(good)
		b[i] ^= 1
		put(t, disk, file, b)
		_, in, err := OpenAside(disk, file)
		if err == nil {
			_, err = io.Copy(io.Discard, in)
			in.Close()
		}
		if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNewerFormat) && !errors.Is(err, ErrOlderFormat) {
			t.Errorf("byte %d: got %v, want %v", i, err, ErrDamaged)
		}
	}
	other := path.Join("d", AsideDir, asideName(9, one, raft.LogID{Term: 1, Index: 8}))
	put(t, disk, other, good)
	if _, _, err := OpenAside(disk, other); !errors.Is(err, ErrDamaged) {
		t.Errorf("under the name of another place: got %v, want %v", err, ErrDamaged)
	}
}

// The newest states stay, whichever replica they are of, over starts too, and so do files
// of other names.
func TestOldestKeptAsideGoes(t *testing.T) {
	disk := vfs.NewMem()
	s := snapshotStore(t, disk, one, two)
	var want []string
	for n := range uint64(3 * AsideMax) {
		r := []Replica{one, two}[n%2]
		file, err := keptAside(s, r, raft.LogID{Term: 1, Index: 100 - n}, stream(10))
		must(t, err)
		if a, ok := AsideNamed(file); !ok || a.Replica != r || a.At.Index != 100-n {
			t.Errorf("the name %s says %+v", file, a)
		}
		if want = append(want, file); len(want) > AsideMax {
			want = want[1:]
		}
		if got, err := AsideFiles(disk, "d"); err != nil || !slices.Equal(got, want) {
			t.Errorf("after %d: got %v, %v; want %v", n+1, got, err, want)
		}
		if n == AsideMax {
			put(t, disk, "d/aside/notes", []byte("x"))
			must(t, s.Close())
			s = mustOpen(t, disk, Options{})
		}
	}
	raw(t, disk, "d/aside/notes")
	must(t, s.Append([]Write{{Replica: one, Remove: true}}))
	if got, err := AsideFiles(disk, "d"); err != nil || !slices.Equal(got, want) {
		t.Errorf("a replica was removed: got %v, %v; want %v", got, err, want)
	}
	must(t, s.Close())
}

// What can't be kept leaves nothing behind, and the log continues: there is no such
// replica, the state can't be written out, or the disk has only the room that the log
// needs.
func TestNotKeptAside(t *testing.T) {
	broken := errors.New("broken")
	for _, c := range []struct {
		name    string
		replica Replica
		room    int64 // 0: no limit
		write   func(io.Writer) error
		want    error
	}{
		{"unknown replica", two, 0, func(io.Writer) error { return nil }, ErrUnknown},
		{"the state can't be written", one, 0, func(w io.Writer) error {
			w.Write(stream(2 * snapshotPieceBytes))
			return broken
		}, broken},
		{"no room", one, asideLeaves * SegmentBytesMin, func(w io.Writer) error { return nil }, ErrFull},
		{"no room for the second piece", one, asideLeaves*SegmentBytesMin + 3*snapshotPieceBytes/2, func(w io.Writer) error {
			_, err := w.Write(stream(2 * snapshotPieceBytes))
			return err
		}, ErrFull},
		{"no room, and the error is passed over", one, asideLeaves * SegmentBytesMin, func(w io.Writer) error {
			w.Write(stream(2 * snapshotPieceBytes))
			return nil
		}, ErrFull},
	} {
		t.Run(c.name, func(t *testing.T) {
			disk := vfs.NewMem()
			s := snapshotStore(t, disk, one)
			must(t, s.Idle())
			if c.room > 0 {
				disk.Limit(disk.Used() + c.room)
			}
			headroom := s.headroom.size
			if _, err := s.KeepAside(c.replica, raft.LogID{Term: 1, Index: 7}, c.write); !errors.Is(err, c.want) || errors.Is(err, ErrStopped) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if names, err := disk.List("d/aside"); err == nil && len(names) > 0 {
				t.Errorf("left %v", names)
			}
			must(t, s.Append([]Write{{Replica: one, Commit: 10, Entries: span(one, 1, 11, 11, 20)}}))
			if s.headroom.size != headroom || int64(len(raw(t, disk, s.headroom.file()))) != headroom {
				t.Errorf("the headroom has %d bytes, had %d", s.headroom.size, headroom)
			}
			must(t, s.Close())
		})
	}
}

// The headroom gets back what it lent to a snapshot before a state is kept aside.
func TestKeptAsideLeavesWhatIsOwed(t *testing.T) {
	disk := vfs.NewMem()
	s := snapshotStore(t, disk, one)
	disk.Limit(disk.Used() + asideLeaves*SegmentBytesMin + 64<<10)
	s.gauge.owed.Store(128 << 10)
	if _, err := keptAside(s, one, raft.LogID{Term: 1, Index: 7}, stream(10)); !errors.Is(err, ErrFull) {
		t.Errorf("got %v, want %v", err, ErrFull)
	}
	s.gauge.owed.Store(0)
	_, err := keptAside(s, one, raft.LogID{Term: 1, Index: 7}, stream(10))
	must(t, err)
	must(t, s.Close())
}

// Fences are written and states kept aside beside Append, from several goroutines.
func TestFencesBesideAppend(t *testing.T) {
	disk := vfs.NewMem()
	s := snapshotStore(t, disk, one, two, three)
	done := make(chan error)
	for _, r := range []Replica{one, two} {
		go func() {
			var errs []error
			for n := range uint64(20) {
				f := fenced(r)
				f.At.Index = n
				_, err := keptAside(s, r, raft.LogID{Term: 1, Index: n}, stream(100))
				errs = append(errs, s.WriteFence(f), err, s.WriteFence(f))
				if len(s.Fences()) == 0 {
					errs = append(errs, fmt.Errorf("the fence of %s is gone", r))
				}
				if n < 19 {
					errs = append(errs, s.RemoveFence(r))
				}
			}
			done <- errors.Join(errs...)
		}()
	}
	for n := range uint64(200) {
		must(t, s.Append([]Write{{Replica: three, Commit: 10 + n, Entries: span(three, 1, 11+n, 11+n, 20)}}))
		if n%20 == 19 {
			must(t, s.Idle())
		}
	}
	must(t, errors.Join(<-done, <-done))
	first, second := fenced(one), fenced(two)
	first.At.Index, second.At.Index = 19, 19
	sameFences(t, "at the end", s, first, second)
	must(t, s.Close())
}
