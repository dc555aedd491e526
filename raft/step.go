package raft

import "fmt"

// Step hands in a message that arrived. What a replica in order can't have
// sent is refused before anything changes, and so is a term that is too far
// ahead, see [TermReach]. The entries of m are kept.
func (g *Group) Step(m Message) error {
	r := &g.replica
	if r.stopped != nil {
		return r.stopped
	}
	if err := r.check(&m); err != nil {
		return fmt.Errorf("step %s from replica %d: %w", m.Type, m.From, err)
	}
	if r.resting && m.wakes() {
		r.wake()
	}
	if err := r.step(&m); err != nil {
		return fmt.Errorf("step %s from replica %d: %w", m.Type, m.From, err)
	}
	return nil
}

func (r *replica) step(m *Message) error {
	switch {
	case m.Term > r.term:
		switch {
		case m.Type == MsgPreVote, m.Type == MsgPreVoteAnswer && !m.Reject:
			// About a term that nobody has yet.
		case m.Type == MsgVote && r.heardLeader(m.From):
			// Stickiness: the wish of one that lost touch does not unseat a
			// leader that a majority hears.
			r.promise(m.From, Message{Type: MsgVoteAnswer, Reject: true})
			return nil
		default:
			r.becomeFollower(m.Term, 0)
		}
	case m.Term < r.term:
		return r.stepOld(m)
	}
	switch m.Type {
	case MsgPreVote:
		r.stepPreVote(m)
	case MsgVote, MsgTransferVote:
		r.stepVote(m)
	case MsgPreVoteAnswer, MsgVoteAnswer:
		r.stepVoteAnswer(m)
	case MsgAppend:
		return r.stepAppend(m)
	case MsgHeartbeat:
		return r.stepHeartbeat(m)
	case MsgReadIndexAnswer:
		if m.From == r.lead { // nobody else can know
			r.questions.answer(m, &r.out)
		}
	case MsgTimeoutNow:
		r.stepTimeoutNow(m)
	case MsgSnapshot:
		return r.stepSnapshot(m)
	case MsgQuiet:
		return r.stepQuiet(m)
	case MsgAppendAnswer, MsgHeartbeatAnswer, MsgReadIndex:
		return r.stepForLeader(m)
	}
	return nil
}

// stepForLeader takes what only a leader is sent. One that leads no more has no
// use for answers, and refuses what asks.
func (r *replica) stepForLeader(m *Message) error {
	l := r.leading
	switch {
	case l == nil && m.Type == MsgReadIndex:
		r.send(m.From, Message{Type: MsgReadIndexAnswer, Round: m.Round, Reject: true})
	case l == nil:
	case m.Type == MsgAppendAnswer:
		return l.stepAppendAnswer(m)
	case m.Type == MsgHeartbeatAnswer:
		l.stepHeartbeatAnswer(m)
	case m.Type == MsgReadIndex:
		l.stepReadIndex(m)
	}
	return nil
}

// stepOld takes a message of a term that is over. What asks is told the term
// of today, so that a leader of yesterday steps down and a replica that ran
// ahead of its group's terms is caught up with.
func (r *replica) stepOld(m *Message) error {
	switch m.Type {
	case MsgAppend:
		// It names nothing: the leader of then may lead again, and would take what
		// is said about an append of that term for one of this.
		r.promise(m.From, Message{Type: MsgAppendAnswer, Reject: true})
	case MsgHeartbeat:
		r.send(m.From, Message{Type: MsgHeartbeatAnswer, Round: m.Round})
	case MsgPreVote:
		r.send(m.From, Message{Type: MsgPreVoteAnswer, Reject: true})
	case MsgVote, MsgTransferVote:
		r.promise(m.From, Message{Type: MsgVoteAnswer, Reject: true})
	case MsgReadIndex:
		r.send(m.From, Message{Type: MsgReadIndexAnswer, Round: m.Round, Reject: true})
	case MsgAppendAnswer:
		if bug("stale answer accepted") {
			return r.stepForLeader(m)
		}
	case MsgPreVoteAnswer:
		if m.Reject {
			r.stepVoteAnswer(m) // a no carries the term of its sender
		}
	}
	return nil
}
