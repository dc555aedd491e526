package plan

import "slices"

// same counts replicas of g in a zone, but for the one on node except.
func (c *cluster) same(g *group, zone int, except int32) (k int) {
	for _, n := range g.want {
		if n != except && c.nodes[n].zone == zone {
			k++
		}
	}
	return k
}

// free reports whether a new replica of g may stand on n.
func (c *cluster) free(g *group, n int32) bool {
	c.work++
	if !c.nodes[n].takes || slices.Contains(g.want, n) {
		return false
	}
	m, ok := g.on(n)
	if !ok || g.meta() && m.learner {
		return true
	}
	// A copy is in the way. So is a voter that lost its promises, until it is removed.
	// A voter that only moves away is not: staying is always possible.
	return !m.copy && m.state != Lost
}

// movable reports whether g's replica on n may stand elsewhere instead. A replica
// that is new anyway may stand anywhere; one that is there moves only out of a group
// whose voters are all live. What was begun is finished, wherever it would be begun now.
func (c *cluster) movable(g *group, n int32) bool {
	switch {
	case g.fixed, n == g.renew, !c.nodes[n].takes:
		return false
	case g.known.Pinned && n == g.began, g.begun(n):
		return false
	}
	return g.whole || !g.home(n)
}

// best returns the node for one more replica of g: in the zone that has the
// fewest of them, then where the fewest replicas are; of a group that has a copy
// everywhere, then where the copy has caught up. It looks at each node: 3,000 missing
// replicas on 1,000 nodes are three million looks, some tens of milliseconds.
func (c *cluster) best(g *group) int32 {
	found, least := nobody, [3]int{}
	for i := range c.nodes {
		n := int32(i)
		if !c.free(g, n) {
			continue
		}
		key := [3]int{c.same(g, c.nodes[n].zone, nobody), 0, c.nodes[n].load()}
		if m, ok := g.on(n); g.meta() && (!ok || m.state != Intact) {
			key[1] = 1
		}
		if found == nobody || slices.Compare(key[:], least[:]) < 0 {
			found, least = n, key
		}
	}
	return found
}

// worst returns the node of g that can best be done without: in the zone that has
// the most of them, then where the most replicas are. The preferred leader goes last of
// equals, a learner after the voters, and the leader that a person chose after all.
func (c *cluster) worst(g *group) int32 {
	found, most := nobody, [4]int{}
	for _, n := range g.want {
		key := [4]int{2, c.same(g, c.nodes[n].zone, nobody), c.nodes[n].load(), 1}
		if g.begun(n) {
			key[0] = 1
		}
		if n == g.began {
			key[3] = 0
			if g.known.Pinned {
				key[0] = 0
			}
		}
		if found == nobody || slices.Compare(key[:], most[:]) > 0 {
			found, most = n, key
		}
	}
	return found
}

// spread moves replicas of groups that could be in more zones than they are.
func (c *cluster) spread() {
	if len(c.zones) < 2 {
		return
	}
	for i := range c.groups {
		c.spreadGroup(&c.groups[i])
	}
}

// spreadGroup takes one replica after the other out of a zone with several, as long as
// another zone has fewer. Each move lowers the number of pairs in one zone, so it ends.
func (c *cluster) spreadGroup(g *group) {
	for {
		from, to, least := nobody, nobody, [3]int{}
		for _, n := range g.want {
			if !c.movable(g, n) {
				continue
			}
			crowd := c.same(g, c.nodes[n].zone, n)
			if crowd == 0 {
				continue
			}
			for i := range c.nodes {
				m := int32(i)
				gain := c.same(g, c.nodes[m].zone, n) - crowd
				if gain >= 0 || !c.free(g, m) {
					continue
				}
				key := [3]int{gain, -c.nodes[n].load(), c.nodes[m].load()}
				if from == nobody || slices.Compare(key[:], least[:]) < 0 {
					from, to, least = n, m, key
				}
			}
		}
		if from == nobody {
			return
		}
		c.unplace(g, from)
		c.place(g, to)
		g.zoned = true
	}
}
