package repl

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"muster/logstore"
	"muster/logstore/vfs"
	"muster/raft"
	"muster/repl/wire"
)

// written is a cluster in which each group has some entries, on all nodes.
func written(t *testing.T, seed uint64, entries int) *cluster {
	c := newCluster(t, seed, 3)
	c.fillGroups(entries)
	return c
}

// fillGroups has some entries acknowledged in each group, by all nodes.
func (c *cluster) fillGroups(entries int) {
	next := uint64(0)
	for g := range raft.GroupID(testGroups) {
		c.until("a leader", func() bool { return c.leader(g) != nil })
		for range entries {
			next++
			v := next
			c.until("a write is acknowledged", func() bool {
				if c.acked[v] {
					return true
				}
				if n := c.leader(g); n != nil && !n.asked(g, v) {
					c.propose(n, g, v)
				}
				return false
			})
			// Each entry is to have a record of its own, on each node.
			c.until("all have it", func() bool {
				for _, n := range c.nodes {
					if !slices.Contains(n.history[g], v) {
						return false
					}
				}
				return true
			})
		}
	}
	c.until("all have all", c.settled)
}

// asked reports whether a command waits, or is in the log, on a node.
func (n *testNode) asked(g raft.GroupID, v uint64) bool {
	o := n.host.groups[g]
	return slices.ContainsFunc(o.commands.waiting.all(), func(w waiter) bool { return w.reply.Request == v }) ||
		slices.ContainsFunc(o.commands.queue, func(p Proposal) bool { return p.Reply.Request == v }) ||
		slices.Contains(n.history[g], v)
}

// place is where an entry stands on a disk.
type place struct {
	file   string
	offset int64
}

// where returns the newest place of an entry of a group on a node's disk: the
// first byte of its payload, or of its header if it has none.
func (n *testNode) where(g raft.GroupID, index uint64) place {
	n.c.t.Helper()
	var at place
	err := logstore.Walk(n.disk, "data", func(w *logstore.Walked) error {
		if w.Replica.Group != g || len(w.Entries) == 0 || index < w.First || index > w.Last {
			return nil
		}
		offset := w.Offset + w.Bytes
		for i := len(w.Entries) - 1; i >= 0; i-- {
			offset -= int64(len(w.Entries[i].Raw))
			if w.Entries[i].ID.Index == index {
				at = place{w.File, offset + min(raft.EntryHeaderSize, int64(len(w.Entries[i].Raw))-1)}
			}
		}
		return nil
	})
	if err != nil || at.file == "" {
		n.c.t.Fatalf("node %d: entry %d of group %d is not found: %v", n.id, index, g, err)
	}
	return at
}

// flip turns over a bit of an entry on a node's disk, or turns it back.
func (n *testNode) flip(p place) {
	n.c.t.Helper()
	if changed, err := n.disk.Damage(p.file, p.offset, vfs.BitFlip); err != nil || !changed {
		n.c.t.Fatalf("node %d: flip: %v, changed %t", n.id, err, changed)
	}
}

// rot damages an entry on a node's disk.
func (n *testNode) rot(g raft.GroupID, index uint64) place {
	n.c.t.Helper()
	p := n.where(g, index)
	n.flip(p)
	return p
}

// mending returns what is damaged of a group on a node, or nil.
func (n *testNode) mending(g raft.GroupID) *Mending {
	for _, v := range n.host.View() {
		if v.Replica.Group == g {
			return v.Mending
		}
	}
	return nil
}

// isHurt fails if a group is not damaged on a node.
func (n *testNode) isHurt(g raft.GroupID) {
	n.c.t.Helper()
	m := n.mending(g)
	if m == nil || len(m.Damage.Lost) == 0 || m.Damage.Promises {
		n.c.t.Fatalf("node %d: group %d is not damaged so that it can be mended: %+v", n.id, g, m)
	}
	if n.host.groups[g] != nil {
		n.c.t.Fatalf("node %d: the damaged replica of group %d has a core", n.id, g)
	}
}

// whole runs the cluster until all nodes are up, mended, and have the same; then
// holds it against what was acknowledged.
func (c *cluster) whole() {
	c.t.Helper()
	clear(c.cut)
	c.loss, c.twice = 0, 0
	for _, n := range c.nodes {
		if n.host == nil {
			n.start()
		}
	}
	c.until("all replicas are mended and have the same", func() bool {
		whole := true
		for _, n := range c.nodes {
			for _, m := range n.host.mending.list {
				whole = false
				if c.helped && m.view().Barren {
					c.t.Fatalf("node %d says that there is no copy for group %d, and there is", n.id, m.replica.Group)
				}
			}
		}
		return whole && c.settled()
	})
	c.check()
	for v := range c.acked {
		found := false
		for g := range raft.GroupID(testGroups) {
			found = found || slices.Contains(c.nodes[0].history[g], v)
		}
		if !found {
			c.t.Fatalf("%d was acknowledged and is lost", v)
		}
	}
	for _, n := range c.nodes {
		if d := n.store.Damaged(); len(d) > 0 {
			c.t.Fatalf("node %d: after it was mended its log says %v", n.id, d[0].Err())
		}
	}
}

// again stops and starts a node: what was mended must be so on disk.
func (c *cluster) again(n *testNode) {
	n.stop()
	n.start()
	if len(n.host.mending.list) > 0 {
		c.t.Fatalf("node %d: mended, and started again, it is damaged: %s", n.id, n.host.mending.list[0].view().What())
	}
}

// One of three lost an entry, wherever in its log. It is out of its group until
// it has it back, its other groups are not, and nothing is missing afterwards.
func TestMendOneOfThree(t *testing.T) {
	const entries = 8
	for index := uint64(1); index <= entries+1; index++ { // the first is the leader's no-op
		for g := range raft.GroupID(testGroups) {
			t.Run(fmt.Sprintf("group %d entry %d", g, index), func(t *testing.T) {
				c := written(t, index, entries)
				n := c.nodes[c.rnd.IntN(3)]
				n.stop()
				n.rot(g, index)
				n.start()
				n.isHurt(g)
				for o := range raft.GroupID(testGroups) {
					// Without group 0 the others' slots are not known.
					if o != g && g != 0 && n.host.groups[o] == nil {
						t.Errorf("group %d does not run because of group %d", o, g)
					}
				}
				c.twice = 50
				c.whole()
				c.again(n)
			})
		}
	}
}

// What is damaged is refused with the typed error, and told where it is asked
// for; messages for it are dropped.
func TestDamagedReplicaRefuses(t *testing.T) {
	c := written(t, 5, 4)
	n := c.nodes[0]
	n.stop()
	at := n.rot(1, 3)
	n.start()
	var s said
	n.host.Propose(proposal(1, &s, 1))
	n.host.Read(Read{Group: 1, Local: true, Reply: Reply{To: &s, Request: 2}, Query: anything{}})
	for request := uint64(1); request <= 2; request++ {
		if got := s.to(request); got != "damaged" {
			t.Errorf("request %d is answered %q, want damaged", request, got)
		}
	}
	what := n.mending(1).What()
	for _, part := range []string{at.file, "offset", "entry 3 of term"} {
		if !strings.Contains(what, part) {
			t.Errorf("%q does not tell %q", what, part)
		}
	}
	e := wire.Envelope{Group: 1, Incarnation: 1, Message: raft.Message{Type: raft.MsgVote, From: 2, To: 1, Term: 99, Log: raft.LogID{Term: 98, Index: 999}}}
	n.told(2, &e)
	n.turn()
	if n.host.refused.counts[refusedDamaged] != 1 {
		t.Error("a message for a damaged replica is not refused as that")
	}
	c.whole()
}

// An entry that was never committed is lost, and the others have gone on without
// it: what they committed takes its place, from where the two logs part, which
// may be before what is lost.
func TestMendReplacedTail(t *testing.T) {
	for i := range uint64(6) {
		lost, restart := i%3, i >= 3
		t.Run(fmt.Sprintf("the uncommitted entry %d, all start again %t", lost+1, restart), func(t *testing.T) {
			c := written(t, lost, 3)
			c.helped = true
			n := c.leader(1)
			g := n.replica()
			last := g.applied.Index
			for _, o := range c.nodes {
				if o != n {
					c.cut[[2]raft.NodeID{n.id, o.id}] = true
				}
			}
			for v := uint64(1001); v <= 1003; v++ {
				c.propose(n, 1, v)
				for n.batch != nil {
					n.sync()
				}
			}
			if got := g.core.Status().Durable; got != last+3 {
				t.Fatalf("the leader has %d entries, want %d", got, last+3)
			}
			n.stop()
			n.rot(1, last+1+lost)
			c.until("another leads", func() bool { o := c.leader(1); return o != nil && o != n })
			for v := uint64(2001); v <= 2004; v++ {
				c.until("a write without it", func() bool {
					if o := c.leader(1); o != nil && !c.acked[v] && !o.asked(1, v) {
						c.propose(o, 1, v)
					}
					return c.acked[v]
				})
			}
			if restart { // what is committed is known again once another leads
				for _, o := range c.nodes {
					if o != n {
						o.stop()
						o.start()
					}
				}
			}
			n.start()
			n.isHurt(1)
			c.whole()
			c.again(n)
			for v := uint64(1001); v <= 1003; v++ {
				if slices.Contains(n.history[1], v) {
					t.Errorf("%d, which no majority had, came back", v)
				}
			}
		})
	}
}

// Two of three are damaged in different places and the third is dead: each has
// what the other lost, and two are a majority.
func TestMendEachOther(t *testing.T) {
	c := written(t, 7, 8)
	for i, n := range c.nodes {
		n.stop()
		if i < 2 {
			n.rot(1, uint64(3+2*i))
		}
	}
	for _, n := range c.nodes[:2] {
		n.start()
		n.isHurt(1)
	}
	c.until("two have mended each other and go on", func() bool { return c.leader(1) != nil && c.leader(0) != nil })
	c.propose(c.leader(1), 1, 5000)
	c.until("a write without the third", func() bool { return c.acked[5000] })
	c.whole()
}

// Two of three lost the same entry and the third, which has it, is dead: nobody
// may go on without it. It may be committed.
func TestMendWaitsForTheCopy(t *testing.T) {
	c := written(t, 8, 6)
	for i, n := range c.nodes {
		n.stop()
		if i < 2 {
			n.rot(1, 4)
		}
	}
	c.nodes[0].start()
	c.nodes[1].start()
	for range 60_000 {
		c.step()
	}
	if c.leader(1) != nil {
		t.Fatal("two that lost an entry lead without it")
	}
	for _, n := range c.nodes[:2] {
		n.isHurt(1)
		if n.mending(1).Barren {
			t.Errorf("node %d: status says that all have answered, and node 3 is dead", n.id)
		}
		if c.leader(2) == nil {
			t.Error("group 2, which is whole, has no leader")
		}
	}
	c.whole()
}

// All three are damaged, each in another place, some in several: what each still
// has mends the others.
func TestMendAllFromAll(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			c := written(t, 100+seed, 9)
			for _, n := range c.nodes {
				n.stop()
			}
			// All are found before one is hit: two may stand in one record.
			hits := map[*testNode][]place{}
			for index := uint64(1); index <= 10; index++ {
				for g := range raft.GroupID(testGroups) {
					if i := c.rnd.IntN(4); i < 3 {
						n := c.nodes[i]
						hits[n] = append(hits[n], n.where(g, index))
					}
				}
			}
			for n, places := range hits {
				for _, p := range places {
					n.flip(p)
				}
			}
			for _, n := range c.nodes {
				n.start()
			}
			c.twice, c.loss = 30, 20
			for range 3000 {
				c.step()
			}
			c.whole()
			for _, n := range c.nodes {
				c.again(n)
			}
		})
	}
}

// All three lost the same entry. The group stops, safely, and says where; the
// other groups go on. When a copy turns up, as an old image of one disk, the
// group is mended from it.
func TestNoCopyLeft(t *testing.T) {
	c := written(t, 9, 6)
	var places []place
	for _, n := range c.nodes {
		n.stop()
		places = append(places, n.rot(1, 4))
		n.start()
	}
	c.until("the others of status know that nobody has it", func() bool {
		for _, n := range c.nodes {
			if m := n.mending(1); m == nil || !m.Barren {
				return false
			}
		}
		return c.leader(2) != nil && c.leader(0) != nil
	})
	for range 4000 { // the log soon uses the damaged place again
		c.step()
	}
	if c.leader(1) != nil {
		t.Fatal("a group leads that has lost an entry on all disks")
	}
	for i, n := range c.nodes {
		what := n.mending(1).What()
		if !strings.Contains(what, places[i].file) || !strings.Contains(what, "entry 4 of term") {
			t.Errorf("node %d: %q does not tell file and entry", n.id, what)
		}
	}
	c.propose(c.leader(2), 2, 6000)
	c.until("another group goes on", func() bool { return c.acked[6000] })
	n := c.nodes[2]
	n.stop()
	n.flip(places[2])
	n.start()
	if m := n.mending(1); m != nil {
		t.Fatalf("the copy is there again, and: %s", m.What())
	}
	c.whole()
}

// writes has some writes acknowledged by whoever leads.
func (c *cluster) writes(g raft.GroupID, from, to uint64) {
	c.t.Helper()
	for v := from; v <= to; v++ {
		c.until("a write", func() bool {
			if o := c.leader(g); o != nil && !c.acked[v] && !o.asked(g, v) {
				c.propose(o, g, v)
			}
			return c.acked[v]
		})
	}
}

// A leader's disk rots while it leads, in what a follower needs that was away.
// The read for the follower meets it; the entries come from memory or from the
// third, and the leader goes on leading.
func TestMendWhileLeading(t *testing.T) {
	for _, memory := range []bool{true, false} {
		t.Run(fmt.Sprintf("in memory %t", memory), func(t *testing.T) {
			c := written(t, 11, 3)
			away := c.nodes[0]
			if away == c.leader(1) {
				away = c.nodes[1]
			}
			first := away.replica().applied.Index + 1
			away.stop()
			c.writes(1, 3001, 3006)
			for _, o := range c.nodes {
				if o != away && !memory { // who starts again has applied entries on disk only
					o.stop()
					o.start()
				}
			}
			c.until("a leader", func() bool { return c.leader(1) != nil })
			n := c.leader(1)
			c.until("it rests", func() bool { n.sync(); return n.batch == nil })
			if err := n.store.Idle(); err != nil {
				t.Fatal(err)
			}
			n.rot(1, first+2)
			term := n.replica().state.Term
			if memory {
				if _, err := n.store.Read(n.replica().replica, first+2, first+2, 1); !errors.Is(err, logstore.ErrDamaged) {
					t.Fatalf("read: %v", err)
				}
				n.rotten = true
				n.turn()
				if m := n.mending(1); m == nil || !m.Runs {
					t.Fatal("what a read found is not being mended")
				}
			}
			away.start()
			c.whole()
			if n.host.mending.counts.Healed != 1 || n.host.mending.counts.Mended == 0 {
				t.Errorf("nothing was mended: %+v", n.host.mending.counts)
			}
			if got := n.replica().state.Term; got != term || c.leader(1) != n {
				t.Errorf("it led in term %d; now it is term %d", term, got)
			}
			c.again(n)
		})
	}
}

// Power goes at every operation of the disk while a replica is mended. Whatever
// is on disk then, it is mended in the end, and nothing is lost.
func TestCrashWhileMending(t *testing.T) {
	for at := 1; ; at++ {
		c := written(t, 12, 5)
		n := c.nodes[0]
		n.stop()
		n.rot(1, 3)
		n.rot(2, 5)
		n.start()
		n.disk.StopAt(at)
		for range 50_000 {
			if n.host == nil || len(n.host.mending.list) == 0 {
				break
			}
			c.step()
		}
		if n.host != nil {
			n.disk.StopAt(0)
			c.whole()
			if at < 3 {
				t.Fatalf("mending took %d operations of the disk; the test shows nothing", at)
			}
			return
		}
		n.disk.Crash(vfs.CrashMode(c.rnd.IntN(2)), c.rnd.Uint64())
		n.batch = nil
		c.whole()
	}
}

// A disk may refuse one read while a replica is mended and opened, and answer the
// next. The replica must come back without a new start of its node. One would
// doubt it: what could not be opened was left as it was, and nothing was wrong
// with it any more.
func TestReadFailsWhileMending(t *testing.T) {
	for at := 1; ; at++ {
		c := written(t, 12, 5)
		n := c.nodes[0]
		n.stop()
		n.rot(1, 3)
		n.faulty = vfs.NewFaulty(n.disk)
		n.start()
		n.isHurt(1)
		refused := n.faulty.Add(vfs.Rule{Fault: vfs.Error, Op: "read", At: at, Times: 3}) // as often as is tried at once
		c.whole()
		if refused.Fired() == 0 {
			if at < 4 {
				t.Fatalf("mending took %d reads; the test shows nothing", at-1)
			}
			return
		}
	}
}

// Late and repeated answers, and answers to another process, do nothing: not
// even if they say what is not so.
func TestLateRepairAnswers(t *testing.T) {
	c := written(t, 13, 5)
	n := c.nodes[0]
	n.stop()
	n.rot(1, 3)
	n.start()
	n.isHurt(1)
	lie := func(start, number uint64) {
		n.host.ReceiveRepairAnswer(2, &wire.RepairAnswer{Start: start, Number: number, Group: 1, Incarnation: 1, Last: raft.LogID{Term: 99, Index: 99}, Commit: 99,
			Entries: []raft.Entry{{ID: raft.LogID{Term: 99, Index: 3}}}})
		n.turn()
		if n.batch != nil {
			t.Errorf("an answer to question %d of start %d is written", number, start)
		}
	}
	lie(1, 1)
	for range 3 {
		n.host.Tick()
		n.turn()
	}
	m := n.host.mending.of(1)
	if m.askedOf(2) == nil || m.askedOf(2).number == 0 {
		t.Fatal("nothing was asked")
	}
	start := n.host.start
	lie(start+1, m.askedOf(2).number) // of another life
	lie(start, m.askedOf(2).number-1) // of the question before
	lie(start, m.askedOf(3).number)   // of another node
	c.whole()
}

// An answer to the right question may still be a lie: of terms so far ahead that
// a replica that took them would never vote with the others again, of indexes
// and times that no log has, of more entries than it ends with. It is counted,
// nothing is written, and the replica is mended by others. Nobody guesses the
// number of a question that he did not get.
func TestImplausibleRepairAnswers(t *testing.T) {
	c := written(t, 14, 5)
	n := c.nodes[0]
	n.stop()
	n.rot(1, 3)
	n.start()
	n.isHurt(1)
	m := n.host.mending.of(1)
	far := raft.LogID{Term: 2 * raft.TermReach, Index: 3}
	numbers := map[uint64]bool{}
	for _, test := range []struct {
		name string
		a    wire.RepairAnswer
		want refusal
	}{
		{"term", wire.RepairAnswer{Last: far, Commit: 3, Entries: []raft.Entry{{ID: far}}}, refusedFar},
		{"last term", wire.RepairAnswer{Last: raft.LogID{Term: raft.TermLimit, Index: 3}}, refusedBad},
		{"commit", wire.RepairAnswer{Last: raft.LogID{Term: 1, Index: 5}, Commit: math.MaxUint64}, refusedBad},
		{"index", wire.RepairAnswer{Last: raft.LogID{Term: 1, Index: math.MaxUint64}, Commit: 3}, refusedBad},
		{"snapshot", wire.RepairAnswer{Last: raft.LogID{Term: 1, Index: 5}, Snapshot: math.MaxUint64}, refusedBad},
		{"entry after the last", wire.RepairAnswer{Last: raft.LogID{Term: 1, Index: 2}, Entries: []raft.Entry{{ID: raft.LogID{Term: 1, Index: 3}}}}, refusedBad},
		{"time", wire.RepairAnswer{Last: raft.LogID{Term: 1, Index: 3}, Entries: []raft.Entry{{ID: raft.LogID{Term: 1, Index: 3}, Time: raft.TimeLimit}}}, refusedBad},
	} {
		for m.askedOf(2) == nil || m.askedOf(2).number == 0 {
			n.host.Tick()
			n.turn()
		}
		a := test.a
		a.Start, a.Number, a.Group, a.Incarnation = n.host.start, m.askedOf(2).number, 1, 1
		if numbers[a.Number-1] || numbers[a.Number+1] || numbers[a.Number] {
			t.Errorf("question %d follows another", a.Number)
		}
		numbers[a.Number] = true
		before := n.host.refused.counts[test.want]
		n.host.ReceiveRepairAnswer(2, &a)
		n.turn()
		if n.batch != nil || n.host.refused.counts[test.want] != before+1 {
			t.Errorf("%s: written: %v, refused: %v", test.name, n.batch != nil, n.host.Refusals())
		}
	}
	c.whole()
}
