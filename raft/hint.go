package raft

import "slices"

// hint is the owner's word that the connection to the leader's node has
// closed. It proves nothing: the leader may live and be heard by others. So it
// ends only this replica's own loyalty, and has it ask the others, of whom a
// majority must have lost the leader too. The zero value is none.
//
// Two clocks count until votes are asked for, and the first to run out decides: ticks,
// and short ticks, which an owner may give in addition. Waiting for a tick would be the
// longest part of an election whose messages and syncs take a few milliseconds. Short
// ticks hurry the first questions only. Once another replica may be about to win, or the
// lost leader is heard, they no longer count, and only ticks do.
type hint struct {
	left   int // ticks for which it holds
	next   int // ticks until votes are asked for
	age    int // ticks since it came
	shorts int // short ticks that still count; 0: only ticks do
	wait   int // short ticks until votes are asked for
	lead   ReplicaID
	term   uint64
}

// Replicas that have lost their leader ask for votes in turn.
const (
	// turnTicks separates their turns in ticks. An election ends in that time.
	turnTicks = 2
	// turnShorts separates their turns in short ticks. A question has to arrive in that
	// time, and no more: a replica that would vote for another waits for it in ticks
	// ([hint.yield]). But replicas do not learn of the loss at the same time. So the one
	// before may have been refused, and must have asked again by then.
	turnShorts = 5
)

// LeaderLost is a hint: the connection to the leader's node has closed. This
// replica asks for votes after a few ticks, and again, until there is a
// leader, LeaderBack is called, or an election timeout has passed. With
// [Group.ShortTick] it asks sooner.
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
	// enough for the one before to be heard if it is there. With ticks of 50 ms the
	// first asks within 50 ms and the second after 100 to 150; with short ticks of
	// 5 ms they ask after 5 and 30.
	turns := r.turns(r.lead)
	turn := max(slices.Index(turns, r.config.Self), 0)
	r.hint.next = 1 + turnTicks*turn
	r.hint.wait = 1 + turnShorts*turn
	// Once every voter has had its turn, nothing is gained by hurrying.
	r.hint.shorts = turnShorts * (len(turns) + 1)
	r.lead = 0
	r.questions.lose(&r.out)
}

// ShortTick tells the Group that a short tick has passed, about a tenth of a tick. It
// reports whether more of them are of use. After LeaderLost they are, until all voters
// have had their turns, an election has begun, or the leader is heard. An owner that
// gives none only loses time.
func (g *Group) ShortTick() bool {
	r := &g.replica
	h := &r.hint
	// In a later term some replica has stood for election, which is measured in ticks.
	if h.left == 0 || h.shorts == 0 || r.term != h.term {
		return false
	}
	h.shorts--
	if h.wait--; h.wait <= 0 {
		r.askForHint()
	}
	return h.shorts > 0
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

// hintTick asks for votes if it is this replica's turn by ticks.
func (r *replica) hintTick() {
	h := &r.hint
	if h.left == 0 {
		return
	}
	h.left--
	h.age++
	if h.next--; h.next <= 0 {
		r.askForHint()
	}
}

// askForHint asks for votes if this replica may stand for election.
func (r *replica) askForHint() {
	// Ask again soon, by either clock: the others may lose the leader a little later.
	pause := 1 + r.timer.chance.below(2)
	r.hint.next, r.hint.wait = pause, pause
	if r.role != RoleCandidate && r.electable() {
		r.preCampaign()
	}
}

// yield lets an election that is under way come to its end. Its syncs may take as long
// as a tick, so short ticks would cut them off.
func (h *hint) yield(ticks int) {
	h.next = max(h.next, ticks)
	if !bug("short ticks during an election") {
		h.shorts = 0
	}
}

// late reports whether a message from the leader that counts as lost was still on
// its way when the hint came. One that comes after a tick shows that it lives.
func (h *hint) late(from ReplicaID, term uint64) bool {
	return h.left > 0 && h.age == 0 && h.lead == from && h.term == term
}
