package raft

// Quiet reports whether the group rests: [Group.Tick] is not needed until a call
// of Wake, of Step, or of anything that asks for something.
//
// A group that rests exchanges nothing. Its leader has made sure that all
// members hold the same log and know that it is committed. Rest risks nothing: a
// quiet leader confirms each read like any other. If it is gone, an election
// replaces it as usual, but a quiet follower counts no ticks and will not notice:
// the owner must, whatever happened to the leader. That its node lives proves
// nothing.
func (g *Group) Quiet() bool { return g.replica.resting }

// Wake ends the rest of a group. A leader sends heartbeats, a follower waits
// for them as long as it would for any.
func (g *Group) Wake() { g.replica.wake() }

func (r *replica) wake() {
	l := r.leading
	if l != nil {
		l.idle = 0
	}
	if !r.resting {
		return
	}
	r.resting = false
	if l != nil {
		l.beat()
	} else {
		r.timer.reset()
	}
}

// wakes reports whether m ends a rest. Every message does, except answers that
// were under way when the rest began, and the one that says to rest.
func (m *Message) wakes() bool {
	switch m.Type {
	case MsgHeartbeatAnswer, MsgQuiet:
		return false
	case MsgAppendAnswer:
		return m.Reject
	}
	return true
}

// rest lets the group rest if nothing is left to do, and reports whether it did.
// A replica that misses MsgQuiet, or was started anew, hears no heartbeats, asks
// for votes, and so wakes the leader.
func (l *leader) rest() bool {
	r := l.replica
	// A follower that rests counts no ticks, so none may depend on them: all must hold
	// the whole log, know that it is committed, and wait for nothing from this leader.
	if r.config.QuietTicks == 0 || l.idle < r.config.QuietTicks || l.reads.pending() > 0 ||
		l.transfer.to != 0 || l.changing() || l.prefersOther() || r.fenced || len(r.syncs.list) > 0 ||
		r.log.applied < r.log.last.Index || r.log.durable < r.log.last.Index {
		return false
	}
	for i := range l.followers.list {
		if p := &l.followers.list[i]; p.match < r.log.last.Index || !l.active(p) {
			return false
		}
	}
	// A learner that is to vote is promoted with a heartbeat.
	for _, learner := range r.members.now().Learners {
		if learner.Goal == GoalVoter {
			return false
		}
	}
	for i := range l.followers.list {
		r.send(l.followers.list[i].replica, Message{Type: MsgQuiet, Log: r.log.last})
	}
	r.resting = true
	return true
}

// call wakes a leader that rests, for a replica that hears of none and does not
// stand for election. Without it a learner or a fenced voter that was started anew
// would never learn that it has a leader, nor how much is committed. Its PreVote
// asks for an election that it does not want; it ignores the answers, and they
// bind nobody. A voter that only lacks entries calls for them with it, see fence.go.
func (r *replica) call() {
	if r.role == RoleFollower {
		r.timer.reset()
	} else {
		r.becomeFollower(r.term, 0) // its campaign, to bear its log, has failed
	}
	if r.term+1 < TermLimit {
		r.askVoters(Message{Type: MsgPreVote, Term: r.term + 1, Reject: lacks(r)})
	}
}

// stepQuiet rests if this log is the leader's: then all of it is committed,
// for an entry's id stands for all that is before it.
func (r *replica) stepQuiet(m *Message) error {
	if err := r.obey(m.From); err != nil {
		return err
	}
	if r.log.last == m.Log {
		r.commitTo(m.Log.Index)
		// A question that waits needs ticks, to be asked again if it is lost.
		r.resting = r.lead == m.From && len(r.questions.list) == 0
	}
	return nil
}
