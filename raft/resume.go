package raft

// A replica that was started anew can't know whether its disk still holds what it
// last held: a directory that was copied earlier and put back looks the same from
// inside, and has forgotten votes, terms and entries that others rely on. So its
// owner asks the other voters before it hands in the first message, and passes
// their answers on here. repl/lives.go decides what may be concluded from them, and
// when; this file is what follows for the core.

// Resume tells a replica that was started anew, or whose owner has come to doubt
// its log, what the other voters say: the highest of their terms, and the newest
// of their last ids. It is called before any message of this start is stepped in.
//
// The replica takes the term and has no vote in it: in its forgotten life it may
// have given that away. (A candidate syncs its term before it asks, so a vote in
// a higher term than all others name was given to nobody.) In a later term it
// votes as if its log ended at floor, or where it does if that is later, and stands
// for election only once it does: a leader elected otherwise could lack what this
// replica acknowledged and forgot. What it acknowledges meanwhile is true, for it
// says what is here, in a term that no other voter is above.
func (g *Group) Resume(term uint64, floor LogID) {
	r := &g.replica
	if r.stopped != nil {
		return
	}
	// A term that is out of reach was made up: no voter can have come to it.
	if term >= r.term && term < TermLimit && r.reach.check(term, r.term) == nil {
		// A vote that is on this disk was given for good. If there is none, one may have
		// been forgotten, so nobody gets it: the replica records a vote for itself and
		// does not stand.
		if r.becomeFollower(term, 0); term > 0 && r.vote == 0 {
			r.vote = r.config.Self
		}
	}
	r.floor = floor
}

// complete reports whether a log that ends at last has all that this replica may
// have acknowledged (the paper, section 5.4.1): what is here, and up to the floor.
func (r *replica) complete(last LogID) bool {
	return last.NewerOrEqual(r.log.last) && (last.NewerOrEqual(r.floor) || bug("vote below the floor"))
}

// ForgoFloor lowers the floor to left, the newest last id of the voters that are
// still heard: a voter that named a newer one has fallen silent, and counts as one
// that never answered. With the zero LogID the replica votes by its log alone.
func (g *Group) ForgoFloor(left LogID) { g.replica.floor = left }

// Short reports whether the log is older than the floor that [Group.Resume] set, so
// that this replica does not stand for election. The last id need not be on disk
// for that: a wish for votes leaves after the sync of all that is before it.
func (g *Group) Short() bool { return !g.replica.complete(g.replica.log.last) }

// Resign makes a leader or candidate a follower of nobody, in the same term. The
// owner calls it when it stops handing in messages.
func (g *Group) Resign() {
	if r := &g.replica; r.stopped == nil && r.role != RoleFollower {
		r.becomeFollower(r.term, 0)
	}
}

// Reborn discards what is counted for a replica whose node was started anew: what
// an earlier life acknowledged may not be on the disk of this one. A leader looks for
// the end of its log from scratch, and a candidate asks it again in its next election.
func (g *Group) Reborn(id ReplicaID) {
	r := &g.replica
	if r.stopped != nil {
		return
	}
	r.votes.forget(id)
	if r.leading != nil {
		r.leading.reborn(id)
	}
}

func (l *leader) reborn(id ReplicaID) {
	r, p := l.replica, l.followers.of(id)
	if p == nil {
		return
	}
	if l.transfer.to == id {
		l.transfer = transfer{}
	}
	// Its match begins at 0 again: only answers of this life say what is on its disk.
	*p = progress{replica: id, next: r.log.last.Index + 1, heard: p.heard, moved: r.ticks}
	p.probe(r.log.last.Index)
	r.wake()
	l.sendDue = true
	// If there is nothing to send, an empty append finds out where its log ends.
	p.check = true
}
