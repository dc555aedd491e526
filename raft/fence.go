package raft

// A replica whose state was found to be wrong still has a log that is right. It must
// not lead, because a leader answers from its state. But without its vote and its disk
// the group would be one failure closer to standing still, and both are sound: they
// depend on the log alone. So it is fenced: it votes, acknowledges and applies as
// before, and leaves it to others to lead.
//
// The fence does not endanger safety. To the others a fenced replica looks like one
// whose election timeout never ends, and safety does not depend on timing (the paper,
// section 5.6). The fence may leave the group without a leader: if the only other live
// replicas lack what this one has acknowledged, they don't get its vote (section 5.4.1),
// and it does not stand itself. Then the group waits for one more replica, or for the
// end of the fence.

// Fence keeps this replica from leading, until [Group.Unfence]: it does not stand for
// election. One that leads takes no more proposals, hands over to whichever voter has
// the most of the log, and becomes a follower after an election timeout at the latest,
// whether there is another leader or not. Other leaders hear of the fence with the
// answer to their next heartbeat, and hand over to somebody else.
//
// The fence is not on disk: the owner sets it anew after each start, before it steps in
// the first message. A sole voter that is fenced leaves its group without a leader.
func (g *Group) Fence() {
	r := &g.replica
	if r.stopped != nil || r.fenced {
		return
	}
	r.fenced = true
	// A leader must look for an heir, and a follower tell its leader: neither can at rest.
	r.wake()
	// A candidate has voted for itself. The vote stands; only its campaign ends.
	if r.role == RolePreCandidate || r.role == RoleCandidate {
		r.becomeFollower(r.term, 0)
	}
}

// Unfence ends the fence.
func (g *Group) Unfence() { g.replica.fenced = false }
