package raft

import "fmt"

// crowdedTimes bounds what may wait for a follower's state machine before it takes
// no more entries, in multiples of [Config.UncommittedBytesMax]. It is more than one
// because the follower may still have to apply what the leader has applied.
const crowdedTimes = 2

// becomeFollower makes this replica follow lead, or nobody yet, in term, which is
// no earlier than the present one. What it had in its last role is dropped.
func (r *replica) becomeFollower(term uint64, lead ReplicaID) {
	if term > r.term {
		// A vote belongs to its term (the paper, figure 2): in a new one it is free.
		r.reach.jump(term - r.term)
		r.term, r.vote = term, 0
	}
	r.role, r.lead = RoleFollower, lead
	r.votes = nil
	r.resting = false
	// After the term has changed: a leader's refusals must leave in the new one, so
	// that nobody takes them for the word of a leader.
	if r.leading != nil {
		r.leading.end()
	}
	r.questions.lose(&r.out)
	r.timer.reset()
}

// heardLeader reports whether this replica leads, or has heard from a leader so
// recently that it helps nobody to unseat it (the dissertation, section 4.2.3).
// A leader that asks for votes itself no longer leads.
func (r *replica) heardLeader(asks ReplicaID) bool {
	return r.role == RoleLeader || r.lead != 0 && r.lead != asks && r.timer.silence < r.config.ElectionTicks
}

// obey accepts from as the leader of the present term.
func (r *replica) obey(from ReplicaID) error {
	// A term has one leader (the paper, section 5.2). Two were elected only if somebody
	// voted twice, and then neither log can be trusted to hold what is committed.
	if r.role == RoleLeader || r.lead != 0 && r.lead != from {
		return r.stop(fmt.Errorf("%w: replicas %d and %d in term %d", ErrTwoLeaders, r.lead, from, r.term))
	}
	if r.hint.late(from, r.term) {
		// If it lives, more will come after the next tick. Until then there is no hurry
		// to replace it.
		if !bug("short ticks though the leader is heard") {
			r.hint.shorts = 0
		}
		return nil
	}
	// Another replica leads in this term, so an election under way here is lost.
	r.hint = hint{}
	r.refused, r.called = false, false
	if r.role != RoleFollower {
		r.becomeFollower(r.term, from)
	}
	r.lead = from
	r.timer.silence = 0
	return nil
}

// stepHeartbeat takes the commit from the leader's word alone: the leader
// names no more than this replica has acknowledged to it in this term.
func (r *replica) stepHeartbeat(m *Message) error {
	if err := r.obey(m.From); err != nil {
		return err
	}
	// The leader relies on what this replica has acknowledged. If that is gone, the
	// majority that committed it may be gone too.
	if m.Commit > r.log.last.Index {
		return r.stop(fmt.Errorf("%w: replica %d knows %d to be here, the log ends at %s",
			ErrEntriesLost, m.From, m.Commit, r.log.last))
	}
	r.commitTo(m.Commit)
	r.heard.hear(m.Time, r.term, r.log.time)
	r.send(m.From, Message{Type: MsgHeartbeatAnswer, Round: m.Round, Reject: r.fenced})
	return nil
}

// stepAppend makes this log the leader's as far as the message reaches. It is where
// a divergence is found and removed (the paper, section 5.3).
func (r *replica) stepAppend(m *Message) error {
	if err := r.obey(m.From); err != nil {
		return err
	}
	l, prev, entries := &r.log, m.Log, m.Entries
	if prev.Index < l.base.Index {
		// What lies before the base is committed, so the leader's is the same.
		n := l.base.Index - prev.Index
		if n <= uint64(len(entries)) && entries[n-1].ID != l.base {
			return r.stopTruncation(m.From, entries[n-1].ID, l.base)
		}
		prev, entries = l.base, entries[min(n, uint64(len(entries))):]
	}
	term, ok := l.termAt(prev.Index)
	if !ok || term != prev.Term {
		return r.refuseAppend(m, term, ok)
	}
	// What is here already stays. If every append truncated the log to its own end,
	// a late, shorter one would remove entries that are acknowledged.
	matched := prev.Index + uint64(len(entries))
	if bug("late append truncates") && matched < l.last.Index && matched >= l.commit {
		r.truncate(matched + 1)
	}
	for len(entries) > 0 && entries[0].ID.Index <= l.last.Index {
		e := &entries[0]
		if term, _ := l.termAt(e.ID.Index); term != e.ID.Term {
			break
		}
		// One id stands for one entry (log matching, the paper, section 5.3), so
		// nothing is left to do for it. Its bytes are compared too where they are in
		// memory.
		if e.ID.Index >= l.first {
			if mine := l.tail[e.ID.Index-l.first]; mine.Checksum() != e.Checksum() {
				return r.stop(fmt.Errorf("%w: %s has checksum %08x here and %08x at replica %d",
					ErrLogMatching, e.ID, mine.Checksum(), e.Checksum(), m.From))
			}
		}
		entries = entries[1:]
	}
	if len(entries) > 0 {
		if l.crowded(crowdedTimes * r.config.UncommittedBytesMax) {
			return nil // as if lost on the way: the leader sends it again
		}
		if first := entries[0].ID; first.Index <= l.last.Index {
			// The leader holds all that is committed (leader completeness, section
			// 5.4.3), so the logs can differ only after that. If they differ before,
			// something is broken, and this log must not be overwritten for it.
			if first.Index <= l.commit {
				term, _ := l.termAt(first.Index)
				return r.stopTruncation(m.From, first, LogID{Term: term, Index: first.Index})
			}
			r.truncate(first.Index)
		}
		r.append(entries)
	}
	// The commit goes as far as this append has shown that the logs agree: what
	// follows here may be an earlier leader's (figure 2, AppendEntries, step 5).
	r.commitTo(min(m.Commit, matched))
	// The leader counts this answer as a copy on disk, so it leaves after the sync.
	term, _ = l.termAt(matched)
	r.promise(m.From, Message{Type: MsgAppendAnswer, Log: LogID{Term: term, Index: matched}})
	return nil
}

// refuseAppend tells the leader from where on this log may differ. At the index
// that the append names, this log has an entry of term, or none if here is false.
func (r *replica) refuseAppend(m *Message, term uint64, here bool) error {
	a := Message{Type: MsgAppendAnswer, Log: m.Log, Reject: true,
		Conflict: r.log.last, Commit: r.log.last.Index}
	if here {
		// A leader holds all that is committed (section 5.4.3). If this one does not,
		// something is broken, and it must not be helped to overwrite this log.
		if m.Log.Index <= r.log.commit {
			return r.stopTruncation(m.From, m.Log, LogID{Term: term, Index: m.Log.Index})
		}
		a.Conflict = r.log.conflict(m.Log.Index)
	}
	r.promise(m.From, a)
	return nil
}

func (r *replica) stopTruncation(from ReplicaID, theirs, mine LogID) error {
	return r.stop(fmt.Errorf("%w: replica %d, leader in term %d, has %s, committed here is %s (commit %d)",
		ErrCommittedTruncation, from, r.term, theirs, mine, r.log.commit))
}

// append adds entries; a membership among them is in force from here on.
func (r *replica) append(entries []Entry) {
	r.log.append(entries)
	for i := range entries {
		if entries[i].Kind == EntryMembership {
			m, err := ReadMembership(entries[i].Payload())
			if err != nil {
				panic(fmt.Sprintf("raft: entry %s was checked and is now %v", entries[i].ID, err))
			}
			r.members.push(entries[i].ID, m)
		}
	}
}

// truncate removes the entries from index on, with the memberships that they
// brought. If they were handed out to be written, a later sync no longer counts
// for them.
func (r *replica) truncate(index uint64) {
	r.log.truncate(index)
	r.members.truncate(index)
	if !bug("late sync report") {
		r.syncs.truncate(index)
	}
}

func (r *replica) commitTo(index uint64) {
	if index > r.log.commit {
		r.log.commit = index
		r.members.commit(index)
	}
}
