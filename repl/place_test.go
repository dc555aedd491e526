package repl

import (
	"errors"
	"slices"
	"testing"

	"muster/logstore"
	"muster/raft"
	"muster/repl/wire"
)

// replica returns the replica of group 1 that a node holds, or nil.
func (n *testNode) replica() *group { return n.host.groups[1] }

// A group gets a new replica on a node that had none of it, which learns all
// that was, memberships of a time before it too; and it loses that replica for
// good, whether or not the replica hears of it.
func TestReplicaComesAndGoes(t *testing.T) {
	c := newCluster(t, 3, 3)
	var changed raft.Changed
	change := func(ch raft.Change) raft.Membership {
		t.Helper()
		var err error
		c.until("the change is taken", func() bool {
			if lead := c.leader(1); lead != nil {
				changed, err = lead.host.Change(1, ch)
				lead.turn()
				return err == nil
			}
			return false
		})
		return changed.Membership
	}
	committed := func(what string, ok func(raft.Membership) bool) {
		t.Helper()
		c.until(what, func() bool {
			lead := c.leader(1)
			if lead == nil {
				return false
			}
			st := lead.replica().core.Status()
			return ok(st.Membership) && st.Commit == st.Last.Index && lead.replica().applied.Index == st.Commit
		})
	}
	c.until("group 1 is led", func() bool { return c.leader(1) != nil })
	var gone *testNode
	for _, n := range c.nodes {
		if n != c.leader(1) {
			gone = n
			if _, err := n.host.Change(1, raft.Change{Remove: []raft.ReplicaID{1}}); !errors.Is(err, raft.ErrNotLeader) {
				t.Errorf("a follower changes the membership: %v", err)
			}
		}
	}
	old := gone.replica().replica
	change(raft.Change{Remove: []raft.ReplicaID{old.ID}})
	committed("it is removed", func(m raft.Membership) bool { return len(m.Voters) == 2 && len(m.Outgoing) == 0 })
	if gone.host.Retire(logstore.Replica{Group: 1, Incarnation: 1, ID: 77}) {
		t.Error("a replica that is not there is retired")
	}
	gone.host.Retire(old)
	gone.turn()
	if gone.replica() != nil {
		t.Fatal("the replica is there after it was retired")
	}
	gone.place(1, 2)
	gone.host.Place([]Placement{{Replica: logstore.Replica{Group: 9, Incarnation: 1, ID: 1}}})
	gone.turn()
	gone.host.Retire(logstore.Replica{Group: 9, Incarnation: 1, ID: 1}) // that nothing was written of yet
	gone.turn()
	if gone.host.groups[9] != nil {
		t.Fatal("a replica that was just made is there after it was retired")
	}
	if gone.replica() != nil {
		t.Fatal("a retired replica comes back")
	}

	m := change(raft.Change{Add: []raft.NewMember{{Node: gone.id, Goal: raft.GoalVoter}}})
	committed("it is added", func(m raft.Membership) bool { _, ok := m.Member(4); return ok })
	fresh := logstore.Replica{Group: 1, Incarnation: 1, ID: m.Next - 1}
	var founders raft.Membership
	for id := raft.ReplicaID(1); id < 4; id++ {
		founders.Voters, founders.Next = append(founders.Voters, raft.Member{Replica: id, Node: raft.NodeID(id), Goal: raft.GoalVoter}), id+1
	}
	gone.host.Place([]Placement{{Replica: fresh, Founders: founders, Members: m.Learners}})
	gone.turn()
	if g := gone.replica(); g == nil || !g.members.Blank() {
		t.Fatalf("a replica that was made later begins with members: %+v", g)
	}
	committed("the new replica votes", func(m raft.Membership) bool { return m.Votes(fresh.ID) && len(m.Outgoing) == 0 })
	for _, n := range c.nodes {
		c.until("the change is known to be done", func() bool {
			stage, err := n.host.ChangeStage(1, changed.At)
			return err == nil && stage == raft.ChangeDone
		})
	}
	c.until("it has all", func() bool {
		lead, g := c.leader(1), gone.replica()
		return lead != nil && g != nil && g.applied == lead.replica().applied
	})
	c.until("the batch is on disk", func() bool { gone.sync(); return gone.batch == nil })

	// A crash between the commit of the removal and the tombstone: what the
	// log says at the start is enough.
	removal := raft.Membership{Voters: m.Voters, Next: m.Next}
	g := gone.replica()
	if g.removedBy(&removal) != true || g.removedBy(&raft.Membership{Voters: m.Voters, Next: fresh.ID}) {
		t.Error("it is removed by what came before it, or not by what came after")
	}
}

// A node learns of a removal from its own log, or from nobody: those that stay need not
// feed it any more. If the table then gives it the next replica of the group, the old
// one must go first. It stayed, and the new one was not made; with both, one node would
// have two votes.
func TestNewerReplicaTakesThePlace(t *testing.T) {
	c := newCluster(t, 5, 3)
	c.until("group 1 is led", func() bool { return c.leader(1) != nil })
	n := c.nodes[0]
	old := n.replica().replica
	if old != (logstore.Replica{Group: 1, Incarnation: 1, ID: 1}) {
		t.Fatalf("the replica here is %s", old)
	}
	for _, next := range []logstore.Replica{{Group: 1, Incarnation: 1, ID: 9}, {Group: 1, Incarnation: 2, ID: 1}} {
		n.host.Place([]Placement{{Replica: next}, {Replica: old}})
		n.turn()
		if g := n.replica(); g == nil || g.replica != next {
			t.Fatalf("%s is asked for, here is %+v", next, g)
		}
		n.host.Place([]Placement{{Replica: old}})
		n.turn()
		if g := n.replica(); g.replica != next || !n.host.placing.buried(old) {
			t.Errorf("after %s the older %s comes back", next, old)
		}
		c.until("the batch is on disk", func() bool { n.sync(); return n.batch == nil })
		n.kill()
		n.start()
		n.host.Place([]Placement{{Replica: next}}) // by the table; it had nothing to write yet
		n.turn()
		if g := n.replica(); g == nil || g.replica != next || !n.host.placing.buried(old) {
			t.Errorf("after a restart %s is gone, or %s is back: %+v", next, old, g)
		}
		old = next
	}
}

// A node that has left the table is forgotten: what was noted of its lives, whether it
// was heard of, how full its disk was. While a log here still names it it is not, for
// its word may count there. Notes of nodes stayed for ever.
func TestNodeIsForgotten(t *testing.T) {
	c := written(t, 6, 3)
	gone, left := c.nodes[2], c.nodes[:2]
	gone.kill()
	knows := func(n *testNode) bool {
		noted := slices.ContainsFunc(n.store.Notes(), func(o logstore.Note) bool { return o.Node == gone.id })
		return noted || n.host.contacts.of[gone.id] != nil || n.host.lives.others[gone.id] != nil
	}
	remove := func(g raft.GroupID) {
		c.until("its replica is removed", func() bool {
			lead := c.leader(g)
			if lead == nil {
				return false
			}
			if _, err := lead.host.Change(g, raft.Change{Remove: []raft.ReplicaID{raft.ReplicaID(gone.id)}}); err != nil && errors.Is(err, raft.ErrChange) {
				return true // it is no member
			}
			lead.turn()
			return false
		})
	}
	for g := raft.GroupID(1); g < testGroups; g++ {
		remove(g)
	}
	for _, n := range left {
		n.host.full.learn(gone.id, wire.FullNear)
		n.host.SetNodes([]raft.NodeID{3 - n.id})
	}
	for range 2000 {
		c.step()
	}
	for _, n := range left {
		if !knows(n) {
			t.Fatalf("node %d has forgotten a member of group 0", n.id)
		}
	}
	remove(0)
	for _, n := range left {
		c.until("it is forgotten", func() bool { n.sync(); return !knows(n) })
		if full := n.host.Contacts().Fullness(); len(full) > 0 {
			t.Errorf("node %d looks out for the disks of %v", n.id, full)
		}
		n.kill()
		n.start()
		n.host.SetNodes([]raft.NodeID{3 - n.id})
		if slices.ContainsFunc(n.store.Notes(), func(o logstore.Note) bool { return o.Node == gone.id }) {
			t.Errorf("after a restart node %d has a note of it", n.id)
		}
	}
}
