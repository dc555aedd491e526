package raft

import "fmt"

// preferPause is how many election timeouts pass between two attempts to carry
// out a preference: each one that fails costs up to one of them in which no
// proposal is taken.
const preferPause = 10

// transfer is leadership on its way to another replica (the dissertation,
// section 3.10). The zero value is none.
type transfer struct {
	to    ReplicaID
	ticks int
	limit int  // ticks after which it is given up
	sent  bool // TimeoutNow, since the last heartbeats
}

// Transfer hands leadership over to a voter, or, if to is 0, to the active one
// that has the most of the log. Until it leads, or an election timeout has
// passed, this leader takes no proposals ([ErrTransferring]).
func (g *Group) Transfer(to ReplicaID) error {
	if g.stopped != nil {
		return g.stopped
	}
	if g.role != RoleLeader {
		return ErrNotLeader
	}
	if to == g.config.Self || to != 0 && to == g.transfer.to {
		return nil
	}
	if g.transfer.to != 0 {
		return fmt.Errorf("%w: to replica %d", ErrTransferring, g.transfer.to)
	}
	if to == 0 {
		if to = g.heir(); to == 0 {
			return fmt.Errorf("%w: no other voter was heard of within an election timeout", ErrTarget)
		}
	}
	if find(g.members.now().Voters, to) < 0 {
		return fmt.Errorf("%w: replica %d is no voter", ErrTarget, to)
	}
	if !g.active(g.followers.of(to)) {
		return fmt.Errorf("%w: replica %d was not heard of within an election timeout", ErrTarget, to)
	}
	g.wake()
	g.beginTransfer(to, g.config.ElectionTicks)
	return nil
}

// Transferee returns to whom leadership is on its way, or 0.
func (g *Group) Transferee() ReplicaID { return g.transfer.to }

// TransfereeLost tells that the node of a replica is gone: if leadership was on
// its way there, this leader leads on, and takes proposals again.
func (g *Group) TransfereeLost(id ReplicaID) {
	if g.stopped == nil && id != 0 && g.transfer.to == id {
		g.transfer = transfer{}
	}
}

func (g *Group) beginTransfer(to ReplicaID, limit int) {
	g.transfer = transfer{to: to, limit: limit}
	g.sendDue = true
	g.handOver()
}

// heir returns the active voter that has the most of the log, or 0. Among
// equals the order of turns decides, so that the leaders of many groups do not
// all go to one node.
func (g *Group) heir() (best ReplicaID) {
	var match uint64
	for _, id := range g.turns(g.config.Self) {
		if p := g.followers.of(id); g.active(p) && (best == 0 || p.match > match) {
			best, match = id, p.match
		}
	}
	return best
}

// handOver tells the transferee to stand for election once it has the whole
// log. To be kind to those who wait for an answer here, all that was proposed
// is first committed and applied, unless that takes long or this disk stalls.
//
// Nothing depends on the transferee's obedience, nor on there being one: what
// follows is an election like any other. Only the loyalty of the voters to
// this leader is put aside, for it wishes so itself.
func (g *Group) handOver() {
	t := &g.transfer
	if t.to == 0 || t.sent || g.followers.of(t.to).match < g.log.last.Index {
		return
	}
	if g.log.applied < g.log.last.Index && t.ticks < g.config.ElectionTicks/2 && !g.stalled() {
		return
	}
	t.sent = true
	g.sendTimeoutNow(t.to)
}

func (g *Group) sendTimeoutNow(to ReplicaID) {
	g.send(to, Message{Type: MsgTimeoutNow, Log: g.log.last})
}

// transferTick gives up a transfer that takes too long: this leader leads on.
// That is safe even if TimeoutNow is still on its way.
func (g *Group) transferTick() {
	t := &g.transfer
	if t.to == 0 {
		return
	}
	if t.ticks++; t.ticks >= t.limit {
		g.transfer = transfer{}
		return
	}
	if t.ticks%g.config.HeartbeatTicks == 0 {
		t.sent = false // it may be lost; a second one is of a term that is over
	}
	g.handOver()
}

// stepTimeoutNow stands for election without asking before, for the leader
// wants it. One whose disk stalls could not vote for itself, and lets it be; so
// does one that is told so by another than its leader.
func (g *Group) stepTimeoutNow(m *Message) {
	if g.lead != 0 && g.lead != m.From {
		return
	}
	if (g.role == RoleFollower || g.role == RolePreCandidate) && g.electable() && g.term+1 < TermLimit {
		g.campaign(MsgTransferVote)
	}
}

// Prefer names the replica that should lead, 0 for none. It is a wish and no
// condition: any voter may be elected, and then transfers leadership to the
// preferred one when that is active, has caught up and keeps up.
func (g *Group) Prefer(id ReplicaID) {
	if g.stopped != nil || g.preferred == id {
		return
	}
	g.preferred = id
	g.wake()
}

// prefersOther says whether another replica should lead.
func (g *Group) prefersOther() bool {
	return g.preferred != 0 && g.preferred != g.config.Self && find(g.members.now().Voters, g.preferred) >= 0
}

func (g *Group) preferTick() {
	if !g.prefersOther() || g.ticks < g.preferAt || g.transfer.to != 0 || g.changing() || g.stalled() {
		return
	}
	p := g.followers.of(g.preferred)
	caughtUp := p.state == ProgressReplicate && p.match >= g.log.commit && p.next > g.log.last.Index
	stalls := p.match < g.log.last.Index && g.ticks-p.moved >= 2*uint64(g.config.HeartbeatTicks)
	if g.active(p) && caughtUp && !stalls {
		g.preferAt = g.ticks + preferPause*uint64(g.config.ElectionTicks)
		// It is only a wish: nobody shall wait for it for long.
		g.beginTransfer(p.replica, max(g.config.ElectionTicks/4, g.config.HeartbeatTicks+1))
	}
}

// stalled says whether this replica's disk has not answered for so long that
// another one should lead. Its own promises are late; those of a majority
// without it are not, so nothing is wrong yet but the time that it takes.
func (g *Group) stalled() bool { return g.syncs.ticks(g.ticks) >= max(g.config.ElectionTicks/2, 1) }

// stallTick hands over when this leader's disk stalls, or, if nobody takes it,
// steps down after an election timeout; it says whether it did. A sole voter
// has nobody to leave to.
func (g *Group) stallTick() bool {
	m := g.members.now()
	if !g.stalled() || len(m.Voters) == 1 && len(m.Outgoing) == 0 {
		return false
	}
	if g.syncs.ticks(g.ticks) >= g.config.ElectionTicks {
		g.becomeFollower(g.term, 0)
		return true
	}
	if g.transfer.to == 0 {
		if to := g.heir(); to != 0 {
			g.beginTransfer(to, g.config.ElectionTicks)
		}
	}
	return false
}
