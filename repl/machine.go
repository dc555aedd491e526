package repl

import (
	"io"
	"time"

	"muster/logstore"
	"muster/raft"
	"muster/repl/wire"
)

// StateMachine is what the log of a group drives. One goroutine, the host's, calls
// it; the machine itself arranges for other readers.
type StateMachine interface {
	// Apply lets e, the next committed entry of kind normal, take effect.
	// If answer is set, a caller waits: Apply appends the body of the
	// answer to out and returns its type. e may be kept; out may not.
	//
	// An error means that this version can't tell what e means, or that an
	// invariant is broken: the group stops at the entry before e.
	Apply(e raft.Entry, answer bool, out []byte) (wire.Type, []byte, error)
	// Skip takes note of e, the next committed entry of another kind.
	Skip(e raft.Entry) error
	// Copy returns the state as it is now, between two entries, without
	// walking over it. Further entries are applied before it is released.
	Copy() StateCopy
	// Restore loads the state that a copy of another replica's machine, or
	// of this one's in another life, wrote to r, all of which it reads. The
	// state stands at the entry at, whose group time is t. Nobody else has
	// seen the machine yet, and any goroutine may call this.
	//
	// After an error the machine is unchanged: the bytes are no
	// state, or a state of a level that this version does not understand.
	Restore(r io.Reader, at raft.LogID, t raft.GroupTime) error
	// Restored is called after Restore by the goroutine that applies, once
	// the machine is its group's and before it gets its next entry. It tells
	// others of the new state now, and not before.
	Restored()
}

// Expecter is a [StateMachine] that works faster if it knows what is coming.
type Expecter interface {
	// Expect announces the next committed entries. They may be kept until
	// they are applied, and nothing must depend on the call.
	Expect(entries []raft.Entry)
	// ExpectReads announces the reads that run next. They may not be kept.
	ExpectReads(reads []Read)
	// ExpectMax is how many entries or reads it takes at once.
	ExpectMax() int
}

// Expirer is a [StateMachine] of which parts last until a group time. They end at
// an entry of kind time, which the host proposes while the group leads here: when
// something is due, and now and then before that.
type Expirer interface {
	// NextDue reports whether any part waits for a time, and returns a time
	// before which none is due. It is called after each run of entries and must
	// cost next to nothing, so it need not be the time at which one is due: if
	// none is by then, the entry lets the machine look for a better one.
	NextDue() (at raft.GroupTime, waits bool)
}

// Observed is a [StateMachine] at which others look beside the goroutine that applies.
type Observed interface {
	// Ran is called after each run of entries. It must cost next to nothing. It reports whether these may have made the
	// machine want something: it is asked then, if it is a [Proposer].
	Ran() (wants bool)
	// Gone is called when no more entries come: the replica was removed, or it stops.
	Gone()
}

// Settler is a [StateMachine] whose state names files that are kept beside it. A snapshot names them too, and is of no use
// without them.
type Settler interface {
	// Settle returns "" if all files that the state names are here, and sees to it that they stay for as long as a snapshot
	// of the state as of an entry may be kept; else why no snapshot is to be written now. It is called right before Copy,
	// and must not wait.
	Settle(at raft.LogID) (why string)
}

// Led is a [StateMachine] that is told who leads its group.
type Led interface {
	// Led is called when the replica hears of another leader, or of none any more: 0.
	Led(leader raft.ReplicaID)
}

// StateCopy is the state of a machine as it was at one entry. Any goroutine may use
// it, one at a time.
type StateCopy interface {
	// WriteTo writes the state to w, once: equal states as equal bytes. It
	// releases each part as soon as that is written. It fails if bytes
	// in memory differ from what was written to them.
	WriteTo(w io.Writer) (int64, error)
	// Release gives the copy up. A second Release does nothing.
	Release()
}

// Trimmer is a [StateCopy] with something that the state can do without. Only on a disk that
// lacks room is that left out.
type Trimmer interface {
	// Trim leaves it out. It is called before WriteTo.
	Trim()
}

// Replier takes the answers to requests, usually for one connection.
type Replier interface {
	// Answer queues the answer to a request. It does not block and keeps
	// nothing of body. It reports whether the caller must call Flush: whether this is
	// the first answer since the last one.
	Answer(r Reply, t wire.Type, body []byte) (first bool)
	// Flush sends what is queued, without blocking.
	Flush()
}

// Reply names the connection to answer, and its request.
type Reply struct {
	To      Replier
	Request uint64
	// Size is what the request counts against its connection's limit of
	// bytes in flight, until it is answered.
	Size int
	// At is when the request was read off its connection, on the clock given to [Host.Turn];
	// 0: it is the node's own, and nobody counts how long it takes.
	At time.Duration
	// Type is the request's, where a client or a member sent one.
	Type wire.Type
}

// Proposal is a command on its way into a group's log.
type Proposal struct {
	Group raft.GroupID
	// Entry is made by [raft.NewEntry], or has its payload behind
	// [raft.EntryHeaderSize] free bytes. The host owns it from here on.
	Entry raft.Entry
	// Deadline, on the clock given to [Host.Turn], is when the caller stops
	// waiting; 0 is never. A command that has not reached the log by then is
	// refused, and will not be applied.
	Deadline time.Duration
	Reply    Reply
	// Passage, if not nil, is how the command is passed on by a node that does not
	// lead the group.
	Passage *Passage
	// Limited has a [Limiter] asked before the command is queued.
	Limited bool

	ticket uint64 // of the limiter; 0: it wants to hear no more of it
}

// Limiter is a [StateMachine] that may refuse commands where its group is led, by what there is already.
// What it admits stands in the log in the order in which it was asked, unless it is withdrawn.
type Limiter interface {
	// Admit says why the command may not be queued that has this payload, while its group is led here
	// in a term; now is on the host's clock. ticket, if not 0, is the name of what was admitted.
	Admit(term uint64, now time.Duration, payload []byte) (ticket uint64, refused *wire.Error)
	// Proposed says at which index stands what was admitted.
	Proposed(ticket, index uint64)
	// Withdrawn says that what was admitted will not be proposed.
	Withdrawn(ticket uint64)
}

// Query is a question to a state machine.
type Query interface {
	// Run answers from machine, whose last applied entry is at. It must not
	// block, and hands on long work. The query answers r itself, perhaps
	// later; first is what [Replier.Answer] returned, if it was called.
	Run(machine StateMachine, at raft.LogID, r Reply) (first bool)
}

// Read is a query on its way to a group.
type Read struct {
	Group raft.GroupID
	// Local asks for this replica's state as it is; else the read is
	// linearizable and only the leader takes it.
	Local bool
	// AnyReplica lets this replica take a linearizable read even if it does
	// not lead: it asks the leader from which index on it may answer.
	AnyReplica bool
	// Defers has a [Deferrer] asked before the query runs even if nothing is being
	// handed over: the query may wait for what this replica has not applied yet.
	Defers bool
	// After, if not zero, is an index that must be applied before the query
	// runs.
	After uint64
	// Stale, if not zero, lets a linearizable read be that old: it sees all that was
	// acknowledged that long before it came, by this host's clock. A replica whose
	// leader confirmed that much already answers at once, even if nobody leads now.
	Stale    time.Duration
	Deadline time.Duration
	Reply    Reply
	Query    Query
	// Passage, if not nil, is how the query is passed on by a node without a replica
	// of the group, or, unless AnyReplica is set, by one that does not lead it.
	Passage *Passage
}

// Transport carries messages to other nodes. It never blocks; it may lose,
// delay or repeat a message, and what it delivers is what was sent. Messages
// to one node should arrive in order: Raft is safe without it, but slow.
type Transport interface {
	// Send queues one message. It may keep the bytes of e's entries, which do not
	// change, and nothing else of e.
	Send(to raft.NodeID, e *wire.Envelope)
	// Fetch queues an append whose entries are still to be read from the
	// log: as far as its Fetch says, or less. After they are read, current
	// reports whether the message may still leave: a replica that no longer leads may
	// have read what another leader wrote. Nothing of e is kept.
	Fetch(to raft.NodeID, e *wire.Envelope, current func() bool)
	// SendBeat queues the heartbeats of all groups to one node, or the
	// answers to these. Nothing of b is kept.
	SendBeat(to raft.NodeID, b *wire.Beat, answer bool)
	// SendRepair queues a question for entries that this node's log lost.
	// Nothing of q is kept.
	SendRepair(to raft.NodeID, q *wire.Repair)
	// AnswerRepair queues the answer to one. Its entries are still to be
	// read: those that [ReadIntact] finds of wanted in the log of r. It keeps
	// wanted, and nothing of a.
	AnswerRepair(to raft.NodeID, a *wire.RepairAnswer, r logstore.Replica, wanted []wire.RepairSpan)
	// SendLife queues a [wire.LifeQuestion] or a [wire.LifeAnswer]. Nothing of b is
	// kept.
	SendLife(to raft.NodeID, t wire.Type, b wire.Body)
	// SendAudit queues a [wire.AuditReport] or a [wire.AuditVerdict]. Nothing of b is kept.
	SendAudit(to raft.NodeID, t wire.Type, b wire.Body)
	// SendForward queues a request that is passed on, for whose answer its client
	// waits for so long. It reports false if it can't: then nothing has left. Nothing
	// of f is kept.
	SendForward(to raft.NodeID, number uint64, within time.Duration, f *wire.Forward) bool
	// SendSnapshotRequest queues a request. Nothing of q is kept.
	SendSnapshotRequest(to raft.NodeID, q *wire.SnapshotRequest)
	// SendSnapshot begins to send a snapshot, on a connection of its own. It calls
	// [Host.SnapshotSent] at the end, once, not from within this call.
	SendSnapshot(to raft.NodeID, s *SnapshotStream)
	// Flush lets everything queued leave: one call for each turn.
	Flush()
}
