package logstore

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"testing"

	"muster/logstore/vfs"
	"muster/raft"
)

// stream makes bytes that differ from place to place, so that none can be taken
// for others.
func stream(size int) []byte {
	b := make([]byte, size)
	x := uint32(size)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}

func baseAt(r Replica, term, index uint64) Base {
	return Base{ID: raft.LogID{Term: term, Index: index}, Time: raft.GroupTime(index * 1000), Membership: voters(r.ID)}
}

// snapshotStore returns a Store in which a replica has the entries 1 to 10, all
// committed.
func snapshotStore(t testing.TB, fs vfs.FS, replicas ...Replica) *Store {
	t.Helper()
	return fillStore(t, mustOpen(t, fs, Options{}), replicas...)
}

func fillStore(t testing.TB, s *Store, replicas ...Replica) *Store {
	t.Helper()
	for _, r := range replicas {
		must(t, s.Append([]Write{founding(r)}))
		must(t, s.Append([]Write{{Replica: r, Entries: span(r, 1, 1, 10, 20), Commit: 10}}))
	}
	return s
}

func makeSnapshot(t testing.TB, s *Store, r Replica, b Base, state []byte) Snapshot {
	t.Helper()
	w, err := s.CreateSnapshot(r, b)
	must(t, err)
	if n, err := w.Write(state); n != len(state) || err != nil {
		t.Fatalf("write %d of %d bytes: %v", n, len(state), err)
	}
	sn, err := w.Commit()
	must(t, err)
	must(t, w.Abort()) // as a caller may with defer
	return sn
}

func readState(s *Store, sn Snapshot) ([]byte, error) {
	r, err := s.OpenSnapshot(sn)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(r)
	return b, errors.Join(err, r.Close())
}

func raw(t testing.TB, fs vfs.FS, name string) []byte {
	t.Helper()
	f, err := fs.Open(name)
	must(t, err)
	defer f.Close()
	size, err := f.Size()
	must(t, err)
	b := make([]byte, size)
	if _, err := f.ReadAt(b, 0); err != nil && size > 0 {
		t.Fatal(err)
	}
	return b
}

func put(t testing.TB, fs vfs.FS, name string, b []byte) {
	t.Helper()
	f, err := fs.Create(name)
	must(t, err)
	_, err = f.WriteAt(b, 0)
	must(t, err)
	must(t, f.Sync())
	must(t, f.Close())
	must(t, fs.SyncDir(path.Dir(name)))
}

// What is written comes back, whatever its length is to that of a block, by the
// piece it is written and read in, and after the Store was opened anew.
func TestSnapshotRoundTrip(t *testing.T) {
	r := testReplica(1)
	for _, size := range []int{0, 1, 100, blockBytes - 1, blockBytes, blockBytes + 1, 4 * blockBytes, 5*blockBytes + 7} {
		fs := vfs.NewMem()
		s := snapshotStore(t, fs, r)
		state := stream(size)
		sn := makeSnapshot(t, s, r, baseAt(r, 1, 7), state)
		if got := int64(len(raw(t, fs, sn.File))); got != sn.Size {
			t.Errorf("%d bytes: the file has %d bytes, want %d", size, got, sn.Size)
		}
		must(t, s.Close())
		s = mustOpen(t, fs, Options{})
		all := s.Snapshots(r)
		if len(all) != 1 || all[0].File != sn.File || all[0].Size != sn.Size || all[0].Base.Time != sn.Base.Time || !slices.Equal(all[0].Base.Membership.Voters, sn.Base.Membership.Voters) {
			t.Fatalf("%d bytes: opened anew there is %v, want %v", size, all, sn)
		}
		got, err := readState(s, all[0])
		if err != nil || !bytes.Equal(got, state) {
			t.Errorf("%d bytes: read %d, %v", size, len(got), err)
		}
		must(t, VerifySnapshot(fs, sn.File))
		must(t, s.Close())
	}
}

// The files of two replicas at one base must not differ in a bit: that is how
// states are compared, and why a chunk may come from any replica. Neither the
// pieces that were written nor the node may show.
func TestSnapshotsAreEqual(t *testing.T) {
	state := stream(3*blockBytes + 5)
	var files [][]byte
	for n, piece := range []int{1 << 20, 1000} {
		r := Replica{Group: 3, Incarnation: 2, ID: raft.ReplicaID(5 + n)}
		fs := vfs.NewMem()
		s := mustOpen(t, fs, Options{Chance: uint64(n)})
		must(t, s.Append([]Write{{Replica: r, Base: &Base{Membership: voters(5, 6)}, State: raft.HardState{Term: 1}, HasState: true, Entries: span(r, 1, 1, 9, 10)}}))
		w, err := s.CreateSnapshot(r, Base{ID: raft.LogID{Term: 1, Index: 8}, Time: 8000, Membership: voters(5, 6)})
		must(t, err)
		for b := range slices.Chunk(state, piece) {
			_, err := w.Write(b)
			must(t, err)
		}
		sn, err := w.Commit()
		must(t, err)
		files = append(files, raw(t, fs, sn.File))
	}
	if !bytes.Equal(files[0], files[1]) {
		t.Error("two replicas have different files at one base")
	}
}

// A snapshot is one only after Commit has returned: before, and after a crash
// before, there is nothing, and nothing is left behind.
func TestSnapshotAppearsAtCommit(t *testing.T) {
	r := testReplica(1)
	fs := vfs.NewMem()
	s := snapshotStore(t, fs, r)
	half := func() *SnapshotWriter {
		w, err := s.CreateSnapshot(r, baseAt(r, 1, 7))
		must(t, err)
		_, err = w.Write(stream(5 * blockBytes))
		must(t, err)
		return w
	}
	must(t, half().Abort())
	half()
	if got := s.Snapshots(r); len(got) != 0 {
		t.Errorf("before Commit there is %v", got)
	}
	fs.Crash(vfs.KeepUnsynced, 0)
	s = mustOpen(t, fs, Options{})
	if got := s.Snapshots(r); len(got) != 0 {
		t.Errorf("after a crash before Commit there is %v", got)
	}
	if names, err := fs.List("d/snap"); err != nil || len(names) != 0 {
		t.Errorf("left behind: %v %v", names, err)
	}
	w := half()
	_, err := w.Commit()
	must(t, err)
	if _, err := w.Commit(); err == nil {
		t.Error("committed twice")
	}
}

// The power goes at each operation of a snapshot, the base that follows it, and
// the removal of the one before. At each time the state of the log's base must
// be there, whole.
func TestSnapshotPowerLoss(t *testing.T) {
	r := testReplica(1)
	states := map[uint64][]byte{5: stream(2*blockBytes + 1), 9: stream(5*blockBytes + 2)}
	step := func(s *Store, index uint64) error {
		b := baseAt(r, 1, index)
		w, err := s.CreateSnapshot(r, b)
		if err != nil {
			return err
		}
		if _, err := w.Write(states[index]); err != nil {
			return err
		}
		if _, err := w.Commit(); err != nil {
			return err
		}
		if err := s.Append([]Write{{Replica: r, Base: &b}}); err != nil {
			return err
		}
		return s.RemoveSnapshots(r, b.ID)
	}
	for _, mode := range []struct {
		name string
		mode vfs.CrashMode
	}{{"drop", vfs.DropUnsynced}, {"keep", vfs.KeepUnsynced}, {"tear", vfs.TearUnsynced}, {"tear pages", vfs.TearPages}} {
		points := 0
		for n := 1; ; n++ {
			fs := vfs.NewMem()
			s := snapshotStore(t, fs, r)
			must(t, step(s, 5))
			fs.StopAt(n)
			done := step(s, 9) == nil
			fs.Crash(mode.mode, uint64(n))
			s = mustOpen(t, fs, Options{})
			base, _, _, _ := s.Bounds(r)
			all := s.Snapshots(r)
			if len(all) == 0 {
				t.Fatalf("%s at %d: base %s and no snapshot", mode.name, n, base)
			}
			last := all[len(all)-1]
			if last.Base.ID.Index < base.Index || done && last.Base.ID.Index != 9 {
				t.Errorf("%s at %d: base %s, newest snapshot %s", mode.name, n, base, last.Base.ID)
			}
			if got, err := readState(s, last); err != nil || !bytes.Equal(got, states[last.Base.ID.Index]) {
				t.Errorf("%s at %d: snapshot %s has other bytes: %v", mode.name, n, last.Base.ID, err)
			}
			if d, bad := s.DamageOf(r); bad {
				t.Errorf("%s at %d: %v", mode.name, n, d.Err())
			}
			must(t, s.Close())
			points++
			if done {
				break
			}
		}
		t.Logf("%s: %d points", mode.name, points)
	}
}

// A process is killed after a snapshot got its name and before that was durable;
// the next one finds it, and cuts off the log behind it. Then the power goes: the
// snapshot must still be there.
func TestSnapshotOfKilledProcess(t *testing.T) {
	r := testReplica(1)
	fs := vfs.NewMem()
	s := snapshotStore(t, fs, r)
	w, err := s.CreateSnapshot(r, baseAt(r, 1, 7))
	must(t, err)
	fs.Fail(func(op string) error {
		if op == "syncdir d/snap" {
			return io.ErrUnexpectedEOF
		}
		return nil
	})
	if _, err := w.Commit(); err == nil {
		t.Fatal("committed without a sync of the directory")
	}
	fs.Fail(nil)
	fs.Crash(vfs.KeepUnsynced, 0)
	s = mustOpen(t, fs, Options{})
	if got := s.Snapshots(r); len(got) != 1 {
		t.Fatalf("found: %v", got)
	}
	base := baseAt(r, 1, 7)
	must(t, s.Append([]Write{{Replica: r, Base: &base}}))
	fs.Crash(vfs.DropUnsynced, 0)
	s = mustOpen(t, fs, Options{})
	if d, bad := s.DamageOf(r); bad {
		t.Error(d.Err())
	}
}

// What Open finds in the directory may come from any moment of a life: some of
// it is of use, some is not, and what can't be told is not thrown away.
func TestOpenTidiesSnapshots(t *testing.T) {
	a, b := testReplica(1), testReplica(2)
	gone, stranger := testReplica(3), testReplica(4)
	fs := vfs.NewMem()
	s := snapshotStore(t, fs, a, b, gone)
	makeSnapshot(t, s, a, baseAt(a, 1, 3), stream(10))
	makeSnapshot(t, s, a, baseAt(a, 1, 7), stream(10))
	makeSnapshot(t, s, a, baseAt(a, 1, 9), stream(10))
	old := raw(t, fs, "d/snap/"+snapshotName(a, raft.LogID{Term: 1, Index: 3}))
	makeSnapshot(t, s, gone, baseAt(gone, 1, 3), stream(10))
	base := baseAt(a, 1, 7)
	must(t, s.Append([]Write{{Replica: a, Base: &base}, {Replica: gone, Remove: true}}))
	if got := s.Snapshots(gone); len(got) != 0 {
		t.Errorf("of a removed replica there is %v", got)
	}
	must(t, s.Close())
	name := func(r Replica, term, index uint64) string {
		return snapshotName(r, raft.LogID{Term: term, Index: index})
	}
	for _, n := range []string{name(gone, 1, 3), name(stranger, 1, 3), name(a, 2, 8), name(a, 1, 11), "7.tmp", "readme"} {
		put(t, fs, "d/snap/"+n, old)
	}
	s = mustOpen(t, fs, Options{})
	defer s.Close()
	names, err := fs.List("d/snap")
	must(t, err)
	want := []string{name(a, 1, 7), name(a, 1, 9), name(stranger, 1, 3), "readme"}
	slices.Sort(want)
	if !slices.Equal(names, want) {
		t.Errorf("after Open there is\n%s\nwant\n%s", strings.Join(names, "\n"), strings.Join(want, "\n"))
	}
	if got := s.Snapshots(a); len(got) != 2 || got[0].Base.ID.Index != 7 || got[1].Base.ID.Index != 9 {
		t.Errorf("usable: %v", got)
	}
}

// A log that begins after an index, and no snapshot to begin with: the replica
// has lost its state, and must say so; another snapshot gives it back.
func TestStateLost(t *testing.T) {
	r := testReplica(1)
	fs := vfs.NewMem()
	s := snapshotStore(t, fs, r)
	base := baseAt(r, 1, 7)
	sn := makeSnapshot(t, s, r, base, stream(3*blockBytes))
	lost := func(want bool, file string, offset int64) {
		t.Helper()
		d, got := s.DamageOf(r)
		if got != want || got && (!d.State || d.Where.File != file || d.Where.Offset != offset) {
			t.Errorf("damage: %v %+v, want %v in %s at %d", got, d, want, file, offset)
		}
	}
	must(t, s.Append([]Write{{Replica: r, Base: &base}}))
	lost(false, "", 0)
	rotten := raw(t, fs, sn.File)
	rotten[len(rotten)/2] ^= 1
	put(t, fs, sn.File, rotten)
	if _, err := readState(s, sn); !errors.Is(err, ErrDamaged) {
		t.Fatalf("read: %v", err)
	}
	block := int64(snapshotHeaderSize + 16 + 17 + blockHeaderSize + blockBytes)
	lost(true, sn.File, block)
	if got := s.Snapshots(r); len(got) != 0 {
		t.Errorf("usable: %v", got)
	}
	makeSnapshot(t, s, r, base, stream(3*blockBytes))
	lost(false, "", 0)
	must(t, s.Close())
	must(t, fs.Remove(sn.File))
	s = mustOpen(t, fs, Options{})
	lost(true, sn.File, 0)
	makeSnapshot(t, s, r, baseAt(r, 1, 9), stream(1))
	lost(false, "", 0)
	must(t, s.Close())
}

// A disk that refuses a write or a sync of a snapshot is not asked again for
// the log either; one that is full lost nothing.
func TestSnapshotDiskErrors(t *testing.T) {
	r := testReplica(1)
	for _, fail := range []string{"write", "sync", "rename", "syncdir"} {
		fs := vfs.NewMem()
		s := snapshotStore(t, fs, r)
		fs.Fail(func(op string) error {
			if strings.HasPrefix(op, fail+" ") && strings.Contains(op, "snap") {
				return io.ErrShortWrite
			}
			return nil
		})
		w, err := s.CreateSnapshot(r, baseAt(r, 1, 7))
		must(t, err)
		_, err = w.Write(stream(10))
		if err == nil {
			_, err = w.Commit()
		}
		if !errors.Is(err, io.ErrShortWrite) {
			t.Errorf("%s fails: %v", fail, err)
		}
		must(t, w.Abort())
		err = s.Append([]Write{{Replica: r, Entries: span(r, 1, 11, 11, 20)}})
		if !errors.Is(err, ErrStopped) || !errors.Is(err, io.ErrShortWrite) {
			t.Errorf("%s fails: then Append returns %v", fail, err)
		}
		if _, err := s.CreateSnapshot(r, baseAt(r, 1, 7)); !errors.Is(err, ErrStopped) {
			t.Errorf("%s fails: then CreateSnapshot returns %v", fail, err)
		}
		s.Close()
	}
	fs := vfs.NewMem()
	s := snapshotStore(t, fs, r)
	fs.Fail(func(op string) error {
		if strings.HasPrefix(op, "write d/snap") {
			return fmt.Errorf("%s: %w", op, vfs.ErrFull)
		}
		return nil
	})
	w, err := s.CreateSnapshot(r, baseAt(r, 1, 7))
	must(t, err)
	if _, err := w.Write(stream(5 * blockBytes)); !errors.Is(err, ErrFull) {
		t.Errorf("write on a full disk: %v", err)
	}
	if _, err := w.Commit(); !errors.Is(err, ErrFull) {
		t.Errorf("commit after a full disk: %v", err)
	}
	must(t, w.Abort())
	fs.Fail(nil)
	must(t, s.Append([]Write{{Replica: r, Entries: span(r, 1, 11, 11, 20)}}))
	makeSnapshot(t, s, r, baseAt(r, 1, 7), stream(10))
	must(t, s.Close())
}

// A caller that asks for what can't be is told so, and nothing happens.
func TestSnapshotRefusals(t *testing.T) {
	r := testReplica(1)
	fs := vfs.NewMem()
	s := snapshotStore(t, fs, r)
	base := baseAt(r, 1, 7)
	makeSnapshot(t, s, r, base, nil)
	must(t, s.Append([]Write{{Replica: r, Base: &base}}))
	for _, c := range []struct {
		what string
		id   Replica
		base Base
		want error
	}{
		{"an unknown replica", testReplica(2), base, ErrUnknown},
		{"before the log", r, baseAt(r, 1, 6), ErrCompacted},
		{"after the log", r, baseAt(r, 1, 11), ErrRange},
		{"another term", r, baseAt(r, 2, 8), ErrWrite},
		{"no membership", r, Base{ID: raft.LogID{Term: 1, Index: 8}}, ErrWrite},
		{"a bad membership", r, Base{ID: raft.LogID{Term: 1, Index: 8}, Membership: raft.Membership{Next: 3}}, raft.ErrMembership},
	} {
		if _, err := s.CreateSnapshot(c.id, c.base); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.what, err, c.want)
		}
	}
	if _, err := s.ReceiveSnapshot(testReplica(2)); !errors.Is(err, ErrUnknown) {
		t.Errorf("receive for an unknown replica: %v", err)
	}
	must(t, s.Close())
	if _, err := s.CreateSnapshot(r, base); !errors.Is(err, ErrStopped) {
		t.Errorf("after Close: %v", err)
	}
}

// Snapshots are made, read, walked over and removed while the log is appended to
// and a replica goes. Nothing of it may disturb the other; the race detector
// looks on where it is asked to.
func TestSnapshotsBesideAppend(t *testing.T) {
	a, b := testReplica(1), testReplica(2)
	fs := vfs.NewMem()
	s := snapshotStore(t, fs, a, b)
	const rounds = 60
	beside := make(chan error)
	go func() {
		beside <- func() error {
			for i := range rounds {
				state := stream(blockBytes + i)
				w, err := s.CreateSnapshot(a, baseAt(a, 1, uint64(3+i%7)))
				if err != nil {
					return err
				}
				if _, err := w.Write(state); err != nil {
					return err
				}
				sn, err := w.Commit()
				if err != nil {
					return err
				}
				if got, err := readState(s, sn); err != nil || !bytes.Equal(got, state) {
					return fmt.Errorf("round %d: other bytes, %w", i, err)
				}
				if err := s.RemoveSnapshots(a, raft.LogID{Term: 1, Index: uint64(3 + i%5)}); err != nil {
					return err
				}
			}
			return nil
		}()
	}()
	go func() {
		beside <- func() error {
			for i := range rounds {
				if _, err := s.ScrubSnapshots(blockBytes); err != nil {
					return err
				}
				s.Snapshots(a)
				s.Damaged()
				w, err := s.CreateSnapshot(b, baseAt(b, 1, 5))
				if errors.Is(err, ErrUnknown) {
					continue // it is gone
				}
				if err != nil {
					return err
				}
				if _, err := w.Commit(); err != nil && !errors.Is(err, ErrUnknown) {
					return fmt.Errorf("round %d: %w", i, err)
				}
			}
			return nil
		}()
	}()
	for i := uint64(11); i < 300; i++ {
		must(t, s.Append([]Write{{Replica: a, Entries: span(a, 1, i, i, 20), Commit: i}}))
		if i == 150 {
			must(t, s.Append([]Write{{Replica: b, Remove: true}}))
		}
		must(t, s.Idle())
	}
	must(t, <-beside)
	must(t, <-beside)
	must(t, s.Close())
	names, err := fs.List("d/snap")
	must(t, err)
	for _, name := range names {
		if id, _, ok := parseSnapshotName(name); !ok || id != a {
			t.Errorf("left behind: %s", name)
		}
	}
	s = mustOpen(t, fs, Options{})
	for _, sn := range s.Snapshots(a) {
		must(t, VerifySnapshot(fs, sn.File))
	}
	must(t, s.Close())
}
