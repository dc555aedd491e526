package repl

import (
	"slices"
	"strings"
	"testing"

	"muster/raft"
	"muster/repl/wire"
)

// loseSegments damages both headers of each segment of a node's log: nothing in
// them can be verified any more.
func (n *testNode) loseSegments() {
	n.c.t.Helper()
	names, err := n.disk.List("data/log")
	if err != nil {
		n.c.t.Fatal(err)
	}
	for _, name := range names {
		if !strings.HasSuffix(name, ".log") {
			continue
		}
		name = "data/log/" + name
		for _, at := range []int64{20, int64(len(n.disk.Bytes(name))) - 500} {
			n.flip(place{name, at})
		}
	}
}

// A node can't know any more what its replicas promised: they never vote, lead,
// acknowledge or serve again, whatever they are told, not after a restart
// either, and say why. The groups go on with the other two. One would doubt it:
// a replica of which the log says nothing looks like one that was never there.
func TestLostPromises(t *testing.T) {
	c := written(t, 31, 40)
	c.wrote = 10_000
	n := c.nodes[0]
	n.kill()
	n.loseSegments()
	restart := func() {
		n.start()
		n.turn() // the log no longer says which replicas it had
		for _, o := range c.nodes[1:] {
			o.host.PeerLost(n.id) // its connections closed
			o.turn()
		}
	}
	dead := func() { // mustBeWhole sees to it that they say nothing
		t.Helper()
		for g := range raft.GroupID(testGroups) {
			m := n.mending(g)
			if m == nil || !m.Damage.Promises || m.Runs || n.host.groups[g] != nil {
				t.Fatalf("group %d: %+v", g, m)
			}
			if !m.Anyones {
				t.Errorf("group %d: it does not say that no replica can be made here", g)
			}
			if what := m.What(); !strings.Contains(what, "lost what it promised: data/log/") {
				t.Errorf("group %d: it says %q", g, what)
			}
		}
	}
	goOn := func() {
		t.Helper()
		dead()
		for g := range raft.GroupID(testGroups) {
			c.write(g, 10)
		}
		dead()
	}
	restart()
	goOn()
	var s said
	n.host.Propose(proposal(1, &s, 1))
	n.host.Read(Read{Group: 1, Local: true, Reply: Reply{To: &s, Request: 2}, Query: anything{}})
	for request := uint64(1); request <= 2; request++ {
		if got := s.to(request); got != "damaged" {
			t.Errorf("request %d is answered %q, want damaged", request, got)
		}
	}
	before := n.host.refused.counts[refusedDamaged]
	n.told(2, &wire.Envelope{Group: 1, Incarnation: 1, Message: raft.Message{Type: raft.MsgVote, From: 2, To: 1, Term: 99, Log: raft.LogID{Term: 98, Index: 999}}})
	n.turn()
	if n.host.refused.counts[refusedDamaged] != before+1 {
		t.Error("it takes a request for its vote")
	}
	n.crash()
	restart()
	goOn()
	c.check()
	for v := range c.acked {
		if !slices.ContainsFunc([]raft.GroupID{0, 1, 2}, func(g raft.GroupID) bool { return slices.Contains(c.leader(g).history[g], v) }) {
			t.Errorf("%d was acknowledged and is lost", v)
		}
	}
}

// A learner does not count for anything, but what is read from it, and what is
// made of it later, must be whole: it is mended like a voter.
func TestMendLearner(t *testing.T) {
	for _, what := range []string{"an entry", "its snapshot"} {
		t.Run(what, func(t *testing.T) {
			c := written(t, 32, 4)
			n := c.nodes[0]
			c.until("another leads", func() bool {
				lead := c.leader(1)
				if lead == n {
					n.host.HandOver()
					n.turn()
				}
				return lead != nil && lead != n
			})
			change := func(ch raft.Change) {
				t.Helper()
				c.until("the change is taken", func() bool {
					lead := c.leader(1)
					if lead == nil || lead == n {
						return false
					}
					_, err := lead.host.Change(1, ch)
					lead.turn()
					return err == nil
				})
			}
			old := n.replica().replica
			change(raft.Change{Remove: []raft.ReplicaID{old.ID}})
			c.until("it is removed", func() bool {
				lead := c.leader(1)
				if lead == nil {
					return false
				}
				st := lead.replica().core.Status()
				return len(st.Membership.Voters) == 2 && len(st.Membership.Outgoing) == 0 && st.Commit == st.Last.Index
			})
			n.host.Retire(old)
			n.turn()
			n.history[1] = nil
			n.only = true
			change(raft.Change{Add: []raft.NewMember{{Node: n.id, Goal: raft.GoalCopy}}})
			fresh := old
			fresh.ID = 4
			n.host.Place([]Placement{{Replica: fresh}})
			n.turn()
			learns := func() bool {
				g := n.replica()
				return g != nil && slices.ContainsFunc(g.core.Status().Membership.Learners, func(m raft.Member) bool { return m.Replica == 4 })
			}
			c.until("all have all", func() bool { return learns() && c.settled() })
			if what == "its snapshot" {
				c.snapshot(n)
				c.writes(1, 4001, 4002)
				c.until("all have all", c.settled)
			}
			n.stop()
			if what == "its snapshot" {
				n.start()
				c.until("all have all", c.settled)
				file := n.store.Snapshots(fresh)[0].File
				n.stop()
				n.flip(place{file, 60})
				n.start()
				if m := n.mending(1); m == nil || !m.Damage.State || n.replica() != nil {
					t.Fatalf("a learner without its state runs: %+v", m)
				}
			} else {
				n.rot(1, 3)
				n.start()
				n.isHurt(1)
			}
			c.whole()
			if !learns() {
				t.Errorf("mended, it is %+v", n.replica().core.Status().Membership)
			}
			c.again(n)
		})
	}
}
