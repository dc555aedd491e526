package repl

import (
	"testing"

	"muster/raft"
)

// The owner of a host is told when a node falls silent or comes back, and when the lead
// of the meta group comes and goes. It sleeps in between, so one that is not told sleeps
// on.
func TestOwnerIsTold(t *testing.T) {
	c := written(t, 53, 5)
	told := map[raft.NodeID]int{}
	for _, n := range c.nodes {
		n.host.cfg.Presence = func(o raft.NodeID) { told[n.id<<8|o]++ }
	}
	c.until("group 0 has a leader", func() bool { return c.leader(0) != nil })
	old := c.leader(0)
	leads := map[raft.NodeID]bool{}
	for _, n := range c.nodes {
		n.host.metaLed = false
		n.host.cfg.MetaLed = func(now bool) {
			if now == leads[n.id] {
				t.Errorf("node %d is told twice that it leads: %v", n.id, now)
			}
			if leads[n.id] = now; now && n.host.groups[0].applied.Term != n.host.groups[0].state.Term {
				t.Errorf("node %d is told that it leads, and has applied nothing of its term", n.id)
			}
		}
		n.host.groups[0].touch()
	}
	c.until("the leader is told that it leads", func() bool { return leads[old.id] })
	c.isolate(old)
	c.until("another leads, and the old one is told", func() bool {
		lead := c.leader(0)
		return lead != nil && lead != old && leads[lead.id] && !leads[old.id]
	})
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
