package raft

import "fmt"

// becomeFollower follows lead, or nobody yet, in term, which is not before the
// present one. A leader's reads are lost with its role.
func (g *Group) becomeFollower(term uint64, lead ReplicaID) {
	if term > g.term {
		g.reach.jump(term - g.term)
		g.term, g.vote = term, 0
	}
	g.role, g.lead = RoleFollower, lead
	g.votes = nil
	g.followers.list = nil
	g.sendDue = false
	g.transfer = transfer{}
	g.resting = false
	g.out.snapshots = nil
	g.loseReads()
	g.timer.reset()
}

// heardLeader says whether this replica leads or has heard of a leader so
// lately that it helps nobody to unseat it (the dissertation, section 4.2.3).
// If it is that leader who asks for votes, it leads no more.
func (g *Group) heardLeader(asks ReplicaID) bool {
	return g.role == RoleLeader || g.lead != 0 && g.lead != asks && g.timer.silence < g.config.ElectionTicks
}

// obey accepts from as the leader of the present term.
func (g *Group) obey(from ReplicaID) error {
	if g.role == RoleLeader || g.lead != 0 && g.lead != from {
		return g.stop(fmt.Errorf("%w: replicas %d and %d in term %d", ErrTwoLeaders, g.lead, from, g.term))
	}
	if g.hint.late(from, g.term) {
		return nil
	}
	g.hint = hint{}
	if g.role != RoleFollower {
		g.becomeFollower(g.term, from)
	}
	g.lead = from
	g.timer.silence = 0
	return nil
}

// stepHeartbeat takes the commit from the leader's word alone: the leader
// names no more than this replica has acknowledged to it in this term.
func (g *Group) stepHeartbeat(m *Message) error {
	if err := g.obey(m.From); err != nil {
		return err
	}
	if m.Commit > g.log.last.Index {
		return g.stop(fmt.Errorf("%w: replica %d knows %d to be here, the log ends at %s",
			ErrEntriesLost, m.From, m.Commit, g.log.last))
	}
	g.commitTo(m.Commit)
	g.send(m.From, Message{Type: MsgHeartbeatAnswer, Round: m.Round})
	return nil
}

// stepAppend makes this log the leader's, as far as the message reaches: the
// check and the fix of a divergence.
func (g *Group) stepAppend(m *Message) error {
	if err := g.obey(m.From); err != nil {
		return err
	}
	l, prev, entries := &g.log, m.Log, m.Entries
	if prev.Index < l.base.Index {
		// What lies before the base is committed, so the leader's is the same.
		n := l.base.Index - prev.Index
		if n <= uint64(len(entries)) && entries[n-1].ID != l.base {
			return g.stopTruncation(m.From, entries[n-1].ID, l.base)
		}
		prev, entries = l.base, entries[min(n, uint64(len(entries))):]
	}
	term, ok := l.termAt(prev.Index)
	if !ok || term != prev.Term {
		return g.refuseAppend(m, term, ok)
	}
	// What is here already stays. To truncate at once to the end of what
	// arrived would lose acknowledged entries to a late, shorter append.
	matched := prev.Index + uint64(len(entries))
	if bug("late append truncates") && matched < l.last.Index && matched >= l.commit {
		g.truncate(matched + 1)
	}
	for len(entries) > 0 && entries[0].ID.Index <= l.last.Index {
		e := &entries[0]
		if term, _ := l.termAt(e.ID.Index); term != e.ID.Term {
			break
		}
		if e.ID.Index >= l.first {
			if mine := l.tail[e.ID.Index-l.first]; mine.Checksum() != e.Checksum() {
				return g.stop(fmt.Errorf("%w: %s has checksum %08x here and %08x at replica %d",
					ErrLogMatching, e.ID, mine.Checksum(), e.Checksum(), m.From))
			}
		}
		entries = entries[1:]
	}
	if len(entries) > 0 {
		if l.crowded(2 * g.config.UncommittedBytesMax) {
			return nil // as if lost on the way: the leader sends it again
		}
		if first := entries[0].ID; first.Index <= l.last.Index {
			if first.Index <= l.commit {
				term, _ := l.termAt(first.Index)
				return g.stopTruncation(m.From, first, LogID{Term: term, Index: first.Index})
			}
			g.truncate(first.Index)
		}
		g.append(entries)
	}
	g.commitTo(min(m.Commit, matched))
	term, _ = l.termAt(matched)
	g.promise(m.From, Message{Type: MsgAppendAnswer, Log: LogID{Term: term, Index: matched}})
	return nil
}

// refuseAppend says from where on this log may differ. The entry that the
// append names is of term here, or is not here.
func (g *Group) refuseAppend(m *Message, term uint64, here bool) error {
	a := Message{Type: MsgAppendAnswer, Log: m.Log, Reject: true,
		Conflict: g.log.last, Commit: g.log.last.Index}
	if here {
		if m.Log.Index <= g.log.commit {
			return g.stopTruncation(m.From, m.Log, LogID{Term: term, Index: m.Log.Index})
		}
		a.Conflict = g.log.conflict(m.Log.Index)
	}
	g.promise(m.From, a)
	return nil
}

func (g *Group) stopTruncation(from ReplicaID, theirs, mine LogID) error {
	return g.stop(fmt.Errorf("%w: replica %d, leader in term %d, has %s, committed here is %s (commit %d)",
		ErrCommittedTruncation, from, g.term, theirs, mine, g.log.commit))
}

// append adds entries; a membership among them is in force from here on.
func (g *Group) append(entries []Entry) {
	g.log.append(entries)
	for i := range entries {
		if entries[i].Kind == EntryMembership {
			m, err := ReadMembership(entries[i].Payload())
			if err != nil {
				panic(fmt.Sprintf("raft: entry %s was checked and is now %v", entries[i].ID, err))
			}
			g.members.push(entries[i].ID.Index, m)
		}
	}
}

// truncate removes the entries from index on, with what they brought. What was
// handed out to be written may be synced later, and then counts no longer.
func (g *Group) truncate(index uint64) {
	g.log.truncate(index)
	g.members.truncate(index)
	if !bug("late sync report") {
		g.syncs.truncate(index)
	}
}

func (g *Group) commitTo(index uint64) {
	if index > g.log.commit {
		g.log.commit = index
		g.members.commit(index)
	}
}
