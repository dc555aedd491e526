package logstore

import (
	"errors"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"muster/logstore/vfs"
	"muster/raft"
)

// A directory, or a part of it, comes back from an earlier moment. All of it
// verifies. What the witness at home tells, and what it can't, is this table: for
// each way to put something back, and each moment that it is from.
func TestOlderLife(t *testing.T) {
	type moment struct {
		name string
		then func(*lifeNode) // what happened after the copy was taken
	}
	stopped := func(n *lifeNode) { must(n.t, n.store.Close()) }
	moments := []moment{
		{"taken while it ran, a stop ago", func(n *lifeNode) { n.write(one, 50); stopped(n) }},
		{"taken while it ran, a start ago", func(n *lifeNode) { n.write(one, 50); n.kill(); n.start(); n.write(one, 50); n.kill() }},
		{"two starts ago", func(n *lifeNode) {
			for range 2 {
				stopped(n)
				n.start()
			}
			n.write(one, 50)
			n.kill()
		}},
		{"a segment ago", func(n *lifeNode) { n.fill(one, n.store.index.active.number+2); n.kill() }},
		{"within the life of a witness", func(n *lifeNode) { n.write(one, 50); n.kill() }},
	}
	for _, tt := range []struct {
		name string
		put  func(n *lifeNode, from *vfs.Mem)
		want [5]string // of each moment: the doubt has this; "" for none
	}{
		{"directory replaced", func(n *lifeNode, from *vfs.Mem) { n.disk.PutBack("d", from, vfs.Replace) },
			[5]string{"is a copy", "is a copy", "is a copy", "is a copy", "is a copy"}},
		{"files written over", func(n *lifeNode, from *vfs.Mem) { n.disk.PutBack("d", from, vfs.InPlace) },
			[5]string{"not the one|is a copy", "not the one|is a copy", "not the one|is a copy", "not the one|is a copy", ""}},
		{"identity alone", func(n *lifeNode, from *vfs.Mem) { n.putBack(from, "d/identity") },
			[5]string{"not the one", "not the one", "not the one", "not the one", ""}},
		{"witness alone", func(n *lifeNode, from *vfs.Mem) { n.putBack(from, "d/witness") },
			[5]string{"not the one|is a copy", "not the one|is a copy", "not the one", "not the one", ""}},
		{"its own files moved away and back", func(n *lifeNode, _ *vfs.Mem) { n.disk.Crash(vfs.KeepUnsynced, 0) },
			[5]string{}},
	} {
		for i, m := range moments {
			t.Run(tt.name+", "+m.name, func(t *testing.T) {
				n := newLifeNode(t).start()
				n.write(one, 50)
				stopped(n)
				n.start()
				n.write(one, 50)
				from := n.disk.Copy()
				m.then(n)
				newest := n.disk.Copy()
				tt.put(n, from)
				if id, _, err := ReadIdentity(n.disk, "d"); err != nil {
					t.Fatal(err)
				} else if why, err := CheckWitness(n.disk, "d", &id); err != nil || (why == "") != (tt.want[i] == "") {
					t.Errorf("checked: %q, %v", why, err)
				}
				n.start()
				n.doubts(tt.want[i])
				n.kill()
				n.start() // a doubt outlives the life
				n.doubts(tt.want[i])
				must(t, n.store.Close())
				if tt.want[i] == "" {
					return
				}
				n.disk = newest // the directory with which it ran last is put back
				n.disk.Crash(vfs.KeepUnsynced, 0)
				n.start()
				n.doubts("")
			})
		}
	}
}

// putBack writes one file over from another disk, and its inode stays.
func (n *lifeNode) putBack(from *vfs.Mem, name string) {
	n.t.Helper()
	f, err := n.disk.Open(name)
	must(n.t, err)
	b := from.Bytes(name)
	must(n.t, f.Truncate(int64(len(b))))
	_, err = f.WriteAt(b, 0)
	must(n.t, err)
	must(n.t, f.Sync())
	must(n.t, f.Close())
}

// doubts fails unless the doubt has one of some texts, or is none.
func (n *lifeNode) doubts(want string) {
	n.t.Helper()
	if want == "" {
		if !n.id.Doubt.None() {
			n.t.Errorf("it doubts: %s", n.id.Doubt.Why)
		}
		return
	}
	for _, text := range strings.Split(want, "|") {
		if strings.Contains(n.id.Doubt.Why, text) && strings.Contains(n.id.Doubt.Why, "earlier moment") && !strings.Contains(n.id.Doubt.Why, "\n") {
			return
		}
	}
	n.t.Errorf("the doubt is %q, want one that has %q", n.id.Doubt.Why, want)
}

// Where only the witness was lost, to move it back lifts the doubt, also if the node
// was started without in between. A copy of it does not.
func TestWitnessIsBack(t *testing.T) {
	for _, tt := range []struct {
		name string
		back func(n *lifeNode)
		want string
	}{
		{"moved", func(n *lifeNode) { must(t, n.disk.Rename("d/kept", "d/witness")) }, ""},
		{"copied", func(n *lifeNode) {
			b := n.disk.Bytes("d/kept")
			f, err := n.disk.Create("d/witness")
			must(t, err)
			_, err = f.WriteAt(b, 0)
			must(t, err)
			must(t, f.Close())
		}, "missing"},
	} {
		n := newLifeNode(t).start()
		n.write(one, 50)
		must(t, n.store.Close())
		must(t, n.disk.Rename("d/witness", "d/kept"))
		for range 2 {
			n.start()
			n.doubts("missing")
			n.kill()
		}
		tt.back(n)
		n.start()
		n.doubts(tt.want)
		must(t, n.store.Close())
		n.start()
		n.doubts(tt.want)
		must(t, n.store.Close())
	}
}

// A doubt that the owner set, for what peers said, is his to lift.
func TestDoubtOfTheOwner(t *testing.T) {
	n := newLifeNode(t).start()
	for _, want := range []string{"a peer knows a later batch: it is of an earlier moment", ""} {
		if _, err := ChangeIdentity(n.store, func(id *Identity) { id.Doubt = Doubt{Why: want, Proven: want != ""} }); err != nil {
			t.Fatal(err)
		}
		must(t, n.store.Close())
		n.start()
		n.doubts(want)
	}
	if _, err := ChangeIdentity(n.store, func(id *Identity) { id.Doubt.Why = strings.Repeat("x", DoubtBytesMax+1) }); err == nil {
		t.Error("a doubt without a bound")
	}
}

// A witness that rots is no older life: no copy has its inode and birth.
func TestRottenWitness(t *testing.T) {
	n := newLifeNode(t).start()
	n.write(one, 50)
	must(t, n.store.Close())
	n.disk.Corrupt("d/witness", 30, 1)
	n.start()
	n.doubts("")
}

// A segment alone that is from an earlier moment lacks batches at its end: after a
// clean stop that is damage, known to the entry, and no doubt.
func TestOlderSegment(t *testing.T) {
	n := newLifeNode(t).start()
	n.write(one, 50)
	n.write(one, 50)
	from := n.disk.Copy()
	n.write(one, 3000)
	n.write(one, 3000)
	was := n.held(one)
	must(t, n.store.Close())
	n.putBack(from, n.path(1))
	n.start()
	n.doubts("")
	if lost := n.lacks(one, was); len(lost) != 2 {
		t.Errorf("%d entries are lost, want 2", len(lost))
	}
}

// A snapshot alone that is from an earlier moment is not taken for the newest: the
// log begins after it. Where it stands in for the newest, the state is lost.
func TestOlderSnapshot(t *testing.T) {
	n := newLifeNode(t).start()
	snapshot := func() string {
		n.t.Helper()
		for range 3 {
			n.write(one, 50)
		}
		_, last, _, _ := n.store.Bounds(one)
		base := Base{ID: last, Membership: voters(one.ID)}
		file := makeSnapshot(t, n.store, one, base, stream(1000)).File
		must(t, n.store.Compact(one, base))
		return file
	}
	first := snapshot()
	from := n.disk.Copy()
	second := snapshot()
	must(t, n.store.RemoveSnapshots(one, raftBase(n)))
	must(t, n.store.Close())
	for _, gone := range []bool{false, true} {
		if gone {
			n.remove(second)
		}
		f, err := n.disk.Create(first)
		must(t, err)
		_, err = f.WriteAt(from.Bytes(first), 0)
		must(t, err)
		must(t, f.Close())
		n.start()
		n.doubts("")
		for _, sn := range n.store.Snapshots(one) {
			if sn.File == first {
				t.Errorf("%s is of use, though the log begins after it", first)
			}
		}
		if d, hurt := n.store.DamageOf(one); hurt != gone || d.State != gone {
			t.Errorf("the newest is gone %t: %+v", gone, d)
		}
		must(t, n.store.Close())
	}
}

// On a real disk as in memory: a directory that is copied has another witness, one
// that is moved has not, and files that are written over have an older one.
func TestOlderLifeOnRealDisk(t *testing.T) {
	top := t.TempDir()
	disk := vfs.OS{}
	start := func(dir string) (*Store, Identity) {
		t.Helper()
		id, ok, err := ReadIdentity(disk, dir)
		must(t, err)
		if !ok {
			must(t, disk.MkdirAll(dir))
			id = freshIdentity()
			must(t, WriteIdentity(disk, dir, id))
		}
		s := mustOpen(t, disk, Options{Dir: dir})
		id, err = BeginLife(s, id, 0, id.Life().Number+1)
		must(t, err)
		return s, id
	}
	stop := func(dir string) string {
		t.Helper()
		s, id := start(dir)
		must(t, s.Close())
		return id.Doubt.Why
	}
	copyTo := func(from, to string) {
		t.Helper()
		must(t, filepath.WalkDir(from, func(name string, d os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			target := to + strings.TrimPrefix(name, from)
			if d.IsDir() {
				return os.MkdirAll(target, 0o700)
			}
			b, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			return os.WriteFile(target, b, 0o600) // over a file it keeps the inode
		}))
	}
	a, b, c := filepath.Join(top, "a"), filepath.Join(top, "b"), filepath.Join(top, "c")
	if why := stop(a) + stop(a); why != "" {
		t.Fatal(why)
	}
	copyTo(a, b)
	must(t, os.Rename(a, c))
	if why := stop(c); why != "" {
		t.Errorf("moved: %s", why)
	}
	if why := stop(b); !strings.Contains(why, "is a copy") {
		t.Errorf("copied: %q", why)
	}
	copyTo(c, a)
	must(t, os.RemoveAll(b))
	if why := stop(c) + stop(c); why != "" {
		t.Errorf("started again: %s", why)
	}
	copyTo(a, c) // an older one, over the files of the newest
	if why := stop(c); why == "" {
		id, err := disk.FileID(filepath.Join(c, witnessName))
		if must(t, err); id.Birth != 0 {
			t.Error("written over: no doubt")
		}
	}
}

// raftBase is where the log of replica one begins.
func raftBase(n *lifeNode) raft.LogID {
	base, _, _, _ := n.store.Bounds(one)
	return base
}

// A doubt that its owner has lifted does not come back with the next start, if a full disk
// kept the life from making a witness of its own: that of the copy is the node's by then.
func TestLiftedDoubtStaysLiftedOnAFullDisk(t *testing.T) {
	n := newLifeNode(t).start()
	n.write(one, 50)
	n.kill()
	b := n.disk.Bytes("d/witness")
	must(t, n.disk.Remove("d/witness"))
	f, err := n.disk.Create("d/witness")
	must(t, err)
	_, err = f.WriteAt(b, 0)
	must(t, err)
	must(t, f.Sync())
	must(t, f.Close())
	must(t, n.disk.SyncDir("d"))
	id, _, err := ReadIdentity(n.disk, "d")
	must(t, err)
	n.mark++
	n.store = mustOpen(t, noWitness{n.disk}, Options{Chance: n.mark})
	n.id, err = BeginLife(n.store, id, 0, n.mark)
	must(t, err)
	n.doubts("is a copy")
	if _, err := ChangeIdentity(n.store, func(id *Identity) { id.Doubt = Doubt{} }); err != nil {
		t.Fatal(err)
	}
	n.kill()
	n.start()
	n.doubts("")
	must(t, n.store.Close())
}

// noWitness is a disk that has room for everything but a witness.
type noWitness struct{ vfs.FS }

// Create implements [vfs.FS].
func (d noWitness) Create(name string) (vfs.File, error) {
	if path.Base(name) == witnessTemp {
		return nil, ErrFull
	}
	return d.FS.Create(name)
}

// A prepared segment that recovery has dropped is noted no more, even if the start fails
// right after: its number is given to a new file, which is not one that was put back.
func TestDroppedSegmentIsNotedNoMore(t *testing.T) {
	n := newLifeNode(t).start()
	n.write(one, 50)
	if id, _ := IdentityOf(n.store); len(id.Segments) < 2 {
		t.Fatalf("the identity notes %v, want a prepared segment, too", id.Segments)
	}
	n.kill()
	const prepared = "d/log/0000000000000002.log"
	b := n.disk.Bytes(prepared)
	must(t, n.disk.Remove(prepared))

	failing := &noSyncDir{FS: n.disk}
	id, _, err := ReadIdentity(n.disk, "d")
	must(t, err)
	s := mustOpen(t, failing, Options{Chance: 9})
	failing.on = true // so the start fails; what it has written by then stays
	if _, err := BeginLife(s, id, 0, 9); err == nil {
		t.Fatal("a life began on a disk that syncs no directory")
	}
	n.kill()
	f, err := n.disk.Create(prepared)
	must(t, err)
	_, err = f.WriteAt(b, 0)
	must(t, err)
	must(t, f.Sync())
	must(t, f.Close())
	must(t, n.disk.SyncDir("d/log"))
	n.start()
	n.doubts("")
	must(t, n.store.Close())
}

// noSyncDir is a disk that refuses, once on, to sync the data directory.
type noSyncDir struct {
	vfs.FS
	on bool
}

// SyncDir implements [vfs.FS].
func (d *noSyncDir) SyncDir(dir string) error {
	if d.on && dir == "d" {
		return errors.New("input/output error")
	}
	return d.FS.SyncDir(dir)
}
