package raft

import "fmt"

// Step hands in a message that arrived. It refuses, before anything changes, a
// message that no correct replica sends and one whose term is too far ahead, see
// [TermReach]. It keeps the entries of m.
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
			// They speak of a term that nobody has yet, so they raise none.
		case m.Type == MsgVote && r.heardLeader(m.From):
			// Stickiness: a candidate that lost touch does not unseat a leader
			// that a majority hears (the dissertation, section 4.2.3). Its term is
			// not taken either, for that alone would depose the leader.
			r.promise(m.From, Message{Type: MsgVoteAnswer, Reject: true})
			return nil
		default:
			// A later term ends whatever this replica was in its own (the paper,
			// section 5.1). The leader is not known until it speaks for itself.
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
		if m.From == r.lead { // no other replica can know
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

// stepForLeader handles what is sent to leaders only. A replica that no longer
// leads ignores answers and refuses questions.
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

// stepOld handles a message of an earlier term. It answers questions in the
// present term, so that a deposed leader steps down, and so that a group catches up
// with a replica whose term ran ahead.
func (r *replica) stepOld(m *Message) error {
	switch m.Type {
	case MsgAppend:
		// It names no log id: the sender may lead again by now, and would take the
		// answer to an append of that term for one to an append of this term.
		r.promise(m.From, Message{Type: MsgAppendAnswer, Reject: true})
	case MsgHeartbeat:
		// It names no round, for the same reason: rounds are counted anew in each term,
		// and one of that term would confirm reads of this one that began since.
		r.send(m.From, Message{Type: MsgHeartbeatAnswer})
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
			r.stepVoteAnswer(m) // a no carries its sender's term
		}
	}
	return nil
}
