package machine

import (
	"testing"

	"muster/raft"
	"muster/shardmap"
)

// The table names the founders of a group apart from its replicas of today: a founder
// begins with their membership, also if it is placed long after; a replica that was made
// later begins with none, though the table names it.
func TestPlacementTellsFoundersApart(t *testing.T) {
	voter := func(id raft.ReplicaID, n raft.NodeID) shardmap.TableReplica {
		return shardmap.TableReplica{Replica: id, Node: n, Role: shardmap.ReplicaVoter}
	}
	g := shardmap.TableGroup{ID: 3, Incarnation: 7, Preferred: 30,
		Founders: []shardmap.TableReplica{voter(1, 10), voter(2, 20), {Replica: 3, Node: 30, Role: shardmap.ReplicaLearner}},
		Replicas: []shardmap.TableReplica{voter(2, 20), voter(4, 30)}}
	founder, ok := Placement(&g, 20)
	if m := founder.Begins(); !ok || founder.Replica.ID != 2 || len(m.Voters) != 2 || len(m.Learners) != 1 || m.Next != 4 {
		t.Errorf("a founder begins with %+v", m)
	}
	later, ok := Placement(&g, 30)
	if m := later.Begins(); !ok || later.Replica.ID != 4 || later.Preferred != 4 || !m.Blank() || len(later.Members) != 2 {
		t.Errorf("a replica that was made later: %+v begins with %+v", later, m)
	}
	if p, ok := Placement(&g, 10); ok {
		t.Errorf("a founder that was removed is placed: %+v", p)
	}
}
