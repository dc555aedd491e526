package client

import (
	"time"

	"muster/repl/wire"
)

// What is for the leader of the meta group needs no slot table: any node names that
// leader, and an order has to reach it in a cluster whose groups are in trouble.

// meta finds the leader of the meta group.
type meta struct {
	core   *Core
	leader Peer // that was told of last; NoPeer if none was, or it leads no more
}

// route sends c to the leader or, while that is not known, to any node.
func (m *meta) route(now time.Duration, c *Call) {
	k := m.core
	if m.leader != NoPeer {
		if p := k.peers.resolve(m.leader); !k.peers.all[p].resting(now) {
			k.sendTo(now, c, p)
			return
		}
	}
	if p := k.peers.anyUp(c.turn); p != NoPeer {
		k.sendTo(now, c, p)
		return
	}
	k.park(c, onTable, k.peers.dialOne(now)) // until some peer is up
}

// refused handles the refusal of a call that is for the leader.
func (m *meta) refused(now time.Duration, c *Call, from Peer, e *wire.Error) {
	k := m.core
	switch {
	case e.Code == wire.CodeNotLeader:
		m.notLeader(now, c, from, e)
	case e.Code == wire.CodeMaybeApplied && !c.Write:
		k.askOthers(now, c)
	case e.Retry() == wire.RetryNever:
		// Of what may have been applied too: it has no session, so if it were sent again
		// it could be done again. Its sender looks first at what became of it.
		k.todo.finish(c, e)
	case e.Code == wire.CodeBusy:
		k.againAfter(now, c, e)
	default:
		m.unlead(from)
		k.refusedByOne(now, c, from, e)
	}
}

// notLeader follows the hint, if there is a new one.
func (m *meta) notLeader(now time.Duration, c *Call, from Peer, e *wire.Error) {
	k := m.core
	m.unlead(from)
	if k.config.Forward == ForwardAlways {
		// Whom it hints at is not dialled from here, and nobody passes an order on.
		if k.config.Elsewhere != "" {
			said := *e
			said.Next += ", or " + k.config.Elsewhere
			e = &said
		}
		k.todo.finish(c, e)
		return
	}
	hint := NoPeer
	if e.LeaderNode != 0 || e.LeaderAddr != "" {
		hint = k.peers.named(e.LeaderNode, e.LeaderAddr)
	}
	if hint == NoPeer || hint == from || c.hops >= HopsMax {
		k.askOthers(now, c)
		return
	}
	c.hops++
	m.leader = hint
	k.route(now, c)
}

// unlead notes that p does not lead.
func (m *meta) unlead(p Peer) {
	if m.leader != NoPeer && m.core.peers.resolve(m.leader) == p {
		m.leader = NoPeer
	}
}
