package notary

import (
	"fmt"

	"muster/raft"
	"muster/shardmap"
)

// keep sees to it that the voters of the meta group, any of which may lead it next, hold the
// keys that wrap those of the roots.
func (c *Core) keep(now Now) {
	// A root that issued before never does again, so nobody needs its key: where that is lost, it is not looked for.
	if issuing, ok := c.table.Security.Issuing(); ok {
		c.spread(now, issuing.WrapKey)
	}
	if in, ok := c.incoming(); ok {
		c.spread(now, in.WrapKey)
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
	delete(c.lacking[k], n)
}

// lacks notes that another voter has said that it does not hold a key.
func lacks(c *Core, k shardmap.WrapKeyID, n raft.NodeID) {
	if c.lacking[k] == nil {
		c.lacking[k] = make(map[raft.NodeID]bool)
	}
	c.lacking[k][n] = true
	delete(c.keepers[k], n)
}

// orphaned reports whether no voter holds a key: this one does not, and each of the others has said so. One that
// does not answer may hold it.
func orphaned(c *Core, k shardmap.WrapKeyID) bool {
	if c.held[k] {
		return false
	}
	for _, n := range c.voters() {
		if !c.lacking[k][n] {
			return false
		}
	}
	return true
}

// Custody is who holds the key that wraps that of a root which issues, or is to issue next.
type Custody struct {
	Root shardmap.Root
	// Hold is how many voters of the meta group hold it, as far as is known here, and Want how many should at least.
	Hold, Want int
	// Lost: each voter has said that it does not.
	Lost bool
}

// Custodies returns who holds the keys on which new certificates hang, where the meta group is led.
func Custodies(c *Core) (all []Custody) {
	if c.table == nil || !c.leads {
		return nil
	}
	add := func(r shardmap.Root) {
		hold, want := c.Keepers(r.WrapKey)
		all = append(all, Custody{r, hold, want, orphaned(c, r.WrapKey)})
	}
	if issuing, ok := c.table.Security.Issuing(); ok {
		add(issuing)
	}
	if in, ok := c.incoming(); ok {
		add(in)
	}
	return all
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
