package repl

import (
	"testing"

	"muster/raft"
)

// The owner of a host is told when a node falls silent or comes back, and when the lead
// of a group comes and goes. It sleeps in between, so one that is not told sleeps
// on.
func TestOwnerIsTold(t *testing.T) {
	c := written(t, 53, 5)
	told := map[raft.NodeID]int{}
	for _, n := range c.nodes {
		n.host.cfg.Presence = func(o raft.NodeID) { told[n.id<<8|o]++ }
	}
	c.until("group 0 has a leader", func() bool { return c.leader(0) != nil })
	old := c.leader(0)
	type lead struct {
		node  raft.NodeID
		group raft.GroupID
	}
	leads := map[lead]uint64{}
	for _, n := range c.nodes {
		n.host.cfg.Led = func(g raft.GroupID, term uint64) {
			is := lead{n.id, g}
			if term == leads[is] {
				t.Errorf("node %d is told twice that it leads group %d: in term %d", n.id, g, term)
			}
			if leads[is] = term; term != 0 && (n.host.groups[g].applied.Term != term || n.host.groups[g].state.Term != term) {
				t.Errorf("node %d is told that it leads group %d in term %d, and has applied nothing of that", n.id, g, term)
			}
		}
		for _, g := range n.host.order {
			g.touch()
		}
	}
	for g := range raft.GroupID(testGroups) {
		c.until("each leader is told that it leads", func() bool {
			is := c.leader(g)
			return is != nil && leads[lead{is.id, g}] != 0
		})
	}
	c.isolate(old)
	for g := range raft.GroupID(testGroups) {
		c.until("another leads, and the old one is told", func() bool {
			is := c.leader(g)
			return is != nil && is != old && leads[lead{is.id, g}] != 0 && leads[lead{old.id, g}] == 0
		})
	}
	for _, n := range c.nodes {
		if n != old && (told[n.id<<8|old.id] != 1 || told[old.id<<8|n.id] != 1) {
			t.Errorf("of the silence between %d and %d they were told %d and %d times", n.id, old.id, told[n.id<<8|old.id], told[old.id<<8|n.id])
		}
	}
	clear(c.cut)
	c.until("all are told that they are back", func() bool {
		for _, n := range c.nodes {
			if n != old && (told[n.id<<8|old.id] != 2 || told[old.id<<8|n.id] != 2) {
				return false
			}
		}
		return true
	})
}
