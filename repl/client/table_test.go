package client

import (
	"testing"

	"muster/repl/wire"
	"muster/shardmap"
)

// The usual way of a call reads routes that were given out before: they are never
// changed, and made again only if something in them has.
func TestRoutesAreMadeAnew(t *testing.T) {
	k := newPeers([]string{"a:1", "b:1"}, new(actions), new(chance))
	tab := table{asked: NoPeer}
	tab.install(0, &wire.TopologyAnswer{
		Epoch:  3,
		Nodes:  []wire.TopologyNode{{ID: 1, Addr: "a:1"}, {ID: 2, Addr: "b:1"}},
		Groups: []wire.TopologyGroup{{ID: 1, Leader: 1}, {ID: 2}},
		Slots:  []shardmap.OwnedRange{{SlotRange: shardmap.SlotRange{From: 0, To: 99}, Group: 1}, {SlotRange: shardmap.SlotRange{From: 100, To: shardmap.Slots - 1}, Group: 2}},
	}, &k)
	first := tab.routes()
	if first.Peer[0] != 0 || first.Peer[100] != NoPeer || first.Group[100] != 2 || first.Epoch != 3 {
		t.Errorf("got slot 0 at %d, slot 100 at %d, of group %d, by epoch %d", first.Peer[0], first.Peer[100], first.Group[100], first.Epoch)
	}
	if tab.lead(1, 0) || tab.lead(9, 0) || tab.routes() != first {
		t.Error("no news made other routes")
	}
	if !tab.lead(2, 1) || tab.routes() == first || tab.routes().Peer[100] != 1 || first.Peer[100] != NoPeer {
		t.Error("the leader of group 2 is not in the new routes, or in the old ones")
	}
	c := &Call{Target: ToSlot, Slot: 5}
	if tab.unlead(c, 1); tab.leaderOf(c) != 0 {
		t.Error("a peer that does not lead stopped leading")
	}
	if tab.replace(0, NoPeer); tab.leaderOf(c) != NoPeer || tab.routes().Peer[5] != NoPeer {
		t.Error("a peer that was lost leads on")
	}
}
