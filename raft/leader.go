package raft

import "fmt"

// leader is what a replica has in addition while it leads: the paper's state on
// leaders (figure 2), new with each term.
type leader struct {
	replica   *replica
	followers followers
	sendDue   bool // appends may be due
	idle      int  // ticks since it had something to do
	sinceBeat int  // ticks since its last heartbeats
	reads     reads
	transfer  transfer
	preferAt  uint64 // the tick before which no preference is carried out
	leaving   int    // ticks since this replica was fenced
}

// becomeLeader begins to lead. The first entry is a no-op: its commit commits
// what earlier leaders left (the paper, section 5.4.2).
func (r *replica) becomeLeader() {
	r.role, r.lead = RoleLeader, r.config.Self
	r.votes = nil
	r.hint = hint{}
	r.refused, r.called = false, false
	r.questions.lose(&r.out)
	l := &leader{
		replica:   r,
		followers: followers{self: r.config.Self},
		preferAt:  r.ticks + uint64(r.config.ElectionTicks),
	}
	r.leading = l
	// Nothing is known yet of what the others hold, so each is probed from the end of
	// this log on (figure 2: nextIndex, matchIndex).
	l.followMembership(r.log.last.Index + 1)
	first := LogID{Term: r.term, Index: r.log.last.Index + 1}
	r.append([]Entry{SealedEntry(r.config.Seed, first, r.heard.beginning(r.log.last.Term, r.log.time), EntryNoOp, nil)})
	l.sendDue = true
}

// end gives up leadership, and the reads that wait for it.
func (l *leader) end() {
	r := l.replica
	l.loseReads()
	r.out.snapshots = nil
	r.leading = nil
	// A caller further up may still hold l, and must find nothing of the old
	// leadership in it.
	*l = leader{replica: l.replica}
}

// leader returns what the replica has as a leader, or why it has nothing.
func (g *Group) leader() (*leader, error) {
	r := &g.replica
	switch {
	case r.stopped != nil:
		return nil, r.stopped
	case r.leading == nil:
		return nil, ErrNotLeader
	}
	return r.leading, nil
}

// Propose appends entries to the leader's log, all of them or none, in one
// term without a gap: first is the id of the first one. Each must be of kind
// normal, or of kind time or audit without a payload, with Raw of [NewEntry]'s form; it
// gets its ID, its Time (now, or the last entry's if that is later) and its
// checksum in place, after which Raw is the Group's. The slice itself stays the
// caller's.
func (g *Group) Propose(now GroupTime, entries []Entry) (first LogID, err error) {
	l, err := g.leader()
	if err != nil {
		return LogID{}, err
	}
	return l.propose(now, entries)
}

func (l *leader) propose(now GroupTime, entries []Entry) (first LogID, err error) {
	r := l.replica
	if err := l.handsOver(); err != nil {
		return LogID{}, err
	}
	// All are checked before one is sealed: either all of them get an ID or none.
	bytes := 0
	for i := range entries {
		n := len(entries[i].Raw)
		most := 0
		switch entries[i].Kind {
		case EntryNormal:
			most = EntryHeaderSize + PayloadSizeMax
		case EntryTime, EntryAudit:
			most = EntryHeaderSize
		}
		if n < EntryHeaderSize || n > most {
			return LogID{}, fmt.Errorf("%w: entry %d of %d is of %s and %d bytes long", ErrProposal, i+1, len(entries), entries[i].Kind, n)
		}
		bytes += n
	}
	if len(entries) == 0 {
		return LogID{}, fmt.Errorf("%w: no entries", ErrProposal)
	}
	// Entries that are over the limit by themselves are taken when nothing waits.
	if r.log.waiting > 0 && r.log.waiting+bytes > r.config.UncommittedBytesMax {
		return LogID{}, fmt.Errorf("%w: %d bytes wait to be committed and applied, %d more are over the limit of %d",
			ErrBusy, r.log.waiting, bytes, r.config.UncommittedBytesMax)
	}
	r.wake()
	// Group time never goes back along a log: a leader whose clock is behind repeats
	// the time of the last entry.
	now = min(max(now, r.log.time), TimeLimit-1)
	first = LogID{Term: r.term, Index: r.log.last.Index + 1}
	for i := range entries {
		e := &entries[i]
		e.ID = LogID{Term: r.term, Index: first.Index + uint64(i)}
		e.Time = now
		e.seal(r.config.Seed)
	}
	r.log.append(entries)
	l.sendDue = true
	return first, nil
}

func (l *leader) tick() {
	r := l.replica
	// CheckQuorum: a leader that no majority answers can commit nothing and confirm
	// no read, and keeps the others from electing one that can.
	if l.quorumLost() && !bug("serve after CheckQuorum") {
		r.becomeFollower(r.term, 0)
		return
	}
	if l.leaveTick() {
		return
	}
	l.transferTick()
	l.idle++
	if l.sinceBeat++; l.sinceBeat < r.config.HeartbeatTicks || l.rest() {
		return
	}
	l.promote()
	l.preferTick()
	l.beat()
}

// quorum returns the largest value that a quorum of the voters in force has
// reached; this replica's own is own.
func (l *leader) quorum(own uint64, value func(*progress) uint64) uint64 {
	return l.followers.quorum(l.replica.members.now(), own, value)
}

func (l *leader) quorumLost() bool {
	r := l.replica
	heard := l.quorum(r.ticks, func(p *progress) uint64 { return p.heard })
	return r.ticks-heard >= uint64(r.config.ElectionTicks)
}

// beat sends heartbeats to all. The commit in them goes no further than what
// the follower has acknowledged, because a heartbeat names no log id to check it by.
func (l *leader) beat() {
	r := l.replica
	l.sinceBeat = 0
	for i := range l.followers.list {
		p := &l.followers.list[i]
		r.send(p.replica, Message{Type: MsgHeartbeat, Commit: min(p.match, r.log.commit), Round: l.reads.round})
	}
}

func (l *leader) stepHeartbeatAnswer(m *Message) {
	r := l.replica
	p := l.followers.of(m.From)
	if p == nil {
		return
	}
	p.heard = r.ticks
	// A round that has not begun can't have been answered. Counting it would confirm
	// reads that are still to come.
	if m.Round > p.round && m.Round <= l.reads.round {
		p.round = m.Round
	}
	p.fenced = m.Reject
	if p.fenced && l.transfer.to == p.replica {
		l.transfer = transfer{} // it would ignore TimeoutNow
	}
	// It lives, lacks entries, and has acknowledged nothing for a while: what was
	// sent may be lost. Send it again, or find out with an empty append.
	if p.match < r.log.last.Index && r.ticks-p.moved >= uint64(r.config.HeartbeatTicks) {
		p.moved = r.ticks
		p.waiting = false
		p.check = true
		l.sendDue = true
	}
}

func (l *leader) stepAppendAnswer(m *Message) error {
	r := l.replica
	p := l.followers.of(m.From)
	if p == nil {
		return nil
	}
	if m.Reject {
		// This log only grows while its replica leads, so a correct follower refuses
		// nothing past its end.
		if m.Log.Index > r.log.last.Index || m.Conflict.Index > min(m.Log.Index, m.Commit) {
			return fmt.Errorf("%w: it refuses %s for %s, its last index is %d, the log here ends at %s",
				ErrMessage, m.Log, m.Conflict, m.Commit, r.log.last)
		}
		p.heard = r.ticks
		if bug("match from a rejected append") {
			p.accepted(m.Log.Index)
			l.advanceCommit()
			return nil
		}
		if !p.stale(m.Log.Index) {
			p.probe(r.log.common(m))
			p.moved = r.ticks
			l.sendDue = true
		}
		return nil
	}
	// It acknowledges an id, not an index. By the index alone, another entry at the
	// same place would count for this one.
	term, ok := r.log.termAt(m.Log.Index)
	if m.Log.Index > r.log.last.Index || ok && term != m.Log.Term {
		return fmt.Errorf("%w: it acknowledges %s, which is not in the log here, which ends at %s", ErrMessage, m.Log, r.log.last)
	}
	p.heard, p.moved = r.ticks, r.ticks
	before := p.match
	p.accepted(m.Log.Index)
	l.sendDue = true
	if p.match > before {
		l.advanceCommit() // may end this leadership, and l is empty then
		l.handOver()
	}
	return nil
}

// advanceCommit commits what a quorum has synced. Only an entry of the present
// term is committed by counting: one of an earlier term may be on a majority
// and still be replaced (the paper, section 5.4.2, figure 8).
func (l *leader) advanceCommit() {
	r := l.replica
	// The leader sends entries while its own disk is still busy, so it counts itself
	// like the others: by what is synced (the dissertation, section 10.2.1).
	index := l.quorum(r.log.durable, func(p *progress) uint64 { return p.match })
	if index <= r.log.commit {
		return
	}
	if term, _ := r.log.termAt(index); term != r.term && !bug("commit of an earlier term") {
		return
	}
	r.commitTo(index)
	l.settleMembership()
}

// feedAll sends each replica what it lacks, as far as its window allows. It
// runs when a Ready is looked for, so that what was proposed since the last
// one travels in one message.
func (l *leader) feedAll() {
	if !l.sendDue {
		return
	}
	l.sendDue = false
	for i := range l.followers.list {
		l.feed(&l.followers.list[i])
	}
}

func (l *leader) feed(p *progress) {
	r := l.replica
	if p.next <= r.log.base.Index {
		l.wantSnapshot(p)
		return
	}
	sent := false
	for !p.waiting && p.state != ProgressSnapshot && p.next <= r.log.last.Index {
		if p.state == ProgressReplicate && p.full(&r.config) {
			break
		}
		m := l.appendMessage(p)
		switch {
		case p.next < r.log.first:
			// The owner reads what memory no longer holds; how much it sends
			// is known by the answer.
			m.Fetch = r.log.first - 1
			p.waiting, p.moved = true, r.ticks
		case p.state == ProgressProbe:
			// One at a time: until an append fits, more of them would be refused too.
			m.Entries, _ = r.log.cut(p.next, r.config.AppendBytesMax)
			p.waiting, p.moved = true, r.ticks
		default:
			// next moves before the answer comes; a refusal takes it back.
			entries, bytes := r.log.cut(p.next, r.config.AppendBytesMax)
			if len(p.inflight) == 0 {
				p.moved = r.ticks
			}
			m.Entries = entries
			p.next += uint64(len(entries))
			p.fly(p.next-1, bytes)
		}
		r.out.messages = append(r.out.messages, m)
		sent = true
	}
	// A replica that is being probed may be asked about the last entry too: a power
	// loss may have cost it a snapshot that ends there.
	if p.check && !sent && p.state != ProgressSnapshot {
		r.out.messages = append(r.out.messages, l.appendMessage(p))
	}
	p.check = false
}

// appendMessage returns an append without entries that names the entry before
// p.next.
func (l *leader) appendMessage(p *progress) Message {
	r := l.replica
	term, ok := r.log.termAt(p.next - 1)
	if !ok {
		panic(fmt.Sprintf("raft: append to replica %d after %d, which is not in the log %s to %s", p.replica, p.next-1, r.log.base, r.log.last))
	}
	return Message{
		Type: MsgAppend, From: r.config.Self, To: p.replica, Term: r.term,
		Log: LogID{Term: term, Index: p.next - 1}, Commit: r.log.commit,
	}
}
