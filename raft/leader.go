package raft

import "fmt"

// becomeLeader begins to lead. The first entry is a no-op: its commit commits
// what earlier leaders left (the paper, section 5.4.2).
func (g *Group) becomeLeader() {
	g.role, g.lead = RoleLeader, g.config.Self
	g.votes = nil
	g.sinceBeat = 0
	g.idle = 0
	g.hint, g.transfer = hint{}, transfer{}
	g.preferAt = g.ticks + uint64(g.config.ElectionTicks)
	g.loseReads()
	g.followers.list = nil
	g.followMembership(g.log.last.Index + 1)
	first := LogID{Term: g.term, Index: g.log.last.Index + 1}
	g.append([]Entry{SealedEntry(g.config.Seed, first, g.log.time, EntryNoOp, nil)})
	g.sendDue = true
}

// Propose appends entries to the leader's log, all of them or none, in one
// term without a gap: first is the id of the first one. Each must be of kind
// normal, with Raw of [NewEntry]'s form; it gets its ID, its Time (now, or the
// last entry's if that is later) and its checksum in place, after which Raw is
// the Group's. The slice itself stays the caller's.
func (g *Group) Propose(now GroupTime, entries []Entry) (first LogID, err error) {
	if g.stopped != nil {
		return LogID{}, g.stopped
	}
	if g.role != RoleLeader {
		return LogID{}, ErrNotLeader
	}
	if g.transfer.to != 0 {
		return LogID{}, fmt.Errorf("%w: to replica %d", ErrTransferring, g.transfer.to)
	}
	bytes := 0
	for i := range entries {
		n := len(entries[i].Raw)
		if entries[i].Kind != EntryNormal || n < EntryHeaderSize || n > EntryHeaderSize+PayloadSizeMax {
			return LogID{}, fmt.Errorf("%w: entry %d of %d is of %s and %d bytes long", ErrProposal, i+1, len(entries), entries[i].Kind, n)
		}
		bytes += n
	}
	if len(entries) == 0 {
		return LogID{}, fmt.Errorf("%w: no entries", ErrProposal)
	}
	// A batch that is over the limit by itself is taken when nothing waits.
	if g.log.waiting > 0 && g.log.waiting+bytes > g.config.UncommittedBytesMax {
		return LogID{}, fmt.Errorf("%w: %d bytes wait to be committed and applied, %d more are over the limit of %d",
			ErrBusy, g.log.waiting, bytes, g.config.UncommittedBytesMax)
	}
	g.wake()
	now = min(max(now, g.log.time), TimeLimit-1)
	first = LogID{Term: g.term, Index: g.log.last.Index + 1}
	for i := range entries {
		e := &entries[i]
		e.ID = LogID{Term: g.term, Index: first.Index + uint64(i)}
		e.Time = now
		e.seal(g.config.Seed)
	}
	g.log.append(entries)
	g.sendDue = true
	return first, nil
}

func (g *Group) leaderTick() {
	// CheckQuorum: who is not heard by a majority can commit nothing and
	// confirm no read, and keeps others from electing one who can.
	if g.quorumLost() && !bug("serve after CheckQuorum") {
		g.becomeFollower(g.term, 0)
		return
	}
	if g.stallTick() {
		return
	}
	g.transferTick()
	g.idle++
	if g.sinceBeat++; g.sinceBeat < g.config.HeartbeatTicks || g.rest() {
		return
	}
	g.promote()
	g.preferTick()
	g.beat()
}

func (g *Group) quorumLost() bool {
	heard := g.followers.quorum(g.members.now(), g.ticks, func(p *progress) uint64 { return p.heard })
	return g.ticks-heard >= uint64(g.config.ElectionTicks)
}

// beat sends heartbeats to all. The commit in them goes no further than what
// the follower has acknowledged, for it has no log id to check it by.
func (g *Group) beat() {
	g.sinceBeat = 0
	for i := range g.followers.list {
		p := &g.followers.list[i]
		g.send(p.replica, Message{Type: MsgHeartbeat, Commit: min(p.match, g.log.commit), Round: g.reads.round})
	}
}

func (g *Group) stepHeartbeatAnswer(m *Message) {
	if g.role != RoleLeader {
		return
	}
	p := g.followers.of(m.From)
	if p == nil {
		return
	}
	p.heard = g.ticks
	if m.Round > p.round && m.Round <= g.reads.round {
		p.round = m.Round
	}
	// It is there, has not all, and has acknowledged nothing for a while: what
	// was sent may be lost. Ask again, or find out by an empty append.
	if p.match < g.log.last.Index && g.ticks-p.moved >= uint64(g.config.HeartbeatTicks) {
		p.moved = g.ticks
		p.waiting = false
		p.check = true
		g.sendDue = true
	}
}

func (g *Group) stepAppendAnswer(m *Message) error {
	if g.role != RoleLeader {
		return nil
	}
	p := g.followers.of(m.From)
	if p == nil {
		return nil
	}
	if m.Reject {
		if m.Log.Index > g.log.last.Index || m.Conflict.Index > min(m.Log.Index, m.Commit) {
			return fmt.Errorf("%w: it refuses %s for %s, its last index is %d, the log here ends at %s",
				ErrMessage, m.Log, m.Conflict, m.Commit, g.log.last)
		}
		p.heard = g.ticks
		if bug("match from a rejected append") {
			p.accepted(m.Log.Index)
			g.advanceCommit()
			return nil
		}
		if !p.stale(m.Log.Index) {
			p.probe(g.log.common(m))
			p.moved = g.ticks
			g.sendDue = true
		}
		return nil
	}
	term, ok := g.log.termAt(m.Log.Index)
	if m.Log.Index > g.log.last.Index || ok && term != m.Log.Term {
		return fmt.Errorf("%w: it acknowledges %s, which is not in the log here, which ends at %s", ErrMessage, m.Log, g.log.last)
	}
	p.heard, p.moved = g.ticks, g.ticks
	before := p.match
	p.accepted(m.Log.Index)
	g.sendDue = true
	if p.match > before {
		g.advanceCommit()
		g.handOver()
	}
	return nil
}

// advanceCommit commits what a quorum has synced. Only an entry of the present
// term is committed by counting: one of an earlier term may be on a majority
// and still be replaced (the paper, section 5.4.2, figure 8).
func (g *Group) advanceCommit() {
	index := g.followers.quorum(g.members.now(), g.log.durable, func(p *progress) uint64 { return p.match })
	if index <= g.log.commit {
		return
	}
	if term, _ := g.log.termAt(index); term != g.term && !bug("commit of an earlier term") {
		return
	}
	g.commitTo(index)
	g.settleMembership()
}

// feedAll sends each replica what it lacks, as far as its window allows. It
// runs when a Ready is looked for, so that what was proposed since the last
// one travels in one message.
func (g *Group) feedAll() {
	if !g.sendDue {
		return
	}
	g.sendDue = false
	for i := range g.followers.list {
		g.feed(&g.followers.list[i])
	}
}

func (g *Group) feed(p *progress) {
	if p.next <= g.log.base.Index {
		g.wantSnapshot(p)
		return
	}
	sent := false
	for !p.waiting && p.state != ProgressSnapshot && p.next <= g.log.last.Index {
		if p.state == ProgressReplicate && p.full(&g.config) {
			break
		}
		m := g.appendMessage(p)
		switch {
		case p.next < g.log.first:
			// The owner reads what memory no longer holds; how much it sends
			// is known by the answer.
			m.Fetch = g.log.first - 1
			p.waiting, p.moved = true, g.ticks
		case p.state == ProgressProbe:
			m.Entries, _ = g.log.cut(p.next, g.config.AppendBytesMax)
			p.waiting, p.moved = true, g.ticks
		default:
			entries, bytes := g.log.cut(p.next, g.config.AppendBytesMax)
			if len(p.inflight) == 0 {
				p.moved = g.ticks
			}
			m.Entries = entries
			p.next += uint64(len(entries))
			p.fly(p.next-1, bytes)
		}
		g.out.messages = append(g.out.messages, m)
		sent = true
	}
	// A replica that is being probed may be asked about the last entry, too: it
	// was given a snapshot that ends there, and lost it with its power.
	if p.check && !sent && p.state != ProgressSnapshot {
		g.out.messages = append(g.out.messages, g.appendMessage(p))
	}
	p.check = false
}

// appendMessage returns an append without entries that names the entry before
// p.next.
func (g *Group) appendMessage(p *progress) Message {
	term, ok := g.log.termAt(p.next - 1)
	if !ok {
		panic(fmt.Sprintf("raft: append to replica %d after %d, which is not in the log %s to %s", p.replica, p.next-1, g.log.base, g.log.last))
	}
	return Message{
		Type: MsgAppend, From: g.config.Self, To: p.replica, Term: g.term,
		Log: LogID{Term: term, Index: p.next - 1}, Commit: g.log.commit,
	}
}
