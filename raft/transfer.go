package raft

import "fmt"

// preferPause is how many election timeouts pass between two attempts to carry
// out a preference: while one that fails lasts, up to an election timeout, no
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
	l, err := g.leader()
	if err != nil {
		return err
	}
	return l.handTo(to)
}

func (l *leader) handTo(to ReplicaID) error {
	r := l.replica
	if to == r.config.Self || to != 0 && to == l.transfer.to {
		return nil
	}
	if l.transfer.to != 0 {
		return fmt.Errorf("%w: to replica %d", ErrTransferring, l.transfer.to)
	}
	if to == 0 {
		if to = l.heir(); to == 0 {
			return fmt.Errorf("%w: no other voter was heard of within an election timeout", ErrTarget)
		}
	}
	if find(r.members.now().Voters, to) < 0 {
		return fmt.Errorf("%w: replica %d is no voter", ErrTarget, to)
	}
	if p := l.followers.of(to); p != nil && p.fenced {
		return fmt.Errorf("%w: replica %d is fenced", ErrTarget, to)
	}
	if !l.active(l.followers.of(to)) {
		return fmt.Errorf("%w: replica %d was not heard of within an election timeout", ErrTarget, to)
	}
	r.wake()
	l.beginTransfer(to, r.config.ElectionTicks)
	return nil
}

// Transferee returns to whom leadership is on its way, or 0.
func (g *Group) Transferee() ReplicaID {
	if l := g.replica.leading; l != nil {
		return l.transfer.to
	}
	return 0
}

// TransfereeLost tells the Group that the node of a replica is gone: if leadership
// was on its way there, this leader stays, and takes proposals again.
func (g *Group) TransfereeLost(id ReplicaID) {
	if l := g.replica.leading; l != nil && id != 0 && l.transfer.to == id {
		l.transfer = transfer{}
	}
}

func (l *leader) beginTransfer(to ReplicaID, limit int) {
	l.transfer = transfer{to: to, limit: limit}
	l.sendDue = true
	l.handOver()
}

// heir returns the active voter that may lead and has the most of the log, or 0. Among
// equals the order of turns decides, so that the leaders of many groups do not
// all go to one node.
func (l *leader) heir() (best ReplicaID) {
	r := l.replica
	var match uint64
	for _, id := range r.turns(r.config.Self) {
		if p := l.followers.of(id); l.active(p) && !p.fenced && (best == 0 || p.match > match) {
			best, match = id, p.match
		}
	}
	return best
}

// handOver tells the transferee to stand for election once it has the whole
// log. For the sake of those that wait for an answer here, all that was proposed
// is first committed and applied, unless that takes long or this disk stalls.
//
// Safety does not depend on what the transferee does: what follows is an election
// like any other. Only the voters' loyalty to this leader is set aside, at its own
// wish (the dissertation, section 4.2.3).
func (l *leader) handOver() {
	r := l.replica
	t := &l.transfer
	// Voters refuse a candidate that lacks what they hold (the paper, section 5.4.1).
	if t.to == 0 || t.sent || l.followers.of(t.to).match < r.log.last.Index {
		return
	}
	if r.log.applied < r.log.last.Index && t.ticks < r.config.ElectionTicks/2 && !r.syncs.stalled(r.ticks) {
		return
	}
	t.sent = true
	r.send(t.to, Message{Type: MsgTimeoutNow, Log: r.log.last})
}

// transferTick gives up a transfer that takes too long: this leader stays. That is
// safe even if TimeoutNow is still on its way.
func (l *leader) transferTick() {
	t := &l.transfer
	if t.to == 0 {
		return
	}
	if t.ticks++; t.ticks >= t.limit {
		l.transfer = transfer{}
		return
	}
	if t.ticks%l.replica.config.HeartbeatTicks == 0 {
		t.sent = false // it may be lost; if both arrive, the second is of an earlier term
	}
	l.handOver()
}

// stepTimeoutNow stands for election without a pre-vote, because the leader wants
// it. A replica whose disk stalls could not vote for itself, and ignores it; so does
// one that gets it from a replica other than its leader.
func (r *replica) stepTimeoutNow(m *Message) {
	if r.lead != 0 && r.lead != m.From {
		return
	}
	if (r.role == RoleFollower || r.role == RolePreCandidate) && r.electable() && r.term+1 < TermLimit {
		r.campaign(MsgTransferVote)
	}
}

// Prefer names the replica that should lead, 0 for none. It is a wish and no
// condition: any voter may be elected, and then transfers leadership to the
// preferred one when that is active, has caught up and keeps up.
func (g *Group) Prefer(id ReplicaID) {
	r := &g.replica
	if r.stopped != nil || r.preferred == id {
		return
	}
	r.preferred = id
	r.wake()
}

// prefersOther reports whether another replica should lead, and may.
func (l *leader) prefersOther() bool {
	r := l.replica
	return r.preferred != 0 && r.preferred != r.config.Self && find(r.members.now().Voters, r.preferred) >= 0 &&
		!l.followers.of(r.preferred).fenced
}

func (l *leader) preferTick() {
	r := l.replica
	if !l.prefersOther() || r.ticks < l.preferAt || l.transfer.to != 0 || l.changing() || r.fenced || r.syncs.stalled(r.ticks) {
		return
	}
	p := l.followers.of(r.preferred)
	caughtUp := p.state == ProgressReplicate && p.match >= r.log.commit && p.next > r.log.last.Index
	stalls := p.match < r.log.last.Index && r.ticks-p.moved >= 2*uint64(r.config.HeartbeatTicks)
	if l.active(p) && caughtUp && !stalls {
		l.preferAt = r.ticks + preferPause*uint64(r.config.ElectionTicks)
		// It is only a wish, so no proposal is to wait for it for long.
		l.beginTransfer(p.replica, max(r.config.ElectionTicks/4, r.config.HeartbeatTicks+1))
	}
}

// leaveTick hands over when this leader should not lead, because its disk stalls or
// it is fenced. If nobody takes over it steps down after an election timeout; it
// reports whether it did. A sole voter whose disk stalls has no successor, and what
// it says is still right.
func (l *leader) leaveTick() bool {
	r := l.replica
	m := r.members.now()
	waits := 0
	if r.syncs.stalled(r.ticks) && (len(m.Voters) > 1 || len(m.Outgoing) > 0) {
		waits = r.syncs.ticks(r.ticks)
	}
	if r.fenced {
		l.leaving++
		waits = max(waits, l.leaving)
	} else {
		l.leaving = 0
	}
	if waits == 0 {
		return false
	}
	if waits >= r.config.ElectionTicks {
		// Nobody took over, and heartbeats keep the others from electing a leader that
		// can do what this one can't.
		r.becomeFollower(r.term, 0)
		return true
	}
	if l.transfer.to == 0 {
		if to := l.heir(); to != 0 {
			l.beginTransfer(to, r.config.ElectionTicks)
		}
	}
	return false
}

// handsOver returns why this leader takes nothing new, or nil.
func (l *leader) handsOver() error {
	switch {
	case l.transfer.to != 0:
		return fmt.Errorf("%w: to replica %d", ErrTransferring, l.transfer.to)
	case l.replica.fenced && !bug("bearer takes proposals"):
		return fmt.Errorf("%w: this replica is not to lead", ErrTransferring)
	}
	return nil
}
