package plan

import (
	"cmp"

	"muster/raft"
	"muster/shardmap"
)

// standing says how well a data group could take a shard of a new window. The lower, the better.
type standing uint8

const (
	// standsWell: all voters are on servers that are alive and not drained.
	standsWell standing = iota
	// standsFair: a majority of the voters is alive; the rest is silent, dead, drained or being made.
	standsFair
	// standsNot: there is no majority alive, so that a write would wait for one.
	standsNot
)

// Windows returns the data groups for the shards of a new window, by the number of the shard: those of live,
// not draining nodes, of these the groups that have the fewest shards of all windows, spread over as many groups and
// leaders as there are. shards 0 asks for as many as there are groups that could take one, at most
// [shardmap.WindowShardsDefault]; more than [shardmap.WindowShardsMax] are not given. A group gets a second shard
// only when all have one. The result is empty if no group has a majority of live voters.
//
// It looks at each group for each shard: 64 shards among 4,096 groups are a quarter of a million looks, a few
// milliseconds.
func Windows(t *shardmap.Table, known *Known, shards uint32) []raft.GroupID {
	able := candidates(t, known)
	n := int(min(shards, shardmap.WindowShardsMax))
	if n == 0 {
		n = min(len(able), shardmap.WindowShardsDefault)
	}
	if len(able) == 0 {
		return nil
	}
	leads := map[raft.NodeID]int{} // shards of this window that each node would lead
	groups := make([]raft.GroupID, 0, n)
	for range n {
		best := &able[0]
		for i := range able[1:] {
			if able[1+i].compare(best, leads) < 0 {
				best = &able[1+i]
			}
		}
		best.given++
		leads[best.leader]++
		groups = append(groups, best.id)
	}
	return groups
}

// candidate is a data group that could take a shard.
type candidate struct {
	id       raft.GroupID
	standing standing
	leader   raft.NodeID
	shards   int // of all windows that there are
	given    int // of the new one
}

// compare orders candidates by who is to get the next shard.
func (c *candidate) compare(o *candidate, leads map[raft.NodeID]int) int {
	return cmp.Or(cmp.Compare(c.given, o.given), cmp.Compare(c.standing, o.standing), cmp.Compare(c.shards, o.shards),
		cmp.Compare(leads[c.leader], leads[o.leader]), cmp.Compare(c.id, o.id))
}

// candidates returns the groups that have a majority, by id. Those that stand well are alone among them if there
// are any: a group on a node that is drained gets no shard while another one could.
func candidates(t *shardmap.Table, known *Known) (able []candidate) {
	held := map[raft.GroupID]int{}
	for i := range t.Catalog.Windows {
		for _, g := range t.Catalog.Windows[i].Shards {
			held[g]++
		}
	}
	best := standsNot
	for i := range t.Groups {
		g := &t.Groups[i]
		c := candidate{id: g.ID, standing: standingOf(t, g, known), leader: g.Preferred, shards: held[g.ID]}
		if leader := known.Groups[g.ID].Leader; leader != 0 {
			c.leader = leader
		}
		if c.standing == standsNot {
			continue
		}
		best = min(best, c.standing)
		able = append(able, c)
	}
	well := able[:0]
	for _, c := range able {
		if c.standing == best {
			well = append(well, c)
		}
	}
	return well
}

func standingOf(t *shardmap.Table, g *shardmap.TableGroup, known *Known) standing {
	voters, alive, well := 0, 0, 0
	for _, r := range g.Replicas {
		if r.Role != shardmap.ReplicaVoter {
			continue
		}
		voters++
		n, ok := t.Node(r.Node)
		k := known.Nodes[r.Node]
		if !ok || k.Health != Alive {
			continue
		}
		alive++
		if !n.Draining && !k.Draining && n.Role == shardmap.NodeServer {
			well++
		}
	}
	switch {
	case voters > 0 && well == voters:
		return standsWell
	case 2*alive > voters:
		return standsFair
	}
	return standsNot
}
