package raft

// A replica whose state was found to be wrong still has a log that is right. It must
// not lead, because a leader answers from its state. But without its vote and its disk
// the group would be one failure closer to standing still, and both are sound: they
// depend on the log alone. So it is fenced: it votes, acknowledges and applies as
// before, and leaves it to others to lead.
//
// The fence does not endanger safety. To the others a fenced replica looks like one
// whose election timeout never ends, and safety does not depend on timing (the paper,
// section 5.6).
//
// But what is committed may be in the log of a fenced replica and in no other that is
// live. A voter whose log lacks it does not get the votes (section 5.4.1), or knows from
// the others that it lacks something ([Group.Resume]), and does not ask for them. So the
// fenced replica bears its log:
//
//  1. A voter that is not fenced, hears no leader and is not elected calls: it sets
//     Reject in its PreVote. Replicas that can't lead with a longer log either, because they
//     are fenced or have no vote, don't. A replica of an older build takes the call for any
//     other PreVote, and its answer says nothing else.
//  2. A fenced replica that hears no leader, and whose log has what the caller's lacks,
//     stands for election at its next timeout, once. Until then any other may win.
//  3. If it is elected it leads like one that is fenced while it leads. It proposes
//     nothing but the first entry of its term, and the end of a joint change. It brings its
//     log to the others, hands over to a voter that is not fenced, and becomes a follower
//     after an election timeout at the latest.
//
// To the protocol that is an election and a leader like any other (section 5.4), so the log
// is as safe as ever. That nothing is answered from the wrong state is the owner's part.
//
// A group is still left without a leader if every voter that is live is fenced; or if the
// log of the fenced replica begins behind the end of the caller's. That one needs a state, and
// a fenced replica gives none.

// lacks reports whether a replica could lead but for entries that its log may lack.
func lacks(r *replica) bool {
	return !r.fenced && (r.refused || !r.complete(r.log.last)) && r.members.mayVote(r.config.Self) &&
		!r.syncs.stalled(r.ticks) && !bug("no call for a log")
}

// bearsTo reports whether a replica is fenced and has what the log of a caller lacks, so that
// the caller may get it from no other.
func bearsTo(r *replica, call *Message) bool {
	return r.fenced && call.Term > r.term && !r.heardLeader(call.From) && r.members.mayVote(call.From) &&
		!call.Log.NewerOrEqual(r.log.last) && call.Log.Index >= r.log.base.Index
}

// Fence keeps this replica from leading, until [Group.Unfence]: it does not stand for
// election, except to bear its log to a voter that lacks it. One that leads takes no more
// proposals, hands over to whichever voter has the most of the log, and becomes a follower
// after an election timeout at the latest, whether there is another leader or not. Other
// leaders hear of the fence with the answer to their next heartbeat, and hand over to
// somebody else.
//
// The fence is not on disk: the owner sets it anew after each start, before it steps in
// the first message. A sole voter that is fenced leaves its group without a leader.
func (g *Group) Fence() {
	r := &g.replica
	if r.stopped != nil || r.fenced {
		return
	}
	r.fenced, r.called = true, false
	// A leader must look for an heir, and a follower tell its leader: neither can at rest.
	r.wake()
	// A candidate has voted for itself. The vote stands; only its campaign ends.
	if r.role == RolePreCandidate || r.role == RoleCandidate {
		r.becomeFollower(r.term, 0)
	}
}

// Unfence ends the fence.
func (g *Group) Unfence() { g.replica.fenced, g.replica.called = false, false }
