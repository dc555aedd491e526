package raft

import "fmt"

// Step hands in a message that arrived. What a replica in order can't have
// sent is refused before anything changes, and so is a term that is too far
// ahead, see [TermReach]. The entries of m are kept.
func (g *Group) Step(m Message) error {
	if g.stopped != nil {
		return g.stopped
	}
	if err := g.check(&m); err != nil {
		return fmt.Errorf("step %s from replica %d: %w", m.Type, m.From, err)
	}
	if g.resting {
		g.wakeFor(&m)
	}
	if err := g.step(&m); err != nil {
		return fmt.Errorf("step %s from replica %d: %w", m.Type, m.From, err)
	}
	return nil
}

func (g *Group) step(m *Message) error {
	switch {
	case m.Term > g.term:
		switch {
		case m.Type == MsgPreVote, m.Type == MsgPreVoteAnswer && !m.Reject:
			// About a term that nobody has yet.
		case m.Type == MsgVote && g.heardLeader(m.From):
			// Stickiness: the wish of one that lost touch does not unseat a
			// leader that a majority hears.
			g.promise(m.From, Message{Type: MsgVoteAnswer, Reject: true})
			return nil
		default:
			g.becomeFollower(m.Term, 0)
		}
	case m.Term < g.term:
		return g.stepOld(m)
	}
	switch m.Type {
	case MsgPreVote:
		g.stepPreVote(m)
	case MsgVote, MsgTransferVote:
		g.stepVote(m)
	case MsgPreVoteAnswer, MsgVoteAnswer:
		g.stepVoteAnswer(m)
	case MsgAppend:
		return g.stepAppend(m)
	case MsgHeartbeat:
		return g.stepHeartbeat(m)
	case MsgAppendAnswer:
		return g.stepAppendAnswer(m)
	case MsgHeartbeatAnswer:
		g.stepHeartbeatAnswer(m)
	case MsgReadIndex:
		g.stepReadIndex(m)
	case MsgReadIndexAnswer:
		g.stepReadIndexAnswer(m)
	case MsgTimeoutNow:
		g.stepTimeoutNow(m)
	case MsgSnapshot:
		return g.stepSnapshot(m)
	case MsgQuiet:
		return g.stepQuiet(m)
	}
	return nil
}

// stepOld takes a message of a term that is over. What asks is told the term
// of today, so that a leader of yesterday steps down and a replica that ran
// ahead of its group's terms is caught up with.
func (g *Group) stepOld(m *Message) error {
	switch m.Type {
	case MsgAppend:
		// It names nothing: who led then may lead again, and would take what
		// is said about an append of that term for one of this.
		g.promise(m.From, Message{Type: MsgAppendAnswer, Reject: true})
	case MsgHeartbeat:
		g.send(m.From, Message{Type: MsgHeartbeatAnswer, Round: m.Round})
	case MsgPreVote:
		g.send(m.From, Message{Type: MsgPreVoteAnswer, Reject: true})
	case MsgVote, MsgTransferVote:
		g.promise(m.From, Message{Type: MsgVoteAnswer, Reject: true})
	case MsgReadIndex:
		g.send(m.From, Message{Type: MsgReadIndexAnswer, Round: m.Round, Reject: true})
	case MsgAppendAnswer:
		if bug("stale answer accepted") {
			return g.stepAppendAnswer(m)
		}
	case MsgPreVoteAnswer:
		if m.Reject {
			g.stepVoteAnswer(m) // a no carries the term of who says it
		}
	}
	return nil
}

// send has m leave at once, in the present term if it names none.
func (g *Group) send(to ReplicaID, m Message) {
	m.From, m.To = g.config.Self, to
	if m.Term == 0 {
		m.Term = g.term
	}
	g.out.messages = append(g.out.messages, m)
}

// promise has m leave, in the present term, when all that it counts on is synced.
func (g *Group) promise(to ReplicaID, m Message) {
	m.From, m.To, m.Term = g.config.Self, to, g.term
	g.out.afterSync = append(g.out.afterSync, m)
}
