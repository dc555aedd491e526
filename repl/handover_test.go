package repl

import (
	"testing"

	"muster/raft"
)

// If all nodes are told to stop at once, each hands over what it leads, and gets what the others
// led. That comes to an end, with some elections for each group and not with hundreds, after which
// somebody leads each.
func TestAllNodesHandOver(t *testing.T) {
	c := written(t, 77, 10)
	before := map[raft.GroupID]uint64{}
	for id := range c.nodes[0].host.groups {
		before[id] = c.leadsNow(id).host.groups[id].state.Term
	}
	c.until("nobody hands over any more", func() bool {
		left := 0
		for _, n := range c.nodes {
			left += n.host.HandOver()
		}
		for id := range before {
			if c.leader(id) == nil {
				return false
			}
		}
		return left == 0
	})
	for id, term := range before {
		g := c.leader(id).host.groups[id]
		if most := term + uint64(len(c.nodes)*handOversMax) + 1; g.state.Term <= term || g.state.Term > most {
			t.Errorf("group %s was led in term %d, and is in term %d, want %d at most", id, term, g.state.Term, most)
		}
	}
}
