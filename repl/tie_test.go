package repl

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"muster/logstore"
	"muster/raft"
	"muster/repl/wire"
)

// tie is a group in which two replicas differ and there is no third to say which is right.
type tie struct {
	*auditedCluster
	wrong, right *testNode
	values       []uint64 // that all had before
}

// newTie spoils one of two replicas: the leader's, or the other.
func newTie(t *testing.T, seed uint64, voters int, leads bool) *tie {
	c := newAuditedOf(t, seed, voters, whenAsked)
	c.until("all groups are led", func() bool { return c.leader(0) != nil && c.leader(1) != nil && c.leader(2) != nil })
	c.readyToAudit(20)
	if voters == 3 { // one of them is away, and not the leader
		c.nodes[2].kill()
		c.until("another one leads", func() bool { return c.leader(1) != nil })
		c.write(1, 1)
	}
	w := &tie{auditedCluster: c}
	both := c.nodes[:2]
	c.until("both have applied the same", func() bool {
		at := both[0].host.groups[1].applied
		return c.leader(1) != nil && restsAt(both[0], at) && restsAt(both[1], at)
	})
	w.wrong, w.right = both[0], both[1]
	if (c.leader(1) == w.wrong) != leads {
		w.wrong, w.right = w.right, w.wrong
	}
	w.values = slices.Clone(stateOf(w.right).history)
	return w
}

// begins reports whether a node holds what all had before.
func (w *tie) begins(n *testNode) bool {
	h := stateOf(n).history
	return len(h) >= len(w.values) && slices.Equal(h[:len(w.values)], w.values)
}

// eachTie calls f for two voters, and for three of which one is away; where the leader is wrong,
// and where the other is.
func eachTie(t *testing.T, f func(*testing.T, *tie)) {
	for _, voters := range []int{2, 3} {
		for _, leads := range []bool{true, false} {
			for seed := range uint64(4) {
				t.Run(fmt.Sprintf("%d voters/leader wrong %t/%d", voters, leads, seed), func(t *testing.T) { f(t, newTie(t, seed, voters, leads)) })
			}
		}
	}
}

// Two replicas differ, and one of them is wrong in memory alone. The log tells which: the right
// one is never fenced, and the other gets its state.
func TestReplayDecidesATie(t *testing.T) {
	eachTie(t, func(t *testing.T, w *tie) {
		spoil(w.wrong, rewritten)
		w.audited.Every = auditPolicy.Every
		w.until("the wrong one is fenced", func() bool {
			if fenceOf(w.right) != nil {
				t.Fatalf("the right one is fenced: %+v", fenceOf(w.right).note)
			}
			return fenceOf(w.wrong) != nil
		})
		if f := fenceOf(w.wrong).note.Found; f != logstore.FenceByComparison {
			t.Errorf("found by %s", f)
		}
		w.back()
		w.until("all are right again", w.alike)
		w.write(1, 3)
		w.until("all are alike", w.alike)
		if !w.begins(w.wrong) || !w.begins(w.right) {
			t.Errorf("they hold %v and %v, before it was %v", stateOf(w.wrong).history, stateOf(w.right).history, w.values)
		}
		if ties := w.counts().Ties; ties == 0 {
			t.Error("there was no tie; the test shows nothing")
		}
	})
}

// The leader's request for a replay is lost, and then the answer. The leader asks again long
// before it gives up.
func TestReplayIsAskedForAgain(t *testing.T) {
	eachTie(t, func(t *testing.T, w *tie) {
		spoil(w.wrong, rewritten)
		w.audited.Every = auditPolicy.Every
		leader := w.leader(1)
		w.until("logs are to be replayed", func() bool {
			return leader.host.groups[1].audit.round != nil && leader.host.groups[1].audit.round.Replays()
		})
		other := w.wrong
		if leader == other {
			other = w.right
		}
		began := w.now
		w.net = slices.DeleteFunc(w.net, func(p packet) bool { _, ok := p.body.(*wire.AuditVerdict); return ok })
		lost := false
		w.until("the wrong one is fenced", func() bool {
			if r := &other.host.groups[1].audit.replay; !lost && r.report != nil {
				lost = true
				w.net = slices.DeleteFunc(w.net, func(p packet) bool { _, ok := p.body.(*wire.AuditReport); return ok })
			}
			return fenceOf(w.wrong) != nil
		})
		if took := w.now - began; took >= replayPatience {
			t.Errorf("it was fenced after %s", took)
		}
		w.back()
		w.until("all are right again", w.alike)
	})
}

// Both replicas are wrong in memory, each in its own way. The logs lead to a state that neither
// has, so both begin again with what is on their own disks.
func TestReplayFindsBothWrong(t *testing.T) {
	eachTie(t, func(t *testing.T, w *tie) {
		spoil(w.wrong, rewritten)
		spoil(w.right, rewritten)
		stateOf(w.right).history[0] ^= 1 << 40
		stateOf(w.right).sums = stateOf(w.right).sumsOf()
		w.audited.Every = auditPolicy.Every
		w.until("both are fenced", func() bool { return fenceOf(w.wrong) != nil && fenceOf(w.right) != nil })
		w.back()
		w.until("all are right again", w.alike)
		w.write(1, 3)
		w.until("all are alike", w.alike)
		if !w.begins(w.wrong) || !w.begins(w.right) {
			t.Errorf("they hold %v and %v, before it was %v", stateOf(w.wrong).history, stateOf(w.right).history, w.values)
		}
	})
}

// Two replicas differ, and the wrong state is on disk too. Nobody can tell which is right: both
// are fenced and nobody leads, even after restarts, until a person trusts one of them.
func TestUndecidedWaitsForAPerson(t *testing.T) {
	eachTie(t, func(t *testing.T, w *tie) {
		both := []*testNode{w.wrong, w.right}
		spoil(w.wrong, rewritten)
		w.snapshot(w.wrong)
		w.audited.Every = auditPolicy.Every
		w.until("both are fenced", func() bool { return fenceOf(w.wrong) != nil && fenceOf(w.right) != nil })
		w.until("both have noted it", func() bool { return len(w.wrong.store.Fences()) > 0 && len(w.right.store.Fences()) > 0 })
		undecided := func(when string) {
			t.Helper()
			w.until("nobody leads", func() bool { return w.leader(1) == nil })
			for range 100 {
				w.steps(200)
				if n := w.leader(1); n != nil {
					t.Fatalf("%s: node %d leads", when, n.id)
				}
			}
			for _, n := range both {
				if fenceOf(n) == nil || fenceOf(n).note.Found != logstore.FenceUndecided || fenceOf(n).stage != fenceSeeking {
					t.Fatalf("%s: node %d: %+v", when, n.id, fenceOf(n))
				}
			}
		}
		undecided("at first")
		for _, n := range both {
			n.crash()
			n.start()
			undecided("after a restart of one")
		}
		for _, n := range both {
			n.kill()
		}
		for _, n := range both {
			n.start()
		}
		undecided("after a restart of both")
		if err := w.right.host.Audits.Trust(2); err == nil {
			t.Error("a replica is trusted of which nobody doubts")
		}
		if err := w.right.host.Audits.Trust(1); err != nil {
			t.Fatal(err)
		}
		w.until("the one that is trusted leads", func() bool { return w.right.host.groups[1].role == raft.RoleLeader })
		w.back()
		w.until("the other has its state", w.alike)
		w.write(1, 3)
		w.until("all are alike", w.alike)
		for _, n := range both {
			if !w.begins(n) {
				t.Errorf("node %d holds %v, before it was %v", n.id, stateOf(n).history, w.values)
			}
			if err := n.host.Audits.Trust(1); err == nil {
				t.Errorf("node %d: a replica is trusted of which nobody doubts any more", n.id)
			}
			n.kill() // and the disk has it
			n.start()
		}
		w.until("all are alike after a restart", w.alike)
		for _, n := range both {
			if !w.begins(n) {
				t.Errorf("node %d: after a restart it holds %v, before it was %v", n.id, stateOf(n).history, w.values)
			}
		}
	})
}

// A group of one voter has no replica to compare with or to ask. It mends what a walk finds with
// its own snapshot and log.
func TestAloneIsMendedByItsOwn(t *testing.T) {
	for _, based := range []bool{false, true} {
		for _, audits := range []bool{false, true} {
			for _, restarts := range []bool{false, true} {
				t.Run(fmt.Sprintf("snapshot %t, audits %t, restart %t", based, audits, restarts), func(t *testing.T) {
					c := newAuditedOf(t, 5, 1, whenAsked)
					c.readyToAudit(20)
					n := c.nodes[0]
					if based {
						c.snapshot(n)
					}
					c.write(1, 5)
					c.until("nothing is under way", c.alike)
					if audits {
						c.audited.Every = auditPolicy.Every
					}
					values := slices.Clone(stateOf(n).history)
					part := spoil(n, flipped)
					c.audited.Walk = auditPolicy.Walk
					c.until("it is fenced", func() bool { return fenceOf(n) != nil })
					if f := fenceOf(n).note; f.Found != logstore.FenceByWalk || !slices.Equal(f.Parts, []uint32{part}) || f.What == "" {
						t.Errorf("it notes %+v, wrong is part %d", f, part)
					}
					if restarts {
						c.until("it is noted", func() bool { return len(n.store.Fences()) > 0 })
						n.crash()
						n.start()
						if fenceOf(n) == nil && !n.store.Fences()[0].Rebuilt {
							t.Error("it is not fenced after a restart")
						}
					}
					c.until("it is right again", c.alike)
					if h := stateOf(n).history; !slices.Equal(h, values) {
						t.Errorf("it holds %v, before it was %v", h, values)
					}
					c.write(1, 5)
					if all := n.store.Fences(); len(all) != 1 || !all[0].Rebuilt {
						t.Errorf("the notes are %+v", all)
					}
				})
			}
		}
	}
}

// Two of three differ, the wrong state is on its disk too, and the third comes back while one
// of the two still leads, and has all of the log: nobody has found anything wrong with it. It
// leads, and the two get its state.
func TestThirdEndsATie(t *testing.T) {
	for seed := range uint64(8) {
		w := newTie(t, seed, 3, seed%2 == 0)
		spoil(w.wrong, rewritten)
		w.snapshot(w.wrong)
		w.audited.Every = auditPolicy.Every
		w.until("one is fenced", func() bool { return fenceOf(w.wrong) != nil || fenceOf(w.right) != nil })
		w.back()
		w.until("there is a leader, or can't be one", func() bool {
			return w.leader(1) == w.nodes[2] || w.leader(1) == nil && fenceOf(w.wrong) != nil && fenceOf(w.right) != nil
		})
		if w.leader(1) == nil {
			if err := w.right.host.Audits.Trust(1); err != nil {
				t.Fatal(err)
			}
		}
		w.until("all are alike", w.alike)
		if !w.begins(w.wrong) || !w.begins(w.right) {
			t.Errorf("seed %d: they hold %v and %v, before it was %v", seed, stateOf(w.wrong).history, stateOf(w.right).history, w.values)
		}
	}
}

// The third comes back when the two wait for a person already, and lacks entries that only these
// have. One of them brings them, and nothing is wrong with the third: it leads, and the two get its
// state.
func TestThirdIsBroughtWhatItLacks(t *testing.T) {
	for seed := range uint64(8) {
		w := newTie(t, seed, 3, seed%2 == 0)
		spoil(w.wrong, rewritten)
		w.snapshot(w.wrong)
		w.audited.Every = auditPolicy.Every
		w.until("nobody leads", func() bool { return fenceOf(w.wrong) != nil && fenceOf(w.right) != nil && w.leader(1) == nil })
		third := w.nodes[2]
		third.start()
		w.until("it leads", func() bool {
			n := w.leader(1)
			if n != nil && n != third && fenceOf(n) == nil {
				t.Fatalf("seed %d: node %d leads first", seed, n.id)
			}
			return n == third
		})
		w.until("all are alike", w.alike)
		if !w.begins(w.wrong) || !w.begins(w.right) || !w.begins(third) {
			t.Errorf("seed %d: they hold %v, %v and %v, before it was %v", seed, stateOf(w.wrong).history, stateOf(w.right).history, stateOf(third).history, w.values)
		}
	}
}

// An undecided replica that is down while another one is trusted finds that out when it returns,
// though nobody writes and nothing is compared.
func TestTrustReachesWhoWasAway(t *testing.T) {
	for seed := range uint64(4) {
		w := newTie(t, seed, 3, seed%2 == 0)
		spoil(w.wrong, rewritten)
		w.snapshot(w.wrong)
		w.audited.Every = auditPolicy.Every
		w.until("nobody leads", func() bool { return fenceOf(w.wrong) != nil && fenceOf(w.right) != nil && w.leader(1) == nil })
		w.until("it is noted", func() bool { return len(w.wrong.store.Fences()) > 0 })
		w.wrong.kill()
		w.nodes[2].start()
		if err := w.right.host.Audits.Trust(1); err != nil {
			t.Fatal(err)
		}
		w.until("the one that is trusted leads", func() bool { return w.leader(1) == w.right && fenceOf(w.right) == nil })
		w.write(1, 1)
		a := &w.right.host.groups[1].audit
		w.until("all has been compared", func() bool { return !a.changed && !a.sick && a.round == nil && a.asked == 0 })
		w.wrong.start()
		w.until("all are alike", w.alike)
		if !w.begins(w.wrong) {
			t.Errorf("seed %d: it holds %v, before it was %v", seed, stateOf(w.wrong).history, w.values)
		}
	}
}

// A leader that applies an audit entry of an earlier leader compares again: the reports went to
// the other one.
func TestNewLeaderCompares(t *testing.T) {
	c := newAuditedOf(t, 3, 3, whenAsked)
	c.readyToAudit(10)
	c.audited.Every = 24 * time.Hour
	old := c.leader(1)
	g := old.host.groups[1]
	var index uint64
	c.until("an entry is in all logs, and applied nowhere else", func() bool {
		g.audit.wanted = true
		if g.audit.asked > 0 {
			index = g.audit.asked
		}
		for _, n := range c.nodes {
			if o := n.host.groups[1]; o.core.Status().Last.Index < index || n != old && o.applied.Index >= index && index > 0 {
				return false
			}
		}
		return index > 0
	})
	c.isolate(old)
	var lead *testNode
	c.until("another one leads", func() bool {
		lead = c.leadsNow(1)
		return lead != nil && lead != old && lead.host.groups[1].applied.Term == lead.host.groups[1].state.Term
	})
	if lead.host.groups[1].audit.at.Index == 0 {
		t.Fatal("it has applied no audit entry; the test shows nothing")
	}
	if a := &lead.host.groups[1].audit; !a.wanted && a.asked == 0 || !a.changed || a.round != nil {
		t.Errorf("it means to compare nothing: %+v", a)
	}
	clear(c.cut)
	before, at := c.counts().Entries, c.now
	c.until("it compares", func() bool { return c.counts().Entries > before })
	if took := c.now - at; took > auditPatience {
		t.Errorf("it compares after %s", took)
	}
}

// loneLog is a group of three whose third replica has a state that is wrong, also on disk, and the
// first entry of its own term, which nobody else has.
type loneLog struct {
	*auditedCluster
	bearer *testNode
	values []uint64   // that all had before
	last   raft.LogID // of the bearer's log
}

// newLoneLog has some nodes of the group started with the note of a fence.
func newLoneLog(t *testing.T, seed uint64, found logstore.FenceFound, fenced ...int) *loneLog {
	c := newAuditedOf(t, seed, 3, whenAsked)
	c.until("all groups are led", func() bool { return c.leader(0) != nil && c.leader(1) != nil && c.leader(2) != nil })
	c.readyToAudit(20)
	w := &loneLog{auditedCluster: c, bearer: c.nodes[2], values: slices.Clone(stateOf(c.nodes[2]).history)}
	spoil(w.bearer, rewritten)
	w.snapshot(w.bearer)
	at := w.bearer.host.groups[1].applied
	c.until("the third leads, and the others don't know", func() bool {
		g := w.bearer.host.groups[1]
		if g.role == raft.RoleLeader && g.state.Term > at.Term {
			w.last = g.core.Status().Last
			for _, n := range c.nodes[:2] {
				if n.host.groups[1].core.Status().Last.Index >= w.last.Index {
					t.Fatalf("node %d has the entry already", n.id)
				}
			}
			return true
		}
		if lead := c.leader(1); lead != nil && lead.host.groups[1].core.Transferee() == 0 {
			_ = lead.host.groups[1].core.Transfer(3) // again if it can't be now
			lead.host.groups[1].touch()
		}
		return false
	})
	for i, n := range c.nodes {
		if slices.Contains(fenced, i) {
			if err := n.store.WriteFence(logstore.Fence{Replica: n.host.groups[1].replica, At: at, Found: found, What: "for this test"}); err != nil {
				t.Fatal(err)
			}
		}
		n.turn()
		n.kill()
	}
	for _, n := range c.nodes {
		n.start()
	}
	c.until("each has heard the others", func() bool {
		for _, n := range c.nodes {
			if g := n.host.groups[1]; g == nil || g.hold != nil {
				return false
			}
		}
		return true
	})
	for i, n := range c.nodes {
		g := n.host.groups[1]
		if last := g.core.Status().Last; (last == w.last) != (n == w.bearer) || g.floor != w.last && n != w.bearer || (g.fence != nil) != slices.Contains(fenced, i) {
			t.Fatalf("node %d: last %s, floor %s, fence %+v; the bearer's is %s", n.id, last, g.floor, g.fence, w.last)
		}
	}
	return w
}

// ends waits until the group is whole again, with a state of before, and returns what goes wrong.
func (w *loneLog) ends() (wrong string) {
	bore, term := false, uint64(0)
	for range 200_000 {
		g := w.bearer.host.groups[1]
		if g.role == raft.RoleLeader && g.fence != nil && g.state.Term > term {
			bore, term = true, g.state.Term
			if got := readsLocally(w.bearer); got != "damaged" {
				return fmt.Sprintf("as a bearer it answers a read with %q", got)
			}
		}
		if w.alike() {
			break
		}
		w.step()
	}
	switch {
	case !bore:
		return "it never leads to bear its log"
	case !w.alike():
		return "the replicas don't become alike"
	}
	w.write(1, 3)
	w.until("all are alike", w.alike)
	for _, n := range w.nodes {
		if h := stateOf(n).history; !slices.Equal(h[:len(w.values)], w.values) {
			return fmt.Sprintf("node %d holds %v, before it was %v", n.id, h, w.values)
		}
	}
	return ""
}

// trustsLoneLog has all three wait for a person, who trusts one that lacks an entry.
func trustsLoneLog(t *testing.T, seed uint64) (wrong string) {
	w := newLoneLog(t, seed, logstore.FenceUndecided, 0, 1, 2)
	for range 5000 {
		w.step()
		if n := w.leader(1); n != nil {
			return fmt.Sprintf("node %d leads, and nobody has decided", n.id)
		}
	}
	if err := w.nodes[1].host.Audits.Trust(1); err != nil {
		t.Fatal(err)
	}
	return w.ends()
}

// The only replica with all of the log is fenced, and the others know from it what they lack. Nobody
// could be elected, and a person's word changed nothing. It leads for a moment, brings the entry
// to the one that is trusted, and shows nobody its state, which is wrong.
func TestTrustOfOneThatLacksEntries(t *testing.T) {
	for seed := range uint64(8) {
		if wrong := trustsLoneLog(t, seed); wrong != "" {
			t.Errorf("seed %d: %s", seed, wrong)
		}
	}
}

// The same where the others are known to be right: power is lost before anybody else has what a
// leader wrote last, and that one is fenced.
func TestFencedReplicaAloneHasTheLog(t *testing.T) {
	for seed := range uint64(8) {
		if wrong := newLoneLog(t, seed, logstore.FenceByComparison, 2).ends(); wrong != "" {
			t.Errorf("seed %d: %s", seed, wrong)
		}
	}
}
