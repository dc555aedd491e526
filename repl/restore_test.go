package repl

import (
	"testing"

	"muster/raft"
)

// A change of the membership that no other replica has is rolled back by the
// next leader, even if the replica was started anew in between: then the host
// never saw the entry that is truncated, and must go by what the core has all
// the same. A host that
// does not goes on sending to who is no member, or refuses who is one.
func TestMembershipRolledBackAfterRestart(t *testing.T) {
	c := newCluster(t, 1, 3)
	c.until("group 1 is led", func() bool { return c.leader(1) != nil })
	n := c.leader(1)
	c.until("the leader has committed in its term", func() bool { return n.host.groups[1].core.Status().Commit > 0 })
	for _, o := range c.nodes {
		if o != n {
			c.cut[[2]raft.NodeID{n.id, o.id}], c.cut[[2]raft.NodeID{o.id, n.id}] = true, true
		}
	}
	if _, err := n.host.Change(1, raft.Change{Remove: []raft.ReplicaID{n.host.groups[1].replica.ID%3 + 1}}); err != nil {
		t.Fatal(err)
	}
	n.turn()
	for n.batch != nil {
		n.sync()
	}
	last := n.host.groups[1].core.Status().Last
	n.crash()
	c.until("another leads", func() bool { lead := c.leader(1); return lead != nil && lead != n })
	n.start()
	n.turn()
	g := n.host.groups[1]
	if len(g.members.Outgoing) == 0 {
		t.Fatalf("the log lost the change at %s; the test shows nothing", last)
	}
	clear(c.cut)
	c.until("the change is rolled back", func() bool { return len(g.core.Status().Membership.Outgoing) == 0 })
	n.turn()
	if len(g.members.Outgoing) != 0 {
		t.Errorf("the host goes by %+v", g.members)
	}
	if err := CheckHost(n.host); err != nil {
		t.Error(err)
	}
}
