package repl

import (
	"slices"
	"time"

	"muster/raft"
	"muster/repl/wire"
)

// contact is what a host knows of whether another node is there. Heartbeats of
// all groups between two nodes are one message, and it is sent also when all
// groups rest. A node that is silent leads nothing any more. One that is heard of
// may still lack a leader that it had, which rest.go is about.
type contact struct {
	heardAt   time.Duration // on the host's clock
	heardTick uint64
	heard     bool // ever
	silent    bool // not heard of for an election timeout
	fullness  wire.Fullness
	stalled   bool // its disk stands still, as it says
}

// Contacts is what a host knows of the other nodes. It belongs to the goroutine that
// the host belongs to.
type Contacts struct {
	host     *Host
	of       map[raft.NodeID]*contact
	departed []raft.NodeID // have left the table, and are to be forgotten; in order
}

// Contacts returns what the host knows of the other nodes.
func (h *Host) Contacts() *Contacts { return &h.contacts }

// hear notes that a node said something.
func (k *Contacts) hear(n raft.NodeID) {
	c := k.of[n]
	if c == nil {
		return
	}
	news := c.silent || !c.heard
	c.heard, c.heardAt, c.heardTick, c.silent = true, k.host.now, k.host.ticks, false
	if news {
		k.tell(n)
	}
}

// tell tells the owner that a node has fallen silent, or is back.
func (k *Contacts) tell(n raft.NodeID) {
	if f := k.host.cfg.Presence; f != nil {
		f(n)
	}
}

// miss wakes the groups that rest on the word of a node that has fallen
// silent: those that it led, which need a leader, and those led here, which
// have to know whether they still have a majority.
func (k *Contacts) miss() {
	for _, n := range k.host.beats.nodes {
		c := k.of[n]
		if c.silent || k.host.ticks-c.heardTick < uint64(k.host.cfg.ElectionTicks) {
			continue
		}
		c.silent = true
		k.tell(n)
		for _, g := range k.host.order {
			if !g.resting.quiet || g.stopped != nil {
				continue
			}
			leader, _ := g.node(g.lead)
			if leader == n || g.role == raft.RoleLeader && g.livesOn(n) {
				g.core.Wake()
				g.touch()
			}
		}
	}
}

// depart notes which of the nodes before are not among those of now.
func (k *Contacts) depart(before, now []raft.NodeID) {
	all := append(k.departed, before...)
	slices.Sort(all)
	k.departed = slices.DeleteFunc(slices.Compact(all), func(n raft.NodeID) bool { return slices.Contains(now, n) })
}

// forget forgets the nodes that have departed, on disk too: an id is never used again,
// so what a life of one promised matters to nobody. One that a log here still names is
// kept until that has caught up, for what it says may count there.
func (k *Contacts) forget() {
	k.departed = slices.DeleteFunc(k.departed, func(n raft.NodeID) bool {
		if slices.ContainsFunc(k.host.order, func(g *group) bool { return g.stopped == nil && g.livesOn(n) }) {
			return false
		}
		k.host.full.learn(n, wire.FullNot) // nobody has to look out for its disk any more
		delete(k.of, n)
		k.host.lives.forget(n)
		k.host.cfg.Log.Info("node forgotten", "peer", n)
		return true
	})
}

// PeerLost hands in that the connection from a node has closed. It is a hint
// and no proof: its groups are asked whether they would elect another leader.
func (h *Host) PeerLost(n raft.NodeID) { h.contacts.lose(n, missClosed) }

// lose notes that a node leads nothing any more, as far as this host can tell, and why.
func (k *Contacts) lose(n raft.NodeID, why miss) {
	h := k.host
	h.lives.ended(n)
	for _, g := range h.order {
		if leader, _ := g.node(g.lead); leader == n && g.lead != 0 && g.stopped == nil {
			h.Hints.lose(g, why)
		}
		if g.role == raft.RoleLeader && g.stopped == nil {
			g.transfereeLost(n)
		}
	}
}

// PeerReached hands in that there is a connection to a node: what is sent arrives.
func (h *Host) PeerReached(n raft.NodeID) { h.lives.reached(n) }

// ConnectionEnded hands in that one of the connections from a node has closed, be
// there others or not.
func (h *Host) ConnectionEnded(n raft.NodeID) { h.lives.ended(n) }

// transfereeLost ends a transfer of leadership to a node that is gone.
func (g *group) transfereeLost(n raft.NodeID) {
	for i := range g.members.Voters {
		if m := &g.members.Voters[i]; m.Node == n {
			g.core.TransfereeLost(m.Replica)
			g.touch()
		}
	}
}

// PeerBack hands in that there is a connection from a node again.
func (h *Host) PeerBack(n raft.NodeID) {
	h.contacts.hear(n)
	h.lives.reached(n)
	for _, m := range h.mending.list {
		m.hurry()
	}
	for _, g := range h.order {
		if leader, _ := g.node(g.lead); leader == n && g.lead != 0 && g.stopped == nil {
			g.core.LeaderBack()
			g.touch()
		}
	}
}

// handOversMax bounds how often a node that stops hands over one group. It gets a group back from
// another one that stops too. If all of them stop at once, each group would go round between them
// until their time is over: hundreds of elections, for each of all groups. But if others stay, one
// of them has the group after a few: who is asked changes from term to term.
const handOversMax = 3

// HandOver asks the groups that this node leads to go on without it, each with
// the voter that has most of its log, and the same group handOversMax times at most. It
// returns how many groups are on their way to somebody else; when none is left the node
// can stop without anybody noticing, as far as there are others that stay.
func (h *Host) HandOver() (left int) {
	for _, g := range h.order {
		if g.role != raft.RoleLeader || g.stopped != nil {
			continue
		}
		switch {
		case g.core.Transferee() != 0:
			left++
		case g.handOvers < handOversMax && g.core.Transfer(0) == nil:
			g.handOvers++
			left++
		}
		g.touch()
	}
	return left
}

// Present reports whether a node counts as there: it was heard of, and has not been silent for
// an election timeout since. [HostConfig.Presence] tells when that changes.
func (k *Contacts) Present(n raft.NodeID) bool {
	c := k.of[n]
	return c != nil && c.heard && !c.silent
}

// Awaited reports whether it is too soon to tell if a node is there: it was not
// heard of since this host knows of it, and an election timeout has not passed
// since.
func (k *Contacts) Awaited(n raft.NodeID) bool {
	c := k.of[n]
	return c != nil && !c.heard && !c.silent
}

// Heard returns how long ago a node was last heard of; false if never.
func (k *Contacts) Heard(n raft.NodeID, now time.Duration) (time.Duration, bool) {
	c := k.of[n]
	if c == nil || !c.heard {
		return 0, false
	}
	return now - c.heardAt, true
}
