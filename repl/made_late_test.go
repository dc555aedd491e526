package repl

import (
	"fmt"
	"slices"
	"testing"

	"muster/logstore"
	"muster/raft"
)

// changed has whoever leads group 1 make a change, and waits until it is done.
func (c *cluster) changed(ch raft.Change) raft.Membership {
	c.t.Helper()
	var done raft.Changed
	c.until("the change is taken", func() bool {
		lead := c.leader(1)
		if lead == nil {
			return false
		}
		var err error
		done, err = lead.host.Change(1, ch)
		lead.turn()
		return err == nil
	})
	c.until("the change is done", func() bool {
		lead := c.leader(1)
		if lead == nil {
			return false
		}
		stage, err := lead.host.ChangeStage(1, done.At)
		return err == nil && stage == raft.ChangeDone
	})
	return done.Membership
}

// isolate cuts a node from all others.
func (c *cluster) isolate(n *testNode) {
	for _, o := range c.nodes {
		c.cut[[2]raft.NodeID{n.id, o.id}], c.cut[[2]raft.NodeID{o.id, n.id}] = true, true
	}
}

// A disk of an earlier moment may lack a whole replica: one that was made later, votes, and
// has acknowledged entries. Made anew it knows of no voters, so it seemed to have nobody
// to wait for. It voted for whoever asked first, and what it had acknowledged was lost.
func TestReplicaMadeLateIsForgotten(t *testing.T) {
	if wrong := forgetsReplica(t); wrong != "" {
		t.Error(wrong)
	}
}

// forgetsReplica puts back a disk of before a voter was made, while one of the other two is
// away and the last lacks what the two decided. It returns what went wrong.
func forgetsReplica(t *testing.T) (wrong string) {
	c := written(t, 91, 4)
	c.wrote = 1000
	kept, lags, older := c.nodes[0], c.nodes[1], c.nodes[2]
	old := older.replica().replica
	c.changed(raft.Change{Remove: []raft.ReplicaID{old.ID}})
	older.host.Retire(old)
	older.turn()
	older.history[1], older.only = nil, true
	c.until("the tombstone is on disk", func() bool { older.sync(); return older.batch == nil })
	image := older.disk.Copy()

	m := c.changed(raft.Change{Add: []raft.NewMember{{Node: older.id, Goal: raft.GoalCopy}}})
	fresh := Placement{Replica: logstore.Replica{Group: 1, Incarnation: 1, ID: m.Next - 1}, Members: slices.Collect(m.All())}
	older.host.Place([]Placement{fresh})
	older.turn()
	c.until("it has caught up", func() bool {
		lead := c.leader(1)
		return lead != nil && slices.ContainsFunc(lead.replica().core.Status().Progress, func(p raft.Progress) bool { return p.Replica == fresh.Replica.ID && p.CaughtUp })
	})
	c.changed(raft.Change{Promote: []raft.ReplicaID{fresh.Replica.ID}})
	c.write(1, 10)
	c.until("all have all", c.settled)
	if c.leader(1) != kept {
		c.leader(1).replica().core.Transfer(1)
		c.until("the first node leads", func() bool { return c.leader(1) == kept })
	}
	c.isolate(lags)
	written := c.wrote
	c.until("writes are acknowledged by the two others", func() bool {
		if c.acked[written+1] {
			return true
		}
		if lead := c.leader(1); lead == kept && !lead.asked(1, written+1) {
			c.propose(lead, 1, written+1)
		}
		return false
	})
	c.wrote++
	c.until("the entry is on both disks", func() bool { older.sync(); return slices.Contains(older.history[1], written+1) })

	kept.kill()
	older.restore(image)
	lags.host.PeerLost(older.id)
	lags.turn()
	older.start()
	clear(c.cut)
	c.until("it is told that it is older", func() bool { return older.host.Doubt().Proven })
	older.host.Place([]Placement{fresh})
	older.turn()
	for range 30_000 {
		c.step()
	}
	if lead := c.leader(1); lead != nil {
		return fmt.Sprintf("node %d leads; %d was acknowledged, and is on the disk of a node that is away alone", lead.id, written+1)
	}
	kept.start()
	c.until("all have all", func() bool { return older.replica() != nil && c.settled() })
	for _, n := range c.nodes {
		if !slices.Contains(n.history[1], written+1) {
			return fmt.Sprintf("%d was acknowledged, and is lost on node %d", written+1, n.id)
		}
	}
	c.check()
	return ""
}
