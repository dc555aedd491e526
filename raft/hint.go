package raft

import "slices"

// hint is the owner's word that the connection to the leader's node has
// closed. It proves nothing: the leader may live and be heard by others. So it
// ends only this replica's own loyalty, and has it ask the others, of whom a
// majority must have lost the leader too. The zero value is none.
type hint struct {
	left int // ticks for which it holds
	next int // ticks until votes are asked for
	age  int // ticks since it came
	lead ReplicaID
	term uint64
}

// turnTicks separates the turns of replicas that ask for votes because they lost
// their leader.
const turnTicks = 2

// LeaderLost is a hint: the connection to the leader's node has closed. This
// replica asks for votes after a few ticks, and again, until there is a
// leader, LeaderBack is called, or an election timeout has passed.
func (g *Group) LeaderLost() {
	r := &g.replica
	if r.stopped != nil {
		return
	}
	r.wake()
	if r.leading != nil || r.lead == 0 {
		return
	}
	r.hint = hint{left: r.config.ElectionTicks, lead: r.lead, term: r.term}
	// All followers lose the leader at nearly the same time, and would split
	// the votes if they asked at once. So each waits for its turn, long
	// enough for the one before to win if it is there: at 50 ms a tick the
	// first asks within 50 ms, the second after 100 to 150.
	turns := r.turns(r.lead)
	r.hint.next = 1 + turnTicks*max(slices.Index(turns, r.config.Self), 0)
	r.lead = 0
	r.questions.lose(&r.out)
}

// LeaderBack takes the hint back: there is a connection to the leader's node
// again.
func (g *Group) LeaderBack() {
	if g.replica.stopped == nil {
		g.replica.leaderBack()
	}
}

func (r *replica) leaderBack() {
	h := r.hint
	if h.left == 0 {
		return
	}
	r.hint = hint{}
	// A candidate has left the leader's term, and can't go back to it.
	if r.term == h.term && r.lead == 0 && (r.role == RoleFollower || r.role == RolePreCandidate) {
		r.becomeFollower(r.term, h.lead)
	}
}

// turns returns the voters except without, in the order in which they should lead:
// the preferred one first, then the others in a circle whose beginning differs from
// group to group and term to term, so that a lost node's groups spread over the rest.
func (r *replica) turns(without ReplicaID) []ReplicaID {
	var ids []ReplicaID
	for _, v := range r.members.now().Voters {
		if v.Replica != without {
			ids = append(ids, v.Replica)
		}
	}
	if len(ids) < 2 {
		return ids
	}
	k := (uint64(r.config.Seed) + r.term) % uint64(len(ids))
	ids = slices.Concat(ids[k:], ids[:k])
	if i := slices.Index(ids, r.preferred); i > 0 {
		ids = slices.Insert(slices.Delete(ids, i, i+1), 0, r.preferred)
	}
	return ids
}

// hintTick asks for votes if it is this replica's turn.
func (r *replica) hintTick() {
	h := &r.hint
	if h.left == 0 {
		return
	}
	h.left--
	h.age++
	if h.next--; h.next > 0 {
		return
	}
	// Ask again soon: the others may lose the leader a little later.
	h.next = 1 + r.timer.chance.below(2)
	if r.role != RoleCandidate && r.electable() {
		r.preCampaign()
	}
}

// yield lets an election that is under way come to its end.
func (h *hint) yield(ticks int) { h.next = max(h.next, ticks) }

// late reports whether a message from the leader that counts as lost was still on
// its way when the hint came. One that comes after a tick shows that it lives.
func (h *hint) late(from ReplicaID, term uint64) bool {
	return h.left > 0 && h.age == 0 && h.lead == from && h.term == term
}
