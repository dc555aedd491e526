package overview

import (
	"slices"

	"muster/raft"
	"muster/repl/wire"
)

// MergeGroups takes of each group what its leader says of it: the answer of the
// highest term, and in a term that of the node which names itself the leader.
func MergeGroups(answers []*wire.StatusAnswer) []wire.StatusGroup {
	type said struct {
		group wire.StatusGroup
		leads bool
	}
	best := map[raft.GroupID]said{}
	for _, a := range answers {
		for _, g := range a.Groups {
			now := said{g, g.Leader != 0 && g.Leader == a.Self}
			old, ok := best[g.ID]
			if !ok || g.Term > old.group.Term || g.Term == old.group.Term && now.leads {
				best[g.ID] = now
			}
		}
	}
	for _, a := range answers { // that its replica is damaged each node knows best
		for _, g := range a.Groups {
			for _, r := range g.Replicas {
				if r.State != wire.ReplicaDamaged {
					continue
				}
				replicas := best[g.ID].group.Replicas
				if i := slices.IndexFunc(replicas, func(o wire.StatusReplica) bool { return o.ID == r.ID }); i >= 0 {
					replicas[i].State = wire.ReplicaDamaged
				}
			}
		}
	}
	var groups []wire.StatusGroup
	for _, b := range best {
		groups = append(groups, b.group)
	}
	slices.SortFunc(groups, func(a, b wire.StatusGroup) int { return int(a.ID) - int(b.ID) })
	return groups
}
