package raft

// Quiet says whether the group rests: [Group.Tick] is not needed until a call
// of Wake, of Step, or of anything that asks for something.
//
// A group that rests exchanges nothing. Its leader has seen to it that all
// members hold the same log and know that it is committed. Nothing is risked
// by it: a quiet leader confirms each read as any other. One that is gone is
// replaced by elections as usual, but a quiet follower counts no ticks and will
// not notice: the owner must, whatever became of the leader. That its node lives
// proves nothing.
func (g *Group) Quiet() bool { return g.resting }

// Wake ends the rest of a group. A leader sends heartbeats, a follower waits
// for them as long as it would for any.
func (g *Group) Wake() { g.wake() }

func (g *Group) wake() {
	g.idle = 0
	if !g.resting {
		return
	}
	g.resting = false
	if g.role == RoleLeader {
		g.beat()
	} else {
		g.timer.reset()
	}
}

// wakeFor ends the rest for a message, unless it is an answer that was under
// way when the rest began, or says to rest.
func (g *Group) wakeFor(m *Message) {
	switch m.Type {
	case MsgHeartbeatAnswer, MsgQuiet:
		return
	case MsgAppendAnswer:
		if !m.Reject {
			return
		}
	}
	g.wake()
}

// rest lets the group rest if nothing is left to do, and says whether it did.
// A replica that misses the word of it, or was started anew, hears no heartbeats,
// asks for votes, and so wakes the leader.
func (g *Group) rest() bool {
	c, l := &g.config, &g.log
	if c.QuietTicks == 0 || g.idle < c.QuietTicks || g.reads.pending() > 0 ||
		g.transfer.to != 0 || g.changing() || g.prefersOther() || len(g.syncs.list) > 0 ||
		l.applied < l.last.Index || l.durable < l.last.Index {
		return false
	}
	for i := range g.followers.list {
		if p := &g.followers.list[i]; p.match < l.last.Index || !g.active(p) {
			return false
		}
	}
	for _, learner := range g.members.now().Learners {
		if learner.Goal == GoalVoter {
			return false
		}
	}
	for i := range g.followers.list {
		g.send(g.followers.list[i].replica, Message{Type: MsgQuiet, Log: l.last})
	}
	g.resting = true
	return true
}

// call wakes a leader that rests, for a replica that hears of none and can't
// stand for election: a learner that was started anew would never learn that it
// has a leader, nor how much is committed. Its PreVote asks for an election that
// it does not want and has no use for the answers, which nobody is bound by.
func (g *Group) call() {
	g.timer.reset()
	if g.term+1 < TermLimit {
		g.askVoters(Message{Type: MsgPreVote, Term: g.term + 1})
	}
}

// stepQuiet rests if this log is the leader's: then all of it is committed,
// for an entry's id stands for all that is before it.
func (g *Group) stepQuiet(m *Message) error {
	if err := g.obey(m.From); err != nil {
		return err
	}
	if g.log.last == m.Log {
		g.commitTo(m.Log.Index)
		g.resting = g.lead == m.From && len(g.questions.list) == 0
	}
	return nil
}
