package raft

import "fmt"

// HardState is what a replica must find again after a crash. Term and Vote are
// promises and need a sync; Commit is a convenience and rides along.
type HardState struct {
	Term   uint64
	Vote   ReplicaID // the replica that this one voted for in Term; 0: none yet
	Commit uint64    // Invariant: never past the end of the log written with it
}

// Read answers one call of [Group.ReadIndex].
type Read struct {
	Number uint64 // as the owner gave it
	Index  uint64 // the read may run once all up to here is applied
}

// Ready is what the owner has to do next; the package comment lists its duties.
// Slices in it are never changed afterwards.
type Ready struct {
	// Number is one more than that of the Ready before; the first is 1.
	// Syncs are reported by it, not by log id: an entry may be written,
	// truncated and written again under the same id, and a late report of the
	// first writing would then count for the last.
	Number uint64

	State        HardState
	StateChanged bool // State is to be written
	MustSync     bool // Term, Vote, Entries or Install are new; a new Commit alone needs no sync

	// Entries are to be appended. If the first one's index is not past the
	// end of the log, the log is truncated from there.
	Entries []Entry

	// Install, if not nil, is a snapshot that takes the place of the log and of
	// the state machine, before Entries: it is written and synced with this
	// Ready. That applies everything up to its Base.
	Install *Install

	// Messages leave at once: PreVote and its answers, heartbeats and their
	// answers, a leader's appends, reads and their answers, TimeoutNow.
	Messages []Message
	// AfterSync leave once this Ready is synced: votes, requests for them, and
	// acknowledgements of entries.
	AfterSync []Message

	// Committed are to be applied, in order. Each entry is handed out exactly
	// once in the life of a Group, and only when it is durable here.
	Committed []Entry

	Reads     []Read
	ReadsLost []uint64 // numbers of reads whose leader stepped down; ask again elsewhere

	// Snapshots are wanted by followers that need what is before the log's
	// beginning. Each is answered by one [Group.SnapshotArrived]
	// or [Group.SnapshotLost].
	Snapshots []SnapshotWanted

	// Membership, if not nil, is in force from here on, and differs from that of
	// the Ready before, or of the restored log. An entry or an install brought it,
	// or it is an older one again, because the entry that changed it, in this life
	// or an earlier one, was truncated.
	Membership *Membership

	Lead ReplicaID // 0: none known
	Role Role
}

// handed is what the last Ready told the owner, so that the next one tells what is
// new.
type handed struct {
	state   HardState
	lead    ReplicaID
	role    Role
	members uint64 // [members.changes]
}

// output gathers what the next Ready hands out.
type output struct {
	install   *Install
	snapshots []SnapshotWanted
	messages  []Message
	afterSync []Message
	reads     []Read
	readsLost []uint64
}

// HasReady reports whether [Group.Ready] has anything to tell.
func (g *Group) HasReady() bool {
	r := &g.replica
	if r.stopped != nil {
		return false
	}
	g.gather()
	return len(r.out.messages) > 0 || len(r.out.afterSync) > 0 ||
		r.out.install != nil || len(r.out.snapshots) > 0 || len(r.out.reads) > 0 || len(r.out.readsLost) > 0 ||
		r.log.written < r.log.last.Index ||
		r.log.handed < min(r.log.commit, r.log.durable) ||
		g.handed != g.hand()
}

// hand returns what the owner is to know now.
func (g *Group) hand() handed {
	r := &g.replica
	state := HardState{Term: r.term, Vote: r.vote, Commit: r.log.commit}
	return handed{state: state, lead: r.lead, role: r.role, members: r.members.changes}
}

// gather produces what was put off until a Ready, so that it leaves together.
func (g *Group) gather() {
	r := &g.replica
	if r.leading != nil {
		r.leading.advanceReads()
		r.leading.feedAll()
	} else if r.questions.due {
		r.send(r.lead, Message{Type: MsgReadIndex, Round: r.questions.ask()})
	}
}

// Ready returns what is to be done, once. A Group that has stopped has nothing
// to do and returns the zero Ready.
func (g *Group) Ready() Ready {
	r := &g.replica
	if r.stopped != nil {
		return Ready{}
	}
	g.gather() // may append messages, so before anything is taken out
	l, before := &r.log, g.handed
	g.handed = g.hand()
	state := g.handed.state
	// Synced counts what is recorded here, not the state of its own moment, which may
	// be of a later term or of another log.
	r.syncs.add(unsynced{last: l.last.Index, term: state.Term, vote: state.Vote, tick: r.ticks})
	rd := Ready{
		Number:       r.syncs.number,
		State:        state,
		StateChanged: state != before.state,
		Entries:      l.slice(l.written+1, l.last.Index),
		Install:      r.out.install,
		Messages:     r.out.messages,
		AfterSync:    r.out.afterSync,
		Reads:        r.out.reads,
		ReadsLost:    r.out.readsLost,
		Snapshots:    r.out.snapshots,
		Lead:         r.lead,
		Role:         r.role,
	}
	rd.MustSync = rd.Install != nil || len(rd.Entries) > 0 || state.Term != before.state.Term || state.Vote != before.state.Vote
	// An entry that is committed but not durable here is on other disks only. If it
	// were applied, a crash could take this state back behind what it has answered.
	if end := min(l.commit, l.durable); l.handed < end {
		rd.Committed = l.slice(l.handed+1, end)
		l.handed = end
	}
	if before.members != g.handed.members {
		now := *r.members.now()
		rd.Membership = &now
	}
	l.written = l.last.Index
	r.out = output{}
	return rd
}

// Synced reports that all Readies up to number n are on disk.
func (g *Group) Synced(n uint64) {
	r := &g.replica
	if r.stopped != nil {
		return
	}
	u, ok := r.syncs.done(n)
	if !ok {
		return
	}
	// Only now does a leader count itself for its entries, and a candidate for its own
	// vote: the disk is the voter. A vote that is synced after its term is over counts
	// in no later one.
	// u.last was lowered if the log was truncated after that Ready was taken.
	r.log.durable = max(r.log.durable, u.last)
	switch {
	case r.leading != nil:
		r.leading.advanceCommit()
	case r.role == RoleCandidate && u.term == r.term && u.vote == r.config.Self:
		r.record(vote{from: r.config.Self, granted: true})
	}
	g.trim()
}

// Applied reports that the state machine has all up to index.
func (g *Group) Applied(index uint64) {
	r := &g.replica
	if r.stopped != nil || index <= r.log.applied {
		return
	}
	if index > r.log.handed {
		panic(fmt.Sprintf("raft: %d is reported as applied, the last one handed out is %d", index, r.log.handed))
	}
	r.log.apply(index)
	g.trim()
	if r.leading != nil {
		r.leading.handOver()
	}
}

// trim forgets entries that memory need not hold: most of those that no follower
// fed from memory lacks, and those that are too many.
func (g *Group) trim() {
	r := &g.replica
	known := r.log.last.Index
	if r.leading != nil {
		known = r.leading.followers.known(known)
	}
	r.log.trim(known, r.config.TailBytesMax)
}
