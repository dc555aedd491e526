package logstore

import (
	"errors"
	"fmt"
	"testing"

	"muster/logstore/vfs"
)

// lifeNode is a data directory and what runs on it.
type lifeNode struct {
	t     testing.TB
	disk  *vfs.Mem
	id    Identity
	store *Store
	mark  uint64
}

func newLifeNode(t testing.TB) *lifeNode {
	n := &lifeNode{t: t, disk: vfs.NewMem()}
	must(t, n.disk.MkdirAll("d"))
	must(t, WriteIdentity(n.disk, "d", Identity{Stage: StageMember, Cluster: "c", ClusterID: 1, Node: 7}))
	return n
}

// start does what a node does at its start.
func (n *lifeNode) start() *lifeNode {
	n.t.Helper()
	id, _, err := ReadIdentity(n.disk, "d")
	must(n.t, err)
	n.mark++
	n.store = mustOpen(n.t, n.disk, Options{Chance: n.mark})
	n.id, err = BeginLife(n.store, id, 0, n.mark)
	must(n.t, err)
	return n
}

func (n *lifeNode) kill() {
	n.disk.Crash(vfs.KeepUnsynced, 0)
	n.store = nil
}

// fill writes entries until the log is in a segment.
func (n *lifeNode) fill(r Replica, segment uint64) {
	n.t.Helper()
	for n.store.index.active.number < segment {
		n.write(r, 3000)
	}
}

// write appends one entry, and the replica's founding before the first.
func (n *lifeNode) write(r Replica, size int) {
	n.t.Helper()
	if _, _, _, ok := n.store.Bounds(r); !ok {
		must(n.t, n.store.Append([]Write{founding(r)}))
	}
	_, last, _, _ := n.store.Bounds(r)
	i := last.Index + 1
	must(n.t, n.store.Append([]Write{{Replica: r, Commit: i, Entries: span(r, 1, i, i, size)}}))
}

// Each start is a link of the chain, which says how far the log was. Numbers only
// grow, whatever the others ask for, and a life that takes a higher one lacks all that
// it lacked before; marks tell two lives of one number apart; and the chain has a
// bound.
func TestChain(t *testing.T) {
	n := newLifeNode(t).start()
	n.write(one, 50)
	n.write(one, 50)
	at := n.store.SyncedBatch()
	if at != 3 {
		t.Fatalf("synced batch %d after three", at)
	}
	n.kill()
	n.start()
	want := []Link{{Life{1, 1}, 0}, {Life{2, 2}, at}}
	if fmt.Sprint(n.id.Chain) != fmt.Sprint(want) {
		t.Fatalf("chain %v, want %v", n.id.Chain, want)
	}
	n.write(one, 50)
	for _, tt := range []struct{ atLeast, want uint64 }{{0, 3}, {3, 4}, {100, 100}, {5, 101}} {
		id, err := TakeNumber(n.store, tt.atLeast)
		must(t, err)
		if got := id.Life(); got != (Life{tt.want, 2}) || len(id.Chain) != 2 || id.Chain[1].Last != at {
			t.Errorf("number of at least %d: chain %v, its last link begins after batch %d", tt.atLeast, id.Chain, at)
		}
	}
	if _, err := BeginLife(n.store, n.id, 0, 9); !errors.Is(err, ErrLife) {
		t.Errorf("a second life of one process: %v", err)
	}
	for range 2 * LivesMax {
		n.kill()
		n.start()
	}
	read, _, err := ReadIdentity(n.disk, "d")
	must(t, err)
	if len(read.Chain) != LivesMax || read.Life() != (Life{101 + 2*LivesMax, n.mark}) || read.Chain[0].Number != read.Life().Number-LivesMax+1 {
		t.Errorf("chain of %d, from %v to %v", len(read.Chain), read.Chain[0], read.Life())
	}
	if _, err := read.Begin(0, 0, 0); !errors.Is(err, ErrLife) {
		t.Errorf("a life without a mark: %v", err)
	}
}

// A life that began while the node had no log continues in the log.
func TestLifeGoesOnAfterFounding(t *testing.T) {
	n := newLifeNode(t)
	id, _, err := ReadIdentity(n.disk, "d")
	must(t, err)
	id, err = id.Begin(0, 5, 0)
	must(t, err)
	must(t, WriteIdentity(n.disk, "d", id))
	n.mark = 4
	if n.start(); len(n.id.Chain) != 1 || n.id.Life() != (Life{1, 5}) {
		t.Errorf("chain %v", n.id.Chain)
	}
	must(t, n.store.Close())
}

// Batches never count back, even where the end of the log is damaged: what peers
// noted of this node stays below what it says from then on.
func TestBatchesOnlyGrow(t *testing.T) {
	n := newLifeNode(t).start()
	n.fill(one, 3)
	before := n.store.SyncedBatch()
	n.kill()
	must(t, n.disk.Remove(n.path(3)))
	must(t, n.disk.SyncDir("d/log"))
	n.start()
	n.write(two, 50)
	if got := n.store.SyncedBatch(); got <= before {
		t.Errorf("batch %d after %d", got, before)
	}
}

func (n *lifeNode) path(segment uint64) string { return "d/log/" + segmentName(segment) }

// What a node knows of the others' lives outlives the segment that it stood in,
// and one page that rots.
func TestNotes(t *testing.T) {
	n := newLifeNode(t).start()
	n.write(one, 50)
	notes := []Note{{2, Life{7, 8}, Life{6, 5}, 9}, {3, Life{1, 2}, Life{1, 2}, 4}}
	must(t, n.store.Append([]Write{{Note: &Note{2, Life{6, 6}, Life{}, 6}}}))
	must(t, n.store.Append([]Write{{Note: &notes[1]}, {Note: &notes[0]}}))
	check := func(when string) {
		t.Helper()
		if got := n.store.Notes(); fmt.Sprint(got) != fmt.Sprint(notes) {
			t.Errorf("%s: %v, want %v", when, got, notes)
		}
	}
	check("written")
	must(t, n.store.Idle())
	n.kill()
	rotten, err := n.disk.Damage(n.path(1), n.noteAt(), vfs.ZeroSector)
	if err != nil || !rotten {
		t.Fatal(rotten, err)
	}
	n.start()
	check("rotten and opened")
	if d, hurt := n.store.DamageOf(one); hurt {
		t.Error(d.Err())
	}
	n.fill(one, 6)
	_, last, _, _ := n.store.Bounds(one)
	must(t, n.store.Compact(one, Base{ID: last, Membership: voters(one.ID)}))
	for range 4 {
		n.write(one, 3000)
	}
	if first := n.store.index.segments[0].number; first == 1 {
		t.Fatal("no segment was freed")
	}
	check("moved")
	n.kill()
	n.start()
	check("moved and opened")
	must(t, n.store.Append([]Write{{Note: &Note{Node: 2}}}))
	notes = notes[1:]
	check("forgotten")
	n.kill()
	n.start()
	check("forgotten and opened")
	if err := n.store.Append([]Write{{Replica: one, Note: &notes[0]}}); !errors.Is(err, ErrWrite) {
		t.Errorf("a note of a replica: %v", err)
	}
}

// noteAt is where the first note stands.
func (n *lifeNode) noteAt() int64 {
	n.t.Helper()
	at := int64(-1)
	must(n.t, Walk(n.disk, "d", func(w *Walked) error {
		if w.Note != nil && w.Note.Node == 2 && w.Note.Batch == 9 {
			at = w.Offset
		}
		return nil
	}))
	return at
}
