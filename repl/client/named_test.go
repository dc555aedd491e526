package client

import (
	"testing"

	"muster/raft"
	"muster/repl/wire"
)

// A node may live where the client knows another one, which has moved away. One would
// doubt that it is reached there: the peer at the address has the other's id until a hello
// tells, and nobody says hello to a peer that is no group's.
func TestTableNamesANodeWhereAnotherLived(t *testing.T) {
	k := NewCore(Config{Endpoints: []string{"a:1", "b:1"}})
	k.Connected(0, 0, 1, 7)
	k.Connected(0, 1, 2, 7)
	k.table.install(0, &wire.TopologyAnswer{
		ClusterID: 7, Index: 1, Epoch: 1,
		Nodes:  []wire.TopologyNode{{ID: 1, Addr: "a:1"}, {ID: 3, Addr: "b:1"}},
		Groups: []wire.TopologyGroup{{ID: 1, Nodes: []raft.NodeID{3}}},
	}, &k.peers)
	if nodes := k.table.groups[1].nodes; len(nodes) != 1 || nodes[0] != 1 {
		t.Errorf("group 1 is at peers %v, want the one at b:1", nodes)
	}
}
