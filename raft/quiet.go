package raft

// Quiet reports whether the group rests: [Group.Tick] is not needed until a call
// of Wake, of Step, or of anything that asks for something.
//
// A group that rests exchanges nothing. Its leader has seen to it that all
// members hold the same log and know that it is committed. Nothing is risked
// by it: a quiet leader confirms each read as any other. One that is gone is
// replaced by elections as usual, but a quiet follower counts no ticks and will
// not notice: the owner must, whatever became of the leader. That its node lives
// proves nothing.
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

// wakes reports whether m ends a rest: it does, unless it is an answer that was
// under way when the rest began, or says to rest.
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
// A replica that misses the word of it, or was started anew, hears no heartbeats,
// asks for votes, and so wakes the leader.
func (l *leader) rest() bool {
	r := l.replica
	// A follower that rests counts no ticks, so nobody may need one: all must hold the
	// whole log, know of its commit, and wait for nothing of this leader's.
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
// stand for election: a learner or a fenced voter that was started anew would never learn that it
// has a leader, nor how much is committed. Its PreVote asks for an election that
// it does not want and has no use for the answers, which nobody is bound by.
func (r *replica) call() {
	r.timer.reset()
	if r.term+1 < TermLimit {
		r.askVoters(Message{Type: MsgPreVote, Term: r.term + 1})
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
		r.resting = r.lead == m.From && len(r.questions.list) == 0
	}
	return nil
}
