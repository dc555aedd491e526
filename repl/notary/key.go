package notary

import (
	"fmt"

	"muster/raft"
	"muster/shardmap"
)

// keep sees to it that the voters of the meta group, any of which may lead it next, hold the
// keys that wrap those of the roots.
func (c *Core) keep(now Now) {
	for i := range c.table.Security.Roots {
		if r := &c.table.Security.Roots[i]; r.State != shardmap.RootRetired {
			c.spread(now, r.WrapKey)
		}
	}
}

// spread hands a key to all voters that don't hold it, or fetches it from one that does.
func (c *Core) spread(now Now, k shardmap.WrapKeyID) {
	others := c.voters()
	if len(others) == 0 {
		return
	}
	if !c.held[k] {
		if c.begin(now, fmt.Sprintf("fetch %s", k), Action{Kind: Fetch, WrapKey: k, Node: others[c.turns%len(others)]}) {
			c.turns++
		}
		return
	}
	for _, n := range others {
		if !c.keepers[k][n] {
			c.begin(now, fmt.Sprintf("hand %s %s", k, n), Action{Kind: Hand, WrapKey: k, Node: n})
		}
	}
}

// voters returns the other voters of the meta group.
func (c *Core) voters() (others []raft.NodeID) {
	for _, r := range c.table.Meta.Replicas {
		if r.Role == shardmap.ReplicaVoter && r.Node != c.self {
			others = append(others, r.Node)
		}
	}
	return others
}

// keeps notes that another voter holds a key.
func (c *Core) keeps(k shardmap.WrapKeyID, n raft.NodeID) {
	if c.keepers[k] == nil {
		c.keepers[k] = make(map[raft.NodeID]bool)
	}
	c.keepers[k][n] = true
}

// keepersMin is how many voters must hold a key before much depends on it: one disk may fail.
const keepersMin = 2

// Keepers returns how many voters of the meta group hold a key, as far as is known here, and
// how many there should be at least.
func (c *Core) Keepers(k shardmap.WrapKeyID) (hold, want int) {
	if c.table == nil {
		return 0, 0
	}
	others := c.voters()
	if c.held[k] {
		hold++
	}
	for _, n := range others {
		if c.keepers[k][n] {
			hold++
		}
	}
	return hold, min(keepersMin, 1+len(others))
}

// kept reports whether enough voters hold a key, and this node is one of them.
func (c *Core) kept(k shardmap.WrapKeyID) bool {
	hold, want := c.Keepers(k)
	return c.held[k] && hold >= want
}
