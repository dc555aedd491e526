package repl

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"

	"muster/logstore"
	"muster/logstore/vfs"
	"muster/raft"
	"muster/repl/wire"
)

// findsWrong spoils a node's state of group 1 and lets a walk find that.
func findsWrong(n *testNode) {
	part := spoil(n, flipped)
	n.host.groups[1].audit.walkFound([]WalkFault{{part, "its sum is another one"}})
}

// differs has a comparison find that a node's state of group 1 is wrong, which it is, and cuts
// the node off before it gets another one.
func (c *auditedCluster) differs(n *testNode) {
	c.t.Helper()
	spoil(n, rewritten)
	c.audited.Every = auditPolicy.Every
	c.until("it is fenced", func() bool { return fenceOf(n) != nil })
	c.isolate(n)
	c.until("it is noted", func() bool { return fenceOf(n).stage > fenceNoting })
}

// A fence holds even if the disk has no room for its note. The note is tried again until there
// is room.
func TestFenceWithoutRoom(t *testing.T) {
	for seed := range uint64(6) {
		c := newAuditedOf(t, seed, 3, whenAsked)
		c.readyToAudit(20)
		n := c.nodes[seed%3]
		refused, full := 0, true
		n.disk.Fail(func(op string) error {
			if full && strings.Contains(op, "/fences/") && (strings.HasPrefix(op, "write ") || strings.HasPrefix(op, "create ")) {
				refused++
				return fmt.Errorf("%s: %w", op, vfs.ErrFull)
			}
			return nil
		})
		findsWrong(n)
		n.turn()
		c.until("it is tried again", func() bool { return refused > 4 })
		if len(n.store.Fences()) > 0 || fenceOf(n) == nil || fenceOf(n).stage != fenceNoting {
			t.Fatalf("seed %d: fences %+v, in force %+v", seed, n.store.Fences(), fenceOf(n))
		}
		if got := readsLocally(n); got != "damaged" {
			t.Errorf("seed %d: a read is answered %q", seed, got)
		}
		full = false
		c.until("all are alike", c.alike)
		if all := n.store.Fences(); len(all) != 1 || !all[0].Rebuilt {
			t.Errorf("seed %d: the notes are %+v", seed, all)
		}
	}
}

// readsLocally returns the answer to a local read of group 1.
func readsLocally(n *testNode) string {
	var s said
	n.host.Read(Read{Group: 1, Local: true, Reply: Reply{To: &s, Request: 1}, Query: anything{}})
	n.turn()
	return s.to(1)
}

// If the note of a fence rots between two starts of its node, the replica stays fenced and gets
// its state from another one.
func TestUnreadableFence(t *testing.T) {
	for seed := range uint64(6) {
		c := newAuditedOf(t, seed, 3, whenAsked)
		c.readyToAudit(20)
		n := c.nodes[seed%3]
		c.differs(n)
		n.crash()
		names, err := n.disk.List(path.Join("data", logstore.FenceDir))
		if err != nil || len(names) != 1 {
			t.Fatalf("seed %d: the notes are %v, %v", seed, names, err)
		}
		file := path.Join("data", logstore.FenceDir, names[0])
		n.disk.Corrupt(file, int64(c.rnd.IntN(len(n.disk.Bytes(file)))), 1<<c.rnd.IntN(8))
		n.start()
		if k := fenceOf(n); k == nil || k.note.Found != logstore.FenceByComparison || k.note.At != (raft.LogID{}) {
			t.Fatalf("seed %d: it is %+v", seed, k)
		}
		if got := readsLocally(n); got != "damaged" {
			t.Errorf("seed %d: a read is answered %q", seed, got)
		}
		clear(c.cut)
		c.until("all are alike", c.alike)
		c.write(1, 2)
		c.until("all are alike after a write", c.alike)
	}
}

// fenceForgotten crashes a node whose replica is fenced, and returns what is wrong after that.
func fenceForgotten(t *testing.T) (wrong string) {
	c := newAuditedOf(t, 4, 3, whenAsked)
	c.readyToAudit(20)
	n := c.nodes[0]
	c.differs(n)
	n.crash()
	n.start()
	if fenceOf(n) == nil {
		return "a replica that was fenced serves after a crash"
	}
	if got := readsLocally(n); got != "damaged" {
		return fmt.Sprintf("a read is answered %q after a crash", got)
	}
	clear(c.cut)
	c.until("all are alike", c.alike)
	return ""
}

// A fence outlives a crash once its note is written.
func TestFenceOutlivesACrash(t *testing.T) {
	if wrong := fenceForgotten(t); wrong != "" {
		t.Error(wrong)
	}
}

// fencedAnswers fences a leader with all kinds of requests under way, and returns what one of
// them is answered, if that is not what it should be.
func fencedAnswers(t *testing.T, seed uint64) (wrong string) {
	c := newAuditedOf(t, seed, 3, whenAsked)
	c.readyToAudit(20)
	n := c.leader(1)
	g := n.host.groups[1]
	m := stateOf(n)
	var s said
	ask := func(from uint64) {
		n.host.Propose(proposal(1, &s, from))
		n.host.Read(Read{Group: 1, Reply: Reply{To: &s, Request: from + 1}, Query: anything{}})
		n.host.Read(Read{Group: 1, Local: true, After: g.applied.Index + 1, Reply: Reply{To: &s, Request: from + 2}, Query: anything{}})
		n.turn()
	}
	ask(1001)
	gone := m.gone
	findsWrong(n)
	n.turn()
	ask(2001)
	n.host.Read(Read{Group: 1, Local: true, Reply: Reply{To: &s, Request: 3001}, Query: anything{}})
	n.host.Read(Read{Group: 1, AnyReplica: true, Reply: Reply{To: &s, Request: 3002}, Query: anything{}})
	n.turn()
	for request, want := range map[uint64]string{
		1001: "maybe-applied", 1002: "not-leader", 1003: "not-leader",
		2001: "not-leader", 2002: "not-leader", 2003: "damaged", 3001: "damaged", 3002: "not-leader",
	} {
		if got := s.to(request); got != want {
			return fmt.Sprintf("seed %d: request %d is answered %q, want %q", seed, request, got, want)
		}
	}
	if m.gone != gone+1 {
		return fmt.Sprintf("seed %d: those who watch are told %d times that nothing comes any more", seed, m.gone-gone)
	}
	if g.reads.count != 0 || len(g.commands.waiting.all()) != 0 || len(g.commands.queue) != 0 {
		return fmt.Sprintf("seed %d: %d reads, %d waiters and %d commands are left", seed, g.reads.count, len(g.commands.waiting.all()), len(g.commands.queue))
	}
	term := g.state.Term
	c.until("another one leads, or it is right again", func() bool { return g.fence == nil || c.leader(1) != nil && c.leader(1) != n })
	c.until("all are alike", c.alike)
	if g.state.Term > term+2 {
		return fmt.Sprintf("seed %d: it takes %d elections", seed, g.state.Term-term)
	}
	return ""
}

// A fenced leader answers every request that waits, and none from its state. The next leader may
// still apply what is in the log.
func TestFencedLeader(t *testing.T) {
	for seed := range uint64(8) {
		if wrong := fencedAnswers(t, seed); wrong != "" {
			t.Error(wrong)
		}
	}
}

// A leader that is mended before another one is elected continues to lead: keys still end when
// due, and what its state wants is proposed.
func TestLiftedWhileItLeads(t *testing.T) {
	for _, wants := range []bool{false, true} {
		c := newAuditedOf(t, 2, 1, whenAsked)
		c.readyToAudit(20)
		n := c.nodes[0]
		g := n.host.groups[1]
		term := g.state.Term
		findsWrong(n)
		n.turn()
		if g.clock.machine != nil {
			t.Error("its clock goes by a state that is wrong")
		}
		if c.due = 1 << 60; wants {
			c.wanted = 1 << 50
		}
		for range 8 { // each a step of the fence, and no election timeout
			n.host.Tick()
			n.turn()
			n.doWork()
			n.sync()
		}
		if g.fence != nil || g.role != raft.RoleLeader || g.state.Term != term {
			t.Fatalf("the test shows nothing: %s in term %d, before it was %d, fenced %+v", g.role, g.state.Term, term, g.fence)
		}
		if !g.clock.waits || g.clock.next != c.due {
			t.Errorf("its clock waits %t for %d, want %d", g.clock.waits, g.clock.next, c.due)
		}
		c.until("what it wants is there", func() bool { return !wants || slices.Contains(stateOf(n).history, c.wanted) })
		if g.state.Term != term {
			t.Errorf("the term is %d, it was %d", g.state.Term, term)
		}
	}
}

// A fenced replica that lacks what the others have compacted gets the leader's snapshot like any
// other replica. That ends its fence, even if the process crashes once the snapshot has arrived.
func TestFencedReplicaLags(t *testing.T) {
	for _, crashes := range []string{"never", "before the log begins there", "after that"} {
		for seed := range uint64(8) {
			c := newAuditedOf(t, seed, 3, whenAsked)
			c.readyToAudit(20)
			n := c.nodes[seed%3]
			c.differs(n)
			applied := n.host.groups[1].applied.Index
			if seed%2 == 0 { // who starts anew knows of no source
				n.kill()
			}
			c.until("another one leads", func() bool {
				lead := c.leadsNow(1)
				return lead != nil && lead != n
			})
			for range 10 {
				c.wrote++
				c.until("a write is acknowledged", func() bool {
					if lead := c.leadsNow(1); lead != nil && lead != n && !lead.asked(1, c.wrote) {
						c.propose(lead, 1, c.wrote)
					}
					return c.acked[c.wrote]
				})
			}
			for _, o := range c.nodes {
				if o != n {
					c.snapshot(o)
				}
			}
			clear(c.cut)
			c.back()
			if crashes != "never" {
				c.until("all of a newer state is there", func() bool {
					all := n.store.Snapshots(n.host.groups[1].replica)
					return len(all) > 0 && all[len(all)-1].Base.ID.Index > applied
				})
				if crashes == "after that" {
					n.kill() // its log has it
				} else {
					n.crash()
				}
				n.start()
				if fenceOf(n) == nil {
					t.Errorf("seed %d, %s: it is not fenced after a restart", seed, crashes)
				}
			}
			c.until("all are alike", c.alike)
			n.crash()
			n.start()
			c.until("all are alike after a restart", c.alike)
			if !n.store.Fences()[0].Rebuilt {
				t.Errorf("seed %d: the notes are %+v", seed, n.store.Fences())
			}
		}
	}
}

// countedCopy counts how often it is released.
type countedCopy struct {
	StateCopy
	released int
}

func (c *countedCopy) Release() { c.released++; c.StateCopy.Release() }

// A replica that stops or is removed while it is being fenced leaves nothing behind: its copy is
// released once nobody writes it, and the host may rest.
func TestFencedReplicaGoes(t *testing.T) {
	for _, test := range []struct {
		name   string
		leaves func(n *testNode)
	}{
		{"it goes", func(n *testNode) { n.host.Retire(n.host.groups[1].replica) }},
		{"it stops", func(n *testNode) { n.host.groups[1].stop(fmt.Errorf("its log differs")) }},
		{"it stops, and goes", func(n *testNode) {
			n.host.groups[1].stop(fmt.Errorf("its log differs"))
			n.host.Retire(n.host.groups[1].replica)
		}},
	} {
		for _, when := range []string{"before it is noted", "while it is noted", "after that"} {
			t.Run(test.name+" "+when, func(t *testing.T) {
				c := newAuditedOf(t, 3, 3, whenAsked)
				c.readyToAudit(20)
				n := c.nodes[0]
				c.isolate(n)
				c.until("no work is under way", func() bool { n.doWork(); return !n.host.chores.working && n.batch == nil })
				findsWrong(n)
				k := fenceOf(n)
				k.own, k.ownAt = false, 0 // it waits for the others
				copied := &countedCopy{StateCopy: k.aside}
				k.aside = copied
				if when != "before it is noted" {
					n.host.Tick()
					n.turn()
					if !k.working || n.work == nil || k.stage != fenceNoting {
						t.Fatalf("its work is not under way: %+v", k)
					}
				}
				if when == "after that" {
					n.doWork()
				}
				test.leaves(n)
				n.turn()
				if when == "while it is noted" {
					if copied.released > 0 {
						t.Error("it is given up while it is written")
					}
					n.doWork()
				}
				n.turn()
				c.until("all is done", func() bool { n.sync(); n.doWork(); return n.batch == nil && n.work == nil })
				if copied.released == 0 || n.host.Audits.fences != 0 {
					t.Errorf("released %d times, %d fences", copied.released, n.host.Audits.fences)
				}
			})
		}
	}
}

// takesFromAnybody offers a fenced replica the state of one that it did not ask, and returns
// what is wrong if it accepts.
func takesFromAnybody(t *testing.T) (wrong string) {
	c := newAuditedOf(t, 3, 3, whenAsked)
	c.readyToAudit(20)
	n, right, other := c.nodes[0], c.nodes[1], c.nodes[2]
	c.isolate(n)
	findsWrong(n)
	k := fenceOf(n)
	k.own, k.ownAt, k.sources = false, 0, []raft.NodeID{right.id}
	c.until("it asks who agreed", func() bool { return k.asked == right.id })
	offer := func(from *testNode, index uint64) string {
		_, why := n.host.WantsSnapshot(from.id, &wire.Chunk{
			Group: 1, Incarnation: 1, From: raft.ReplicaID(from.id), To: 1, Base: raft.LogID{Term: n.host.groups[1].state.Term, Index: index}, Size: 100,
		})
		return why
	}
	if why := offer(right, k.need); why != "" {
		return "what it asked for is refused: " + why
	}
	if why := offer(right, k.need-1); why == "" {
		return "it wants a state of before it was found to be wrong"
	}
	if why := offer(other, k.need); why == "" {
		return "it wants the state of a replica that it did not ask"
	}
	return ""
}

// A fenced replica takes the state only of a replica that agreed with the others.
func TestFencedReplicaTakesWhatItAskedFor(t *testing.T) {
	if wrong := takesFromAnybody(t); wrong != "" {
		t.Error(wrong)
	}
}

// rebuiltWrongly mends a replica while nobody compares, and returns what is wrong with what it
// holds then.
func rebuiltWrongly(t *testing.T) (wrong string) {
	c := newAuditedOf(t, 5, 3, whenAsked)
	c.readyToAudit(40)
	n := c.nodes[c.leader(1).id%3]
	values := slices.Clone(stateOf(n).history)
	findsWrong(n)
	c.until("it is right again", func() bool { return fenceOf(n) == nil })
	if h := stateOf(n).history; !slices.Equal(h, values) {
		return fmt.Sprintf("it holds %v, before it was %v", h, values)
	}
	return ""
}

// A rebuilt state holds all that the log says.
func TestRebuiltIsWhatItWas(t *testing.T) {
	if wrong := rebuiltWrongly(t); wrong != "" {
		t.Error(wrong)
	}
}

// fencesTheRight compares replicas of which none is wrong, while states are written down and
// nodes restart, and returns which one is fenced.
func fencesTheRight(t *testing.T, seed uint64) (wrong string) {
	c := newAudited(t, seed)
	for round := range 6 {
		for range 3000 {
			if lead := c.leader(1); lead != nil && c.rnd.IntN(100) == 0 {
				c.wrote++
				c.propose(lead, 1, c.wrote)
			}
			c.step()
			if all := c.fenced(); len(all) > 0 {
				return fmt.Sprintf("%v is fenced, and nothing is wrong", all)
			}
		}
		if n := c.nodes[c.rnd.IntN(3)]; round%2 == 1 {
			n.crash()
			n.start()
		}
	}
	if c.counts().Rounds == 0 {
		t.Errorf("seed %d: nothing was compared; the test shows nothing", seed)
	}
	return ""
}

// No replica is fenced while none is wrong.
func TestNobodyIsFencedWithoutCause(t *testing.T) {
	for seed := range uint64(20) {
		if wrong := fencesTheRight(t, seed); wrong != "" {
			t.Errorf("seed %d: %s", seed, wrong)
		}
	}
}
