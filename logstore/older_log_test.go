package logstore

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"muster/logstore/vfs"
)

// The log, or a segment of it, comes back from an earlier moment of the same life,
// beside the newest identity and witness. All of it verifies, and it ends where a log
// may end. Each way to put it back is told, save bytes that were written over the
// same file when next to nothing had followed since the log last rested.
func TestOlderLog(t *testing.T) {
	type moment struct {
		name string
		then func(*lifeNode) // what happened after the copy was taken
		over string          // what is said of bytes that were written over; "" for nothing
	}
	const (
		another = "is another file"
		behind  = "ends with batch"
	)
	moments := []moment{
		{"a batch ago", func(n *lifeNode) { n.write(one, 50) }, ""},
		{"before a rest", func(n *lifeNode) { n.write(one, 50); must(n.t, n.store.Idle()) }, behind},
		{"many batches ago", func(n *lifeNode) {
			for range reachedEvery {
				n.write(one, 50)
			}
		}, behind},
		{"before the next segment", func(n *lifeNode) { n.fill(one, n.store.index.active.number+1); must(n.t, n.store.Idle()) }, behind},
		{"three segments ago", func(n *lifeNode) { n.fill(one, n.store.index.active.number+3) }, behind},
	}
	for _, tt := range []struct {
		name string
		put  func(n *lifeNode, from *vfs.Mem)
		over bool // the files stay the same ones
	}{
		{"directory replaced", func(n *lifeNode, from *vfs.Mem) { n.disk.PutBack("d/log", from, vfs.Replace) }, false},
		{"all but identity and witness replaced", func(n *lifeNode, from *vfs.Mem) {
			n.disk.PutBack("d/log", from, vfs.Replace)
			n.disk.PutBack("d/snap", from, vfs.Replace)
		}, false},
		{"directory emptied and written over", func(n *lifeNode, from *vfs.Mem) {
			kept, err := from.List("d/log")
			must(n.t, err)
			names, err := n.disk.List("d/log")
			must(n.t, err)
			for _, name := range names {
				if !strings.Contains(strings.Join(kept, " "), name) {
					must(n.t, n.disk.Remove("d/log/"+name))
				}
			}
			must(n.t, n.disk.SyncDir("d/log"))
			n.disk.PutBack("d/log", from, vfs.InPlace)
		}, true},
	} {
		for _, m := range moments {
			t.Run(tt.name+", "+m.name, func(t *testing.T) {
				n := newLifeNode(t).start()
				n.write(one, 50)
				n.kill()
				n.start()
				n.write(one, 50)
				must(t, n.store.Idle())
				from := n.disk.Copy()
				m.then(n)
				n.kill()
				newest := n.disk.Copy()
				tt.put(n, from)
				want := m.over
				if !tt.over {
					want = another + "|" + behind + "|is missing"
				}
				id, _, err := ReadIdentity(n.disk, "d")
				must(t, err)
				if why, err := CheckWitness(n.disk, "d", &id); err != nil || (why == "") != (want == "") {
					t.Errorf("checked: %q, %v", why, err)
				}
				n.start()
				n.doubts(want)
				if d := n.id.Doubt; d.Proven != strings.Contains(d.Why, behind) {
					t.Errorf("proven %t: %s", d.Proven, d.Why)
				}
				n.kill()
				n.start() // a doubt outlives the life
				n.doubts(want)
				must(t, n.store.Close())
				n.disk = newest // it was put back before the node was started
				n.disk.Crash(vfs.KeepUnsynced, 0)
				n.start()
				n.doubts("")
				must(t, n.store.Close())
			})
		}
	}
}

// One segment alone, the one that was written to, is from an earlier moment.
func TestOlderActiveSegment(t *testing.T) {
	for _, segment := range []uint64{1, 3} {
		n := newLifeNode(t).start()
		n.write(one, 50)
		n.fill(one, segment)
		from := n.disk.Copy()
		n.write(one, 50)
		n.kill()
		f, err := n.disk.Create(n.path(segment)) // another file, with the bytes of the earlier moment
		must(t, err)
		_, err = f.WriteAt(from.Bytes(n.path(segment)), 0)
		must(t, err)
		must(t, f.Sync())
		must(t, f.Close())
		must(t, n.disk.SyncDir("d/log"))
		n.start()
		n.doubts("is another file")
	}
}

// After a clean stop it is known how the log stood, so files may be other ones: a
// log that was copied whole to another place is whole.
func TestLogMovedAfterStop(t *testing.T) {
	n := newLifeNode(t).start()
	n.fill(one, 3)
	must(t, n.store.Close())
	n.disk.PutBack("d/log", n.disk.Copy(), vfs.Replace)
	n.start()
	n.doubts("")
}

// A segment that is freed, used again, or never noted makes no doubt, whatever is
// next to it.
func TestSegmentsComeAndGo(t *testing.T) {
	n := newLifeNode(t).start()
	for round := range uint64(12) {
		n.fill(one, 2*round+2)
		_, last, _, _ := n.store.Bounds(one)
		must(t, n.store.Compact(one, Base{ID: last, Membership: voters(one.ID)}))
		for range 3 {
			n.write(one, 50)
		}
		n.kill()
		n.start()
		n.doubts("")
	}
	if first := n.store.index.segments[0].number; first < 10 {
		t.Fatalf("the log begins with segment %d: none was freed", first)
	}
}

// The last batch of a log that rests says only where the one before it ends. That
// it rots loses nothing, and makes no doubt.
func TestRottenRest(t *testing.T) {
	n := newLifeNode(t).start()
	n.write(one, 50)
	at := n.store.writer.synced
	must(t, n.store.Idle())
	must(t, n.store.Idle())
	n.kill()
	if changed, err := n.disk.Damage(n.path(1), roundUp(at.offset, pageSize), vfs.ZeroPage); err != nil || !changed {
		t.Fatal(changed, err)
	}
	n.start()
	n.doubts("")
}

// What the witness says of the log is of one life, and a line that is torn says
// nothing.
func TestReachedLine(t *testing.T) {
	want := Reached{4711, 0xa3ce929d0e0e4736}
	line := want.append(nil)
	if got := parseReached(line); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	for i := range line {
		if got := parseReached(line[:i]); got != (Reached{}) {
			t.Errorf("first %d bytes: %+v", i, got)
		}
		bad := append([]byte(nil), line...)
		if bad[i] ^= 1; parseReached(bad) != (Reached{}) {
			t.Errorf("byte %d rotten: %+v", i, parseReached(bad))
		}
	}
	if other := (Reached{1 << 63, 1}).append(nil); len(other) != len(line) {
		t.Errorf("lines of %d and %d bytes", len(line), len(other))
	}
	n := newLifeNode(t).start()
	n.write(one, 50)
	at := n.store.SyncedBatch()
	must(t, n.store.Idle())
	if _, got, _, err := StatWitness(n.disk, "d", 7); err != nil || got != (Reached{at, n.mark}) {
		t.Errorf("the witness says %+v, %v; want batch %d", got, err, at)
	}
}

// On a real disk as in memory: a copy of the log's directory that is moved to its
// place is told, and so is one that is written over the files.
func TestOlderLogOnRealDisk(t *testing.T) {
	disk := vfs.OS{}
	for _, over := range []bool{false, true} {
		dir := filepath.Join(t.TempDir(), "d")
		must(t, disk.MkdirAll(dir))
		must(t, WriteIdentity(disk, dir, freshIdentity()))
		id, _, err := ReadIdentity(disk, dir)
		must(t, err)
		s := mustOpen(t, disk, Options{Dir: dir})
		if id, err = BeginLife(s, id, 0, 1); err != nil || !id.Doubt.None() {
			t.Fatal(id.Doubt.Why, err)
		}
		must(t, s.Append([]Write{founding(one)}))
		log, copied := filepath.Join(dir, LogDir), filepath.Join(t.TempDir(), "copied")
		must(t, os.CopyFS(copied, os.DirFS(log)))
		must(t, s.Append([]Write{{Replica: one, Commit: 1, Entries: span(one, 1, 1, 1, 50)}}))
		must(t, s.Idle())
		must(t, s.closeFiles()) // as a process does that is killed
		if over {
			must(t, filepath.WalkDir(copied, func(name string, d fs.DirEntry, err error) error {
				if err != nil || d.IsDir() {
					return err
				}
				b, err := os.ReadFile(name)
				if err != nil {
					return err
				}
				return os.WriteFile(filepath.Join(log, d.Name()), b, 0o600)
			}))
		} else {
			must(t, os.Rename(log, log+"-newest"))
			must(t, os.Rename(copied, log))
		}
		id, _, err = ReadIdentity(disk, dir)
		must(t, err)
		s = mustOpen(t, disk, Options{Dir: dir})
		id, err = BeginLife(s, id, 0, 2)
		must(t, err)
		if !id.Doubt.Proven || !strings.Contains(id.Doubt.Why, "ends with batch") {
			t.Errorf("written over %t: the doubt is %+v", over, id.Doubt)
		}
		must(t, s.Close())
	}
}
