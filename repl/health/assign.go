package health

import (
	"fmt"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap/registry"
)

const (
	// homelessMax is for how long an instance of which nothing is known may lack a node that
	// can check it, until its status says so: the nodes that have just started are asked first.
	homelessMax = 3 * time.Second
	// homelessKnown is the same for an instance that was up or down. After a start of all
	// nodes the last of them may take a while.
	homelessKnown = 30 * time.Second
)

// assign gives each check to the node that it belongs to: of those that are alive, answer, and
// can run it, the one with the highest rank for it. So only the checks of a node that goes
// move, and two leaders that see the same nodes choose alike.
func (a *Assigner) assign(now time.Duration) {
	a.anew, a.homelessAt = false, never
	before := a.need
	customs := a.needs()
	if a.need && !before {
		a.settleAt = now + settleMax // nobody was asked so far
	}
	unheard := false
	for _, n := range a.fars {
		n.asked = customs || a.need && !n.heard
		unheard = unheard || !n.heard && !n.silent
	}
	if a.need && unheard && now < a.settleAt {
		// What is assigned stays as it is until there is an answer from each, or no time left.
		a.homelessAt = a.settleAt
		return
	}
	for _, n := range a.fars {
		n.load = 0
	}
	for _, l := range a.leads {
		for _, s := range l.order {
			for _, c := range s.checks {
				if c.ttl() || c.broken != "" {
					continue
				}
				n := a.choose(c)
				if n != nil {
					n.load++
				}
				a.place(now, l, c, n)
			}
		}
	}
}

// needs finds out whether nodes have to run checks, and returns whether some are custom.
func (a *Assigner) needs() (customs bool) {
	a.need = false
	for _, l := range a.leads {
		for _, s := range l.order {
			for _, c := range s.checks {
				if !c.ttl() && c.broken == "" {
					a.need, customs = true, customs || c.spec.Type == registry.TypeCustom
				}
			}
		}
	}
	return customs
}

// place makes the assignment of a check be with a node; nil: with none.
func (a *Assigner) place(now time.Duration, l *led, c *check, n *far) {
	if n == nil {
		a.unassign(l, c)
		if c.homeless == never {
			c.homeless = now
		}
		// It is looked at when that has lasted long enough to tell.
		for _, most := range [...]time.Duration{homelessMax, homelessKnown} {
			if at := c.homeless + most; at > now {
				a.homelessAt = min(a.homelessAt, at)
				break
			}
		}
		c.service.look(l, now)
		return
	}
	c.homeless = never
	if c.node == n.node {
		return
	}
	a.unassign(l, c)
	if now-c.ran > carryMax {
		c.ups, c.downs = 0, 0
	}
	a.give(c, n.node)
	x := n.lists[l.group]
	if x == nil {
		x = newList(c.number)
		n.lists[l.group] = x
	}
	x.add(c)
	n.hurry = true
}

// give numbers the assignment of a check to a node.
func (a *Assigner) give(c *check, node raft.NodeID) {
	a.assignment++
	c.node, c.number = node, a.assignment
	if bug(bugVoidCounts) {
		if a.former == nil {
			a.former = map[uint64]*check{}
		}
		a.former[c.number] = c
	}
}

// unassign ends the assignment of a check.
func (a *Assigner) unassign(l *led, c *check) {
	if c.node == 0 {
		return
	}
	if n := a.far(c.node); n != nil {
		if x := n.lists[l.group]; x != nil {
			c.carry(n, x)
			a.assignment++
			x.end(a.assignment, c)
			n.hurry = true
		}
	}
	c.leave()
}

// carry notes, when an assignment ends, up to when the results in a row were in force that the
// next one goes on with. A finding that is not reported yet is one of them.
func (c *check) carry(n *far, x *list) {
	if x.begun(c) {
		c.ran = n.answered
	}
	switch {
	case c.ups+c.downs > 0:
	case c.finding == wire.FindingUp:
		c.ups = uint8(c.spec.Rise)
	case c.finding == wire.FindingDown:
		c.downs = uint8(c.spec.Fall)
	}
}

// leave forgets the assignment, and what was found by it.
func (c *check) leave() {
	c.node, c.number, c.full = 0, 0, false
	c.finding, c.reason, c.changes = 0, "", 0
}

// empty ends all assignments to a node that is not to be told: it is dead, or silent.
func (a *Assigner) empty(n *far) {
	for _, x := range n.lists {
		for _, c := range x.assigned {
			c.carry(n, x)
			c.leave()
		}
	}
	clear(n.lists)
	a.anew = true
}

// Checkers returns which nodes run the checks of a service, as an assigner knows it: those that have taken the assignments
// in force. There are none if the group is not led here in that term.
func Checkers(a *Assigner, g raft.GroupID, term uint64, name string) (all []wire.ServiceChecker) {
	l := a.led(g)
	if l == nil || l.term != term {
		return nil
	}
	s := l.services[name]
	if s == nil {
		return nil
	}
	for _, c := range s.checks {
		n := a.far(c.node) // nil of a check without a node
		if n == nil {
			continue
		}
		if x := n.lists[g]; x != nil && x.begun(c) {
			all = append(all, wire.ServiceChecker{Instance: c.instance.ID, Check: c.version, Node: c.node})
		}
	}
	return all
}

// choose returns the node that a check belongs to, or nil if none can run it.
func (a *Assigner) choose(c *check) (best *far) {
	rank := uint64(0)
	for _, n := range a.fars {
		if n.silent || !n.heard || n.load >= ChecksMax || c.spec.Type == registry.TypeCustom && !n.programs[c.spec.Script] {
			continue
		}
		if r := mix(c.hash ^ mix(uint64(n.node))); best == nil || r > rank {
			best, rank = n, r
		}
	}
	return best
}

// without returns why no node runs a check.
func (c *check) without() string {
	if c.spec.Type == registry.TypeCustom {
		return fmt.Sprintf("no node allows program %s (serve --check %s=PATH)", c.spec.Script, c.spec.Script)
	}
	return "no node can run the check"
}

// hashOf returns the hash of an instance of a service, by FNV-1a. Other builds of a cluster
// need not have the same: who checks is the leader's choice alone.
func hashOf(name, instance string) uint64 {
	const offset, prime = 14695981039346656037, 1099511628211
	h := uint64(offset)
	for _, s := range [...]string{name, "\x00", instance} {
		for i := range len(s) {
			h = (h ^ uint64(s[i])) * prime
		}
	}
	return h
}

// mix spreads the bits of a number, so that the ranks of nodes for one check have nothing to
// do with each other.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// bugVoidCounts is a planted bug: a finding counts whatever assignment it is of.
const bugVoidCounts = "check result of a dead checker counted"

// ofState returns the check that a state is of, or nil if its assignment is not in force.
func (a *Assigner) ofState(n *far, g raft.GroupID, term, number, version uint64) *check {
	if bug(bugVoidCounts) {
		if c := a.former[number]; c != nil && a.led(g) != nil {
			return c.service.byID[c.instance.ID]
		}
		return nil
	}
	l, x := a.led(g), n.lists[g]
	if l == nil || x == nil || l.term != term {
		return nil
	}
	c := x.assigned[number]
	if c == nil || c.version != version {
		return nil
	}
	return c
}
