package raft

import "muster/raft/quorum"

// preCampaign asks the voters whether they would elect this replica, its term
// unchanged, so that one that can't win disturbs nobody (the dissertation,
// section 9.6). Nothing is promised by asking or by the answers.
func (g *Group) preCampaign() {
	g.role, g.lead = RolePreCandidate, 0
	g.loseReads()
	g.resetTimeout()
	g.votes = append(g.votes[:0], vote{g.config.Self, true})
	if g.term+1 >= TermLimit {
		return
	}
	g.askVoters(&g.out.messages, Message{Type: MsgPreVote, Term: g.term + 1})
	g.tally()
}

// campaign stands for election in a new term. Its own vote counts once it is
// synced, as do those of others, which it is not even asked for before. The
// wish is a Vote, or a TransferVote if it is the leader's own.
func (g *Group) campaign(wish MessageType) {
	g.term++
	g.vote = g.config.Self
	g.role, g.lead = RoleCandidate, 0
	g.loseReads()
	g.hint.yield(g.config.ElectionTicks / 2)
	g.resetTimeout()
	g.votes = g.votes[:0]
	g.askVoters(&g.out.afterSync, Message{Type: wish, Term: g.term})
}

func (g *Group) askVoters(out *[]Message, m Message) {
	m.From, m.Log = g.config.Self, g.log.last
	members := g.members.now()
	for _, id := range members.Replicas() {
		if id != m.From && members.Votes(id) {
			m.To = id
			*out = append(*out, m)
		}
	}
}

// stepPreVote answers whether this replica would vote for m.From. One that is
// no voter here answers too: the candidate may know of a later membership, and
// counts by that.
func (g *Group) stepPreVote(m *Message) {
	newer := g.complete(m.Log) || bug("pre-vote without log check")
	if m.Term > g.term && !g.heardLeader(m.From) && newer && !g.precedes(m) {
		g.hint.yield(3)
		g.answer(m, Message{Type: MsgPreVoteAnswer, Term: m.Term})
		return
	}
	if g.term > 0 { // a no carries it, and there is no term 0
		g.answer(m, Message{Type: MsgPreVoteAnswer, Reject: true})
	}
}

// precedes says whether this replica has just asked for votes itself and should
// get them rather than m.From: two that ask at the same time would both be
// told yes, and split the votes. It holds for a tick or two only, for the other
// may be the only one that can reach a majority.
func (g *Group) precedes(m *Message) bool {
	return g.role == RolePreCandidate && g.silence < 2 && m.Log == g.log.last && g.config.Self > m.From
}

// stepVote votes, once in a term, and for nobody whose log lacks what this one
// has (the paper, section 5.4.1).
func (g *Group) stepVote(m *Message) {
	free := g.vote == m.From || g.vote == 0 && g.lead == 0
	if !free || !g.complete(m.Log) {
		g.answerAfterSync(m, Message{Type: MsgVoteAnswer, Reject: true})
		return
	}
	if g.role == RolePreCandidate {
		g.becomeFollower(g.term, 0)
	}
	g.vote = m.From
	g.hint.yield(g.config.ElectionTicks / 2)
	g.resetTimeout()
	g.answerAfterSync(m, Message{Type: MsgVoteAnswer})
}

// stepVoteAnswer takes an answer that is for the election under way. A yes to
// a pre-vote carries the term that was asked for, a no that of who says it.
func (g *Group) stepVoteAnswer(m *Message) {
	switch {
	case g.role == RolePreCandidate && m.Type == MsgPreVoteAnswer && (m.Reject || m.Term == g.term+1):
	case g.role == RoleCandidate && m.Type == MsgVoteAnswer && m.Term == g.term:
	default:
		return
	}
	if m.Reject && m.From == g.hint.lead && m.Term == g.hint.term && g.hint.left > 0 {
		g.LeaderBack() // it speaks
		return
	}
	g.record(m.From, !m.Reject)
}

// record notes the first answer of each voter.
func (g *Group) record(from ReplicaID, granted bool) {
	for _, v := range g.votes {
		if v.from == from {
			return
		}
	}
	g.votes = append(g.votes, vote{from, granted})
	g.tally()
}

func (g *Group) tally() {
	m := g.members.now()
	outgoing := m.Outgoing
	if bug("joint quorum") {
		outgoing = nil
	}
	switch quorum.ElectionJoint(g.count(m.Voters), g.count(outgoing)) {
	case quorum.Won:
		if g.role == RolePreCandidate {
			g.campaign(MsgVote)
		} else {
			g.becomeLeader()
		}
	case quorum.Lost:
		g.becomeFollower(g.term, 0)
	}
}

func (g *Group) count(voters []Member) quorum.Verdict {
	yes, no := 0, 0
	for _, v := range g.votes {
		switch {
		case find(voters, v.from) < 0 && !bug("removed node still votes"):
		case v.granted:
			yes++
		default:
			no++
		}
	}
	return quorum.Election(len(voters), yes, no)
}
