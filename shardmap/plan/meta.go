package plan

// planMeta decides about the meta group. Each node has a copy of it, so a voter is
// replaced by a copy that has what it takes, and loads count for little: its voters
// should be in different zones.
func (c *cluster) planMeta() *group {
	g := new(group)
	c.read(g, &c.table.Meta)
	if len(g.members) == 0 {
		g.fixed = true // no cluster yet
		return g
	}
	c.survey(g)
	c.resume(g)
	c.settle(g)
	if c.settings.Balance == BalanceOn && !g.fixed {
		c.spreadGroup(g)
	}
	if g.fixed || g.began != nobody && c.keeps(g, g.began) {
		return g
	}
	c.elect(g)
	return g
}
