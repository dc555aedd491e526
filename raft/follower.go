package raft

import "fmt"

// crowdedTimes is how many times as much as a leader leaves uncommitted may wait for a
// follower's state machine before it takes no more: what the leader has applied, this
// one may still have to.
const crowdedTimes = 2

// becomeFollower follows lead, or nobody yet, in term, which is not before the
// present one. What a replica had in its last role is lost with it.
func (r *replica) becomeFollower(term uint64, lead ReplicaID) {
	if term > r.term {
		// A vote belongs to its term (the paper, figure 2): in a new one nothing is
		// given away yet.
		r.reach.jump(term - r.term)
		r.term, r.vote = term, 0
	}
	r.role, r.lead = RoleFollower, lead
	r.votes = nil
	r.resting = false
	// After the term: a leader's refusals are to leave in the new one, so that nobody
	// takes them for its word as a leader.
	if r.leading != nil {
		r.leading.end()
	}
	r.questions.lose(&r.out)
	r.timer.reset()
}

// heardLeader reports whether this replica leads or has heard of a leader so
// lately that it helps nobody to unseat it (the dissertation, section 4.2.3).
// A leader that asks for votes itself does not lead any more.
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
		return nil
	}
	// Whoever stood for election in this term has lost it: another one leads.
	r.hint = hint{}
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
	// The leader counts on what this replica has acknowledged. If that is gone, the
	// majority that committed it may be gone with it.
	if m.Commit > r.log.last.Index {
		return r.stop(fmt.Errorf("%w: replica %d knows %d to be here, the log ends at %s",
			ErrEntriesLost, m.From, m.Commit, r.log.last))
	}
	r.commitTo(m.Commit)
	r.heard.hear(m.Time, r.log.time)
	r.send(m.From, Message{Type: MsgHeartbeatAnswer, Round: m.Round, Reject: r.fenced})
	return nil
}

// stepAppend makes this log the leader's, as far as the message reaches: the
// check and the fix of a divergence.
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
	// What is here already stays. To truncate at once to the end of what
	// arrived would lose acknowledged entries to a late, shorter append.
	matched := prev.Index + uint64(len(entries))
	if bug("late append truncates") && matched < l.last.Index && matched >= l.commit {
		r.truncate(matched + 1)
	}
	for len(entries) > 0 && entries[0].ID.Index <= l.last.Index {
		e := &entries[0]
		if term, _ := l.termAt(e.ID.Index); term != e.ID.Term {
			break
		}
		// One id stands for one entry (log matching, the paper, section 5.3), so all
		// that is to be done with it is done. That its bytes are the same is checked
		// where they are in memory.
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
			// 5.4.3), so it can differ only after that. Otherwise something is broken
			// for which no log is worth overwriting.
			if first.Index <= l.commit {
				term, _ := l.termAt(first.Index)
				return r.stopTruncation(m.From, first, LogID{Term: term, Index: first.Index})
			}
			r.truncate(first.Index)
		}
		r.append(entries)
	}
	// Up to where this append has shown that the logs agree, and no farther: what
	// follows here may be an earlier leader's (figure 2, AppendEntries, step 5).
	r.commitTo(min(m.Commit, matched))
	term, _ = l.termAt(matched)
	r.promise(m.From, Message{Type: MsgAppendAnswer, Log: LogID{Term: term, Index: matched}})
	return nil
}

// refuseAppend says from where on this log may differ. The entry that the
// append names is of term here, or is not here.
func (r *replica) refuseAppend(m *Message, term uint64, here bool) error {
	a := Message{Type: MsgAppendAnswer, Log: m.Log, Reject: true,
		Conflict: r.log.last, Commit: r.log.last.Index}
	if here {
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
			r.members.push(entries[i].ID.Index, m)
		}
	}
}

// truncate removes the entries from index on, with what they brought. What was
// handed out to be written may be synced later, and then counts no longer.
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
