package raft

import "muster/raft/quorum"

// preCampaign asks the voters whether they would elect this replica, its term
// unchanged, so that one that can't win disturbs nobody (the dissertation,
// section 9.6). Nothing is promised by asking or by the answers.
func (g *Group) preCampaign() {
	g.role, g.lead = RolePreCandidate, 0
	g.loseReads()
	g.timer.reset()
	g.votes = append(g.votes[:0], vote{from: g.config.Self, granted: true})
	if g.term+1 >= TermLimit {
		return
	}
	g.askVoters(Message{Type: MsgPreVote, Term: g.term + 1})
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
	g.timer.reset()
	g.votes = g.votes[:0]
	g.askVoters(Message{Type: wish})
}

// askVoters sends a wish to all voters.
func (g *Group) askVoters(wish Message) {
	wish.Log = g.log.last
	members := g.members.now()
	for _, id := range members.Replicas() {
		switch {
		case id == g.config.Self || !members.Votes(id):
		case wish.Type == MsgPreVote:
			g.send(id, wish) // nothing is promised by it
		default:
			g.promise(id, wish)
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
		g.send(m.From, Message{Type: MsgPreVoteAnswer, Term: m.Term})
		return
	}
	if g.term > 0 { // a no carries it, and there is no term 0
		g.send(m.From, Message{Type: MsgPreVoteAnswer, Reject: true})
	}
}

// precedes says whether this replica has just asked for votes itself and should
// get them rather than m.From: two that ask at the same time would both be
// told yes, and split the votes. It holds for a tick or two only, for the other
// may be the only one that can reach a majority.
func (g *Group) precedes(m *Message) bool {
	return g.role == RolePreCandidate && g.timer.silence < 2 && m.Log == g.log.last && g.config.Self > m.From
}

// stepVote votes, once in a term, and for nobody whose log lacks what this one
// has (the paper, section 5.4.1).
func (g *Group) stepVote(m *Message) {
	free := g.vote == m.From || g.vote == 0 && g.lead == 0
	if !free || !g.complete(m.Log) {
		g.promise(m.From, Message{Type: MsgVoteAnswer, Reject: true})
		return
	}
	if g.role == RolePreCandidate {
		g.becomeFollower(g.term, 0)
	}
	g.vote = m.From
	g.hint.yield(g.config.ElectionTicks / 2)
	g.timer.reset()
	g.promise(m.From, Message{Type: MsgVoteAnswer})
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
	g.record(vote{from: m.From, granted: !m.Reject})
}

// record notes a vote, and what comes of it.
func (g *Group) record(v vote) {
	if g.votes.add(v) {
		g.tally()
	}
}

func (g *Group) tally() {
	m := g.members.now()
	outgoing := m.Outgoing
	if bug("joint quorum") {
		outgoing = nil
	}
	switch quorum.ElectionJoint(g.votes.count(m.Voters), g.votes.count(outgoing)) {
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

// votes are the answers to a candidate or pre-candidate, in order of arrival.
type votes []vote

type vote struct {
	from    ReplicaID
	granted bool
}

// add takes the first answer of each replica; it reports whether this is one.
func (v *votes) add(answer vote) bool {
	for _, known := range *v {
		if known.from == answer.from {
			return false
		}
	}
	*v = append(*v, answer)
	return true
}

// forget takes back what a replica has answered.
func (v *votes) forget(id ReplicaID) {
	for i := range *v {
		if (*v)[i].from == id {
			*v = append((*v)[:i], (*v)[i+1:]...)
			return
		}
	}
}

// count tells how the election stands among voters.
func (v votes) count(voters []Member) quorum.Verdict {
	yes, no := 0, 0
	for _, answer := range v {
		switch {
		case find(voters, answer.from) < 0 && !bug("removed node still votes"):
		case answer.granted:
			yes++
		default:
			no++
		}
	}
	return quorum.Election(len(voters), yes, no)
}
