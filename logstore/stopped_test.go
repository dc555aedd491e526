package logstore

import (
	"fmt"
	"strings"
	"testing"

	"muster/logstore/vfs"
	"muster/raft"
)

// hurtEnd is a way to take away the end of a log.
type hurtEnd struct {
	name string
	do   func(*lifeNode, uint64, int64) // the segment that was written to, and where its batches end
}

var hurtEnds = []hurtEnd{
	{"1 page zeroed", func(n *lifeNode, segment uint64, end int64) { n.zeroPages(segment, end, 1) }},
	{"2 pages zeroed", func(n *lifeNode, segment uint64, end int64) { n.zeroPages(segment, end, 2) }},
	{"3 pages zeroed", func(n *lifeNode, segment uint64, end int64) { n.zeroPages(segment, end, 3) }},
	{"8 pages zeroed", func(n *lifeNode, segment uint64, end int64) { n.zeroPages(segment, end, 8) }},
	{"segment zeroed", func(n *lifeNode, segment uint64, _ int64) {
		n.zeroPages(segment, SegmentBytesMin, SegmentBytesMin/pageSize)
	}},
	{"segment missing", func(n *lifeNode, segment uint64, _ int64) { n.remove(n.path(segment)) }},
	{"segment cut short", func(n *lifeNode, segment uint64, end int64) {
		_, err := n.disk.Damage(n.path(segment), end/2, vfs.Truncated)
		must(n.t, err)
	}},
	{"it and the one before missing", func(n *lifeNode, segment uint64, _ int64) {
		n.remove(n.path(segment))
		n.remove(n.path(segment - 1))
	}},
	{"it and what was prepared missing", func(n *lifeNode, segment uint64, _ int64) {
		n.remove(n.path(segment))
		n.remove(n.path(segment + 1))
	}},
}

func (n *lifeNode) remove(name string) {
	n.t.Helper()
	if _, err := n.disk.Damage(name, 0, vfs.Missing); err != nil && !strings.HasSuffix(name, n.path(n.store.index.active.number+1)) {
		n.t.Fatal(err)
	}
}

// zeroPages zeroes the last pages of a segment that are in use.
func (n *lifeNode) zeroPages(segment uint64, end int64, pages int64) {
	n.t.Helper()
	for page := (end - 1) / pageSize; page >= 0 && pages > 0; page, pages = page-1, pages-1 {
		_, err := n.disk.Damage(n.path(segment), page*pageSize, vfs.ZeroPage)
		must(n.t, err)
	}
}

// held is what a replica was told that is kept.
type held struct {
	state   raft.HardState
	base    raft.LogID
	entries []raft.Entry
}

func (n *lifeNode) held(r Replica) held {
	n.t.Helper()
	o, ok := n.store.Outline(r)
	if !ok {
		n.t.Fatalf("no %s", r)
	}
	entries, err := n.store.Read(r, o.Base.ID.Index+1, o.Last.Index, 1<<30)
	must(n.t, err)
	return held{o.State, o.Base.ID, entries}
}

// lacks checks that a replica knows all that it was told, if only as lost, and returns
// what is lost.
func (n *lifeNode) lacks(r Replica, was held) []raft.Entry {
	n.t.Helper()
	o, ok := n.store.Outline(r)
	last := was.entries[len(was.entries)-1].ID
	if !ok || o.Last != last || o.State.Term != was.state.Term || o.State.Vote != was.state.Vote || o.Base.ID != was.base {
		n.t.Fatalf("%s: base %s, last %s, %+v; it had base %s, last %s, %+v", r, o.Base.ID, o.Last, o.State, was.base, last, was.state)
	}
	d, _ := n.store.DamageOf(r)
	if d.Promises {
		n.t.Fatal(d.Err())
	}
	var lost []raft.Entry
	for _, e := range was.entries {
		if slot := func(s Span) bool { return s.First <= e.ID.Index && e.ID.Index <= s.Last && s.Term == e.ID.Term }; containsFunc(d.Lost, slot) {
			lost = append(lost, e)
			continue
		}
		got, err := n.store.Read(r, e.ID.Index, e.ID.Index, 1<<30)
		if err != nil || string(got[0].Raw) != string(e.Raw) {
			n.t.Fatalf("%s: entry %s: %v", r, e.ID, err)
		}
	}
	return lost
}

func containsFunc(spans []Span, f func(Span) bool) bool {
	for _, s := range spans {
		if f(s) {
			return true
		}
	}
	return false
}

// A node stopped cleanly, and then the end of its log is gone: zeros there look
// like a batch that was never finished. All that was acknowledged is there or is
// known to be lost, to the entry, wherever the log continues, as often as it is
// opened; terms and votes are there; and it is mended when it is given back.
func TestEndMissingAfterCleanStop(t *testing.T) {
	for _, hurt := range hurtEnds {
		for _, segments := range []uint64{1, 4} {
			if segments == 1 && strings.Contains(hurt.name, "before") {
				continue
			}
			t.Run(fmt.Sprintf("%s of %d", hurt.name, segments), func(t *testing.T) {
				n := newLifeNode(t).start()
				n.write(one, 50)
				n.write(two, 50)
				must(t, n.store.Append([]Write{{Note: &Note{Node: 3, Life: Life{1, 2}, Batch: 9}}}))
				n.fill(one, segments)
				for i := range 12 {
					n.write(one, 3000)
					n.write(two, 100)
					if i == 9 {
						must(t, n.store.Append([]Write{{Replica: two, State: raft.HardState{Term: 7, Vote: 3}, HasState: true}}))
					}
				}
				was := map[Replica]held{one: n.held(one), two: n.held(two)}
				notes := fmt.Sprint(n.store.Notes())
				must(t, n.store.Close())
				active, batches := n.store.index.active, n.store.SyncedBatch()
				hurt.do(n, active.number, active.end)
				n.disk.Crash(vfs.DropUnsynced, 0)
				lost := 0
				for round := range 3 { // as a supervisor does, that starts it again and again
					n.start()
					for r, h := range was {
						lost += len(n.lacks(r, h))
					}
					if d := n.store.Damaged(); len(d) == 0 && lost > 0 || !n.id.Doubt.None() {
						t.Fatalf("%v, doubt %q", d, n.id.Doubt.Why)
					}
					if got := fmt.Sprint(n.store.Notes()); got != notes {
						t.Fatalf("notes %s, want %s", got, notes)
					}
					if round == 1 {
						n.disk.Crash(vfs.DropUnsynced, 0)
					} else {
						n.kill()
					}
				}
				if !strings.HasPrefix(hurt.name, "1 page") && lost == 0 {
					t.Error("nothing was lost: it shows nothing")
				}
				n.start()
				if got := n.store.SyncedBatch(); got <= batches {
					t.Errorf("batch %d after %d", got, batches)
				}
				for r, h := range was {
					if give := n.lacks(r, h); len(give) > 0 {
						must(t, n.store.Append([]Write{{Replica: r, Mended: give}}))
					}
				}
				n.write(one, 50)
				n.kill()
				n.start()
				for _, d := range n.store.Damaged() {
					t.Error(d.Err())
				}
			})
		}
	}
}

// What stops and says so names the place.
func TestMissingEndIsNamed(t *testing.T) {
	n := newLifeNode(t).start()
	for range 5 {
		n.write(one, 3000)
	}
	must(t, n.store.Close())
	end := n.store.index.active.end
	n.zeroPages(1, end, 3)
	want := "d/log/0000000000000001.log is damaged at offset"
	r, err := Verify(n.disk, "d")
	must(t, err)
	if len(r.Damages) != 1 || len(r.Damaged) != 1 || !strings.Contains(r.Damages[0].Error(), want) || !strings.Contains(r.Damages[0].Error(), "the node stopped after batch") {
		t.Errorf("verify: %+v", r)
	}
	walked := 0
	must(t, Walk(n.disk, "d", func(w *Walked) error {
		if w.Kind == WalkedDamage && strings.Contains(w.Damage.Error(), want) && strings.Contains(w.Damage.Error(), "the node stopped after batch") {
			walked++
		}
		return nil
	}))
	if walked != 1 {
		t.Errorf("walk: named %d times", walked)
	}
}

// Without a clean stop nobody knows how all of the log stood, but how far it was
// when the node last started: if less is left, it can't be known what was lost.
// What was written since may be torn: nothing is made of that.
func TestEndMissingAfterKill(t *testing.T) {
	for _, zeroed := range []int64{0, 1, 4, 8} {
		n := newLifeNode(t).start()
		for range 5 {
			n.write(one, 3000)
		}
		n.kill()
		n.start()
		began := n.store.index.active.end
		for range 5 {
			n.write(one, 3000)
		}
		end := n.store.index.active.end
		n.kill()
		n.zeroPages(1, end, zeroed)
		n.start()
		d, hurt := n.store.DamageOf(one)
		if want := end-zeroed*pageSize < began-pageSize; d.Promises != want || hurt != want {
			t.Errorf("%d pages zeroed: %+v, want %t", zeroed, d, want)
		}
	}
}
