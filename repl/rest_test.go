package repl

import (
	"errors"
	"testing"

	"muster/raft"
	"muster/repl/wire"
)

// resting reports whether all replicas of all groups rest.
func (c *cluster) resting() bool {
	for _, n := range c.nodes {
		if n.host == nil || len(n.host.order) < testGroups {
			return false
		}
		for _, g := range n.host.order {
			if !g.resting.quiet {
				return false
			}
		}
	}
	return true
}

// leadsNow returns the node whose replica of a group leads and runs, or nil.
func (c *cluster) leadsNow(id raft.GroupID) *testNode {
	for _, n := range c.nodes {
		if n.host == nil {
			continue
		}
		if g := n.host.groups[id]; g != nil && g.stopped == nil && g.role == raft.RoleLeader {
			return n
		}
	}
	return nil
}

// A group rests on the word of its leader's node. That the node goes on to send
// heartbeats must not keep the followers at rest once the replica there no
// longer leads, whatever became of it: the node lives, so nothing else would wake
// them, and the group would have no leader for ever.
func TestRestEndsWithItsLeader(t *testing.T) {
	const group = 1
	for _, test := range []struct {
		name string
		lose func(n *testNode)
		left bool // the node may lead again
	}{
		{"it stops", func(n *testNode) { n.host.groups[group].stop(errors.New("its state can't be told")) }, false},
		{"it is removed", func(n *testNode) { n.host.Retire(n.replica().replica) }, false},
		{"its promises are lost", func(n *testNode) {
			n.stop()
			n.loseSegments()
			n.start()
		}, false},
		{"its node comes back without it", func(n *testNode) {
			n.stop()
			n.only = true
			n.start()
			n.host.Retire(n.replica().replica)
		}, false},
		{"its node comes back with it", func(n *testNode) {
			n.stop()
			n.start()
		}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := written(t, 77, 10)
			c.until("all groups rest", c.resting)
			lead := c.leadsNow(group)
			began := map[*testNode]uint64{}
			for _, n := range c.nodes {
				began[n] = n.host.ticks
			}
			test.lose(lead)
			lead.turn()
			c.until("the group has a leader again", func() bool {
				for n, at := range began {
					if n != lead && n.host.ticks > at+4*raft.ElectionTicksDefault {
						t.Fatalf("node %d: no leader within %d ticks", n.id, n.host.ticks-at)
					}
				}
				n := c.leadsNow(group)
				return n != nil && (n != lead || test.left)
			})
		})
	}
}

// What a node says of its groups keeps those at rest that it leads, and no
// others: a word of an earlier term, of another incarnation or from a node that
// does not lead would hide that the leader is gone.
func TestOnlyTheLeaderKeepsAtRest(t *testing.T) {
	c := written(t, 78, 10)
	c.until("all groups rest", c.resting)
	lead := c.leadsNow(1)
	for _, n := range c.nodes {
		if n == lead {
			continue
		}
		g := n.replica()
		at := g.resting.vouchedAt
		n.host.ticks += 2
		right := lead.replica().resting.word()
		for what, word := range map[string]struct {
			from  raft.NodeID
			wrong func(*raft.ReplicaID, *uint64, *raft.Incarnation)
		}{
			"another node":        {n.id%3 + 1, nil},
			"an earlier term":     {lead.id, func(_ *raft.ReplicaID, term *uint64, _ *raft.Incarnation) { *term-- }},
			"a later term":        {lead.id, func(_ *raft.ReplicaID, term *uint64, _ *raft.Incarnation) { *term = raft.TermLimit }},
			"another replica":     {lead.id, func(id *raft.ReplicaID, _ *uint64, _ *raft.Incarnation) { *id++ }},
			"another incarnation": {lead.id, func(_ *raft.ReplicaID, _ *uint64, i *raft.Incarnation) { *i++ }},
		} {
			said := right
			if word.wrong != nil {
				word.wrong(&said.Leader, &said.Term, &said.Incarnation)
			} else if word.from == lead.id {
				word.from = word.from%3 + 1
			}
			n.host.beats.vouched(word.from, &said)
			if g.resting.vouchedAt != at {
				t.Errorf("node %d rests on the word of %s", n.id, what)
			}
		}
		n.host.beats.vouched(lead.id, &right)
		if g.resting.vouchedAt != n.host.ticks {
			t.Errorf("node %d does not take its leader's word", n.id)
		}
	}
}

// A node that introduces itself in another life leads nothing: its followers ask at
// once, and do not wait until its word runs out. A life of a lower number is of a
// frame that was late, and the same one is none.
func TestNewLifeEndsRest(t *testing.T) {
	c := written(t, 79, 10)
	c.until("all groups rest", c.resting)
	lead := c.leadsNow(1)
	n := c.nodes[lead.id%3]
	for _, test := range []struct {
		number uint64
		wakes  bool
	}{{1, false}, {3, true}, {2, false}, {3, false}} {
		c.until("all groups rest", c.resting)
		life := wire.LifeLink{Number: test.number, Mark: test.number << 8}
		if test.number == 1 {
			life.Mark = n.host.lives.others[lead.id].note.Life.Mark
		}
		n.host.ConnectionEnded(lead.id)
		n.host.ReceiveLifeQuestion(lead.id, &wire.LifeQuestion{Number: 1, Lives: []wire.LifeLink{life}})
		n.turn()
		if woke := !n.replica().resting.quiet; woke != test.wakes {
			t.Errorf("life %d: it wakes: %v, want %v", test.number, woke, test.wakes)
		}
	}
}
