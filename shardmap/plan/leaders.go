package plan

import "slices"

// lead decides which node each group shall prefer. A preference stays if it can: each
// change costs a transfer of leadership.
func (c *cluster) lead() {
	var open []*group
	for i := range c.groups {
		g := &c.groups[i]
		if p := g.began; g.fixed || p != nobody && c.keeps(g, p) {
			if p != nobody {
				c.nodes[p].leads = append(c.nodes[p].leads, g)
			}
			g.pinned = g.known.Pinned
			continue
		}
		g.prefer = nobody
		open = append(open, g)
	}
	for _, g := range open {
		c.elect(g)
	}
	if c.settings.Balance == BalanceOff {
		return
	}
	seen, from := make([]bool, len(c.nodes)), make([]hop, len(c.nodes))
	stuck := make([]bool, len(c.nodes))
	for {
		x := nobody
		for i := range c.nodes {
			if n := int32(i); c.nodes[n].takes && !stuck[n] && (x == nobody || len(c.nodes[n].leads) > len(c.nodes[x].leads)) {
				x = n
			}
		}
		if x == nobody {
			return
		}
		clear(seen)
		if !c.leadChain(x, seen, from) {
			// Those that x reaches lead no less than it, less one. What they reach it reaches,
			// so they are stuck with it unless they lead more.
			for n := range stuck {
				stuck[n] = stuck[n] || seen[n] && len(c.nodes[n].leads) <= len(c.nodes[x].leads)
			}
		}
	}
}

// keeps reports whether n may go on as g's preferred leader.
func (c *cluster) keeps(g *group, n int32) bool {
	m, ok := g.on(n)
	return ok && !m.learner && m.state != Lost && c.nodes[n].stays && slices.Contains(g.want, n)
}

// fit reports whether n, which is to hold a voter of g, could lead it soon.
func (c *cluster) fit(g *group, n int32) bool {
	m, ok := g.on(n)
	return c.nodes[n].takes && (!ok || m.learner || m.state == Intact || n == g.renew)
}

// elect gives g to the one of its nodes that leads the fewest.
func (c *cluster) elect(g *group) {
	best := nobody
	for _, n := range g.want {
		if c.fit(g, n) && (best == nobody || len(c.nodes[n].leads) < len(c.nodes[best].leads) ||
			len(c.nodes[n].leads) == len(c.nodes[best].leads) && n < best) {
			best = n
		}
	}
	if best == nobody {
		g.prefer = g.began // nobody else can
		return
	}
	g.prefer = best
	if !g.meta() {
		c.nodes[best].leads = append(c.nodes[best].leads, g)
	}
}

// leadChain makes x lead one group less and a node that leads at least two fewer one
// more, over the fewest nodes between. Each group hands its lead from one of its nodes
// to another; where no chain is left, no other choice of leaders is more even.
func (c *cluster) leadChain(x int32, seen []bool, from []hop) bool {
	limit := len(c.nodes[x].leads) - 2
	seen[x] = true
	queue := []int32{x}
	for len(queue) > 0 {
		u := queue[0]
		queue = queue[1:]
		for _, g := range c.nodes[u].leads {
			if g.pinned || g.fixed {
				continue
			}
			for _, v := range g.want {
				c.work++
				if seen[v] || !c.fit(g, v) {
					continue
				}
				seen[v], from[v] = true, hop{u, g}
				if len(c.nodes[v].leads) > limit {
					queue = append(queue, v)
					continue
				}
				for v != x {
					h := from[v]
					c.nodes[h.node].leads = without(c.nodes[h.node].leads, h.group)
					c.nodes[v].leads = append(c.nodes[v].leads, h.group)
					h.group.prefer = v
					v = h.node
				}
				return true
			}
		}
	}
	return false
}
