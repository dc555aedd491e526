package raft

import "muster/raft/quorum"

const (
	// yieldTicks is how long a replica that has promised a pre-vote does not ask for
	// votes itself, though it lost its leader: the answer and the request for the vote
	// have to travel, with a sync in between.
	yieldTicks = 3
	// precedeTicks is how long a replica that has asked for votes refuses a replica with a
	// lower id that asks as well.
	precedeTicks = 2
)

// preCampaign asks the voters whether they would elect this replica, its term
// unchanged, so that one that can't win disturbs nobody (the dissertation,
// section 9.6). Nothing is promised by asking or by the answers.
func (r *replica) preCampaign() {
	r.role, r.lead = RolePreCandidate, 0
	r.questions.lose(&r.out)
	r.timer.reset()
	r.votes = r.votes[:0]
	if r.term+1 >= TermLimit {
		return
	}
	r.askVoters(Message{Type: MsgPreVote, Term: r.term + 1, Reject: lacks(r)})
	r.record(vote{from: r.config.Self, granted: true})
}

// campaign stands for election in a new term. Its own vote counts once it is
// synced, and only then are the others asked for theirs. The wish is a Vote, or a
// TransferVote if the leader itself wants this election.
func (r *replica) campaign(wish MessageType) {
	// It votes for itself, and must not forget it: if it came back from a crash
	// without this vote it could give another in the same term.
	r.term++
	r.vote = r.config.Self
	r.role, r.lead = RoleCandidate, 0
	r.questions.lose(&r.out)
	r.hint.yield(r.config.ElectionTicks / 2)
	r.timer.reset()
	r.votes = r.votes[:0]
	r.askVoters(Message{Type: wish})
}

// askVoters sends a wish to all voters.
func (r *replica) askVoters(wish Message) {
	wish.Log = r.log.last
	members := r.members.now()
	for _, id := range members.Replicas() {
		switch {
		case id == r.config.Self || !members.Votes(id):
		case wish.Type == MsgPreVote:
			r.send(id, wish) // nothing is promised by it
		default:
			// Others vote in this term because of it, so the term and this replica's
			// own vote must be on disk first.
			r.promise(id, wish)
		}
	}
}

// stepPreVote answers whether this replica would vote for m.From. One that is
// no voter here answers too: the candidate may know of a later membership, and
// counts by that.
func (r *replica) stepPreVote(m *Message) {
	newer := r.complete(m.Log) || bug("pre-vote without log check")
	if m.Term > r.term && !r.heardLeader(m.From) && newer && !r.precedes(m) {
		// It would vote for m.From, and gives that election time before it asks itself.
		r.hint.yield(yieldTicks)
		r.send(m.From, Message{Type: MsgPreVoteAnswer, Term: m.Term})
		return
	}
	if (m.Reject || bug("log borne for nobody")) && bearsTo(r, m) {
		r.called = true
	}
	if r.term > 0 { // a no carries it, and there is no term 0
		r.send(m.From, Message{Type: MsgPreVoteAnswer, Reject: true})
	}
}

// precedes reports whether this replica has just asked for votes itself and should
// get them rather than m.From: two that ask at the same time would both be
// told yes, and split the votes. It holds for [precedeTicks] only, for the other
// may be the only one that can reach a majority.
func (r *replica) precedes(m *Message) bool {
	return r.role == RolePreCandidate && r.timer.silence < precedeTicks && m.Log == r.log.last && r.config.Self > m.From
}

// stepVote votes, once in a term, and for nobody whose log lacks what this one
// has (the paper, section 5.4.1).
func (r *replica) stepVote(m *Message) {
	// A replica that knows the leader of this term votes for nobody else, even if it
	// gave no vote itself: the election is over.
	free := r.vote == m.From || r.vote == 0 && r.lead == 0
	if !free || !r.complete(m.Log) {
		r.promise(m.From, Message{Type: MsgVoteAnswer, Reject: true})
		return
	}
	// Having voted for another in this term, it no longer asks for votes itself.
	if r.role == RolePreCandidate {
		r.becomeFollower(r.term, 0)
	}
	// The answer leaves after the sync: a vote that a crash could take back might be
	// given twice in one term, and elect two leaders (the paper, section 5.2).
	r.vote = m.From
	r.hint.yield(r.config.ElectionTicks / 2)
	r.timer.reset()
	r.promise(m.From, Message{Type: MsgVoteAnswer})
}

// stepVoteAnswer counts an answer if it is for the election under way. A yes to
// a pre-vote carries the term that was asked for, a no the term of its sender.
func (r *replica) stepVoteAnswer(m *Message) {
	switch {
	case r.role == RolePreCandidate && m.Type == MsgPreVoteAnswer && (m.Reject || m.Term == r.term+1):
		r.refused = r.refused || m.Reject
	case r.role == RoleCandidate && m.Type == MsgVoteAnswer && m.Term == r.term:
	default:
		return
	}
	if m.Reject && m.From == r.hint.lead && m.Term == r.hint.term && r.hint.left > 0 {
		r.leaderBack() // the leader that counted as lost has answered
		return
	}
	r.record(vote{from: m.From, granted: !m.Reject})
}

// record counts a vote, and ends the election if that decides it.
func (r *replica) record(v vote) {
	if !r.votes.add(v) {
		return
	}
	m := r.members.now()
	outgoing := m.Outgoing
	if bug("joint quorum") {
		outgoing = nil
	}
	// In a joint configuration each half could elect a leader of its own, so both must
	// elect the same one (the paper, section 6).
	switch quorum.ElectionJoint(r.votes.count(m.Voters), r.votes.count(outgoing)) {
	case quorum.Won:
		if r.role == RolePreCandidate {
			r.campaign(MsgVote)
		} else {
			r.becomeLeader()
		}
	case quorum.Lost:
		r.becomeFollower(r.term, 0)
	}
}

// votes are the answers to a candidate or pre-candidate, in order of arrival.
type votes []vote

type vote struct {
	from    ReplicaID
	granted bool
}

// add takes the first answer of each replica, and reports whether answer is that.
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
