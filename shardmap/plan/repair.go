package plan

import (
	"cmp"
	"fmt"
	"slices"
)

func (c *cluster) problem(g *group, remedy, format string, a ...any) {
	c.problems = append(c.problems, Problem{g.row.ID, fmt.Sprintf("group %d ", g.row.ID) + fmt.Sprintf(format, a...), remedy})
}

// gone reports whether m never counts again, as far as anybody knows.
func (c *cluster) gone(m member) bool {
	return m.node == nobody || m.state == Lost || c.known.Nodes[m.at].Health == Dead || c.givenUp(m)
}

// givenUp reports whether m goes although no other node can take its place. Were it to
// wait for one, the row of its node would keep the host out that is to take its place, for
// as long as that has the name or the address of the old one.
func (c *cluster) givenUp(m member) bool {
	return m.node != nobody && c.known.Nodes[m.at].Health == Gone
}

// blame says for a person why m has to go.
func (c *cluster) blame(m member) string {
	switch {
	case m.node == nobody:
		return fmt.Sprintf("node %s has left the cluster", m.at)
	case m.state == Lost:
		return "the promises of the replica on " + c.nodes[m.node].name + " are lost"
	}
	return c.nodes[m.node].name + " " + c.nodes[m.node].away
}

// survey finds out which replicas of a group can stay.
func (c *cluster) survey(g *group) {
	q := g.quorum()
	g.whole = q.Voters > 0 && q.Live == q.Voters
	if _, told := c.known.Groups[g.row.ID]; !told {
		c.fix(g)
		c.problem(g, RemedyReport, "is left alone: nothing is known of its replicas")
		return
	}
	if q.Spare() < 0 {
		c.fix(g)
		c.problem(g, "start the nodes of its other voters; if they are gone for good, see muster recover --help",
			"has no majority: %d of %d voters are live", q.Live, q.Voters)
		return
	}
	if g.whole {
		// Somebody began to move a replica, and its new node is away for a moment. To begin
		// elsewhere would send everything twice. A group that is short of a voter does not wait.
		for _, m := range g.members {
			if m.learner && !m.copy && m.node != nobody && m.state != Lost && c.nodes[m.node].stays && !c.nodes[m.node].takes {
				c.fix(g)
				c.problem(g, "wait for it, or until it counts as dead", "waits for %s, where a learner is on its way to become a voter", c.nodes[m.node].name)
				return
			}
		}
	}
	var waits member
	for _, m := range g.members {
		if !m.learner && !m.counts && !c.gone(m) {
			waits = m
		}
	}
	for _, m := range g.members {
		switch {
		case m.learner:
		case c.gone(m):
			g.bad = append(g.bad, m)
		case c.nodes[m.node].stays:
			c.place(g, m.node)
		case waits.id != 0:
			// What was asked for waits for what is about to come back.
			c.place(g, m.node)
			c.problem(g, "wait for it, or until it counts as dead", "leaves %s once its voter on %s is back", c.nodes[m.node].name, c.nodes[waits.node].name)
		default:
			g.bad = append(g.bad, m)
		}
	}
	slices.SortStableFunc(g.bad, func(a, b member) int { return cmp.Compare(c.rank(a), c.rank(b)) })
}

// fix leaves a group as it is.
func (c *cluster) fix(g *group) {
	g.fixed = true
	for _, m := range g.members {
		if !m.learner && m.node != nobody {
			c.place(g, m.node)
		}
	}
}

// rank sorts what has to go, the most urgent first.
func (c *cluster) rank(m member) int {
	switch {
	case m.node == nobody || m.state != Lost && c.gone(m):
		return 0
	case m.state == Lost:
		return 1
	}
	return 2
}

// resume decides how many voters a group shall have, and keeps to what was begun: a
// learner on its way to become a voter may have been sent everything, so it is as good as
// placed. Which voter goes for it is still open. All groups do this before any of them
// chooses a new node, so that each sees what the nodes will carry.
func (c *cluster) resume(g *group) {
	if g.fixed {
		return
	}
	g.size = c.size(g)
	var begun []int32
	for _, m := range g.members {
		if m.learner && !m.copy && m.node != nobody && c.nodes[m.node].takes && m.state != Lost {
			begun = append(begun, m.node)
		}
	}
	// A whole group is moved one replica at a time. Several learners were to make it
	// larger, which is not wanted any more.
	moves := len(begun) == 1 && g.whole && c.settings.Balance == BalanceOn
	for _, n := range begun {
		if moves || len(g.want) < g.size {
			c.place(g, n)
		}
	}
}

// settle takes out what is too much, and fills what is missing.
func (c *cluster) settle(g *group) {
	if g.fixed {
		return
	}
	size := g.size
	for len(g.want) > size {
		c.unplace(g, c.worst(g))
	}
	for len(g.want) < size {
		n := c.best(g)
		if n == nobody {
			break
		}
		c.place(g, n)
	}
	c.leave(g, size)
	has := len(g.want) - c.lame(g)
	if short := size - len(g.want); short > 0 && slices.ContainsFunc(g.bad, c.givenUp) {
		has += short // that is what was asked for
	}
	if has < c.target(g) {
		c.problem(g, RemedyAdd, "has %d of %d replicas that may stay", has, c.target(g))
	} else if i := slices.IndexFunc(g.members, func(m member) bool { return m.wanted }); i >= 0 {
		c.problem(g, "wait for its other voters, or until they count as dead", "keeps a voter for now although %s", c.blame(g.members[i]))
	}
}

// target is how many voters the settings ask for, or a person.
func (c *cluster) target(g *group) int {
	if g.known.Voters > 0 {
		return g.known.Voters
	}
	if g.meta() {
		return c.settings.MetaVoters
	}
	return c.settings.Replicas
}

// size returns how many voters g shall have: what the settings ask for, or what
// the nodes allow, then odd unless it is even today; never fewer than today for
// want of nodes.
func (c *cluster) size(g *group) (size int) {
	target, voters := c.target(g), g.quorum().Voters
	spare := c.taking
	waits := false
	for _, m := range g.members {
		if m.node == nobody {
			continue
		}
		if c.nodes[m.node].takes && (!m.learner || m.copy && !g.meta()) {
			spare-- // a second one of the group can't stand there
		}
		waits = waits || !m.learner && !m.counts && !c.gone(m)
	}
	can := len(g.want) + spare
	switch {
	case waits:
		return voters // the number changes only when all answer
	case can >= target || voters >= target:
		size = target
	default:
		size = max(voters, can-1+can%2)
	}
	if size != voters {
		g.why = fmt.Sprintf("%d voters are wanted, it has %d", target, voters)
	}
	return size
}

// leave decides what becomes of voters that should go while nobody can take their
// place. One whose promises are lost is made anew on its own node; of the others the
// least urgent stay, so that the group is never smaller for want of a node. One that is
// given up goes all the same: without it the group survives no fewer losses.
func (c *cluster) leave(g *group, size int) {
	for i := len(g.bad) - 1; i >= 0 && len(g.want) < size; i-- {
		if m := g.bad[i]; m.state == Lost && m.node != nobody && c.nodes[m.node].takes && g.renew == nobody {
			g.renew = m.node
			c.place(g, m.node)
		}
	}
	stay := size - len(g.want)
	for i := len(g.bad) - 1; i >= 0 && stay > 0; i-- {
		m := g.bad[i]
		if m.node == g.renew && m.node != nobody || c.givenUp(m) {
			continue
		}
		for j := range g.members {
			if g.members[j].id == m.id {
				g.members[j].wanted = true
			}
		}
		if m.node != nobody {
			c.place(g, m.node)
		}
		g.bad = slices.Delete(g.bad, i, i+1)
		stay--
	}
}

// lame counts those of want that should not be there.
func (c *cluster) lame(g *group) (k int) {
	for _, m := range g.members {
		if m.wanted && m.node != nobody {
			k++
		}
	}
	return k
}
