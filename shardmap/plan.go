package shardmap

import (
	"slices"

	"muster/raft"
)

// GroupVoters is how many voters a group should have, if there are so many nodes:
// with three it survives the loss of one.
const GroupVoters = 3

// Plan lays out a new cluster's data groups over its servers, which are in
// ascending order: replicas, leaders and slots each as even as they can be, so
// that no two nodes differ by more than one. It depends on nothing but its
// arguments.
func Plan(servers []raft.NodeID, groups int) ([]TableGroup, [Slots]raft.GroupID) {
	voters := min(GroupVoters, len(servers))
	leads := make([]int, len(servers))
	plan := make([]TableGroup, groups)
	for g := range plan {
		plan[g].ID = raft.GroupID(g + 1)
		least := -1
		for r := range voters {
			// Replicas are dealt like cards, so that each node gets its turn.
			n := (g*voters + r) % len(servers)
			plan[g].Replicas = append(plan[g].Replicas, TableReplica{raft.ReplicaID(r + 1), servers[n], ReplicaVoter})
			if least < 0 || leads[n] < leads[least] {
				least = n
			}
		}
		plan[g].Founders = slices.Clone(plan[g].Replicas)
		leads[least]++
		plan[g].Preferred = servers[least]
	}
	var slots [Slots]raft.GroupID
	for s := range slots {
		g := s * groups / Slots
		slots[s] = plan[g].ID
		if first := &plan[g].FirstSlots; len(*first) == 0 {
			*first = []SlotRange{{Slot(s), Slot(s)}}
		} else {
			(*first)[0].To = Slot(s)
		}
	}
	return plan, slots
}

// PlanMeta lays out a new cluster's meta group over its nodes, which are in
// ascending order: the first servers vote, all others hold a copy.
func PlanMeta(nodes []TableNode) TableGroup {
	g := TableGroup{ID: 0, Incarnation: 1}
	voters := 0
	for i, n := range nodes {
		r := TableReplica{raft.ReplicaID(i + 1), n.ID, ReplicaLearner}
		if n.Role == NodeServer && voters < GroupVoters {
			if voters++; voters == 1 {
				g.Preferred = n.ID
			}
			r.Role = ReplicaVoter
		}
		g.Replicas = append(g.Replicas, r)
	}
	g.Founders = slices.Clone(g.Replicas)
	return g
}
