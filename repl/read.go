package repl

import (
	"fmt"
	"slices"

	"muster/raft"
	"muster/repl/wire"
)

// readQueue is the reads of one replica, from their arrival to their answer.
type readQueue struct {
	group       *group
	waiting     []Read       // of this turn
	bounded     []Read       // of this turn, that may be answered by what was confirmed before; see bounded.go
	number      uint64       // of the last batch that the core was asked about
	unconfirmed []readBatch  // by number
	confirmed   confirmation // the newest
	parked      []parkedRead
	count       int // Invariant: of all these, and of those that are deferred
}

// readBatch is the reads that one confirmation answers.
type readBatch struct {
	number uint64
	asked  moment // when the core was asked
	timed  int    // how many of reads are not the node's own
	reads  []Read
}

// parkedRead waits until index is applied.
type parkedRead struct {
	index uint64
	read  Read
}

// readRooms are slices that batches of reads have left, for the batches to come. All
// groups of a host share them: after most turns most groups have none.
type readRooms struct {
	free [][]Read
	room int // reads that all of free have room for. Invariant: <= readRoomsMax
}

// readRoomsMax is for how many reads there may be room: 2 MB.
const readRoomsMax = 16 << 10

// take returns a slice without reads. It may have room for some.
func (r *readRooms) take() (reads []Read) {
	if last := len(r.free) - 1; last >= 0 {
		reads, r.free[last] = r.free[last], nil
		r.free = r.free[:last]
		r.room -= cap(reads)
	}
	return reads
}

// give takes a slice back whose reads are answered, or are kept elsewhere.
func (r *readRooms) give(reads []Read) {
	if r.room+cap(reads) > readRoomsMax {
		return
	}
	clear(reads)
	r.free = append(r.free, reads[:0])
	r.room += cap(reads)
}

// add queues a query for the next work, or parks it if it needs no leader.
func (q *readQueue) add(r *Read) {
	switch {
	case q.group.stopped != nil:
		q.group.host.answers.refuse(r.Reply, q.group.damaged())
	case !q.group.fence.serves():
		q.group.fence.refuse(r)
	case q.count >= readsMax:
		q.group.host.answers.refuse(r.Reply, wire.Busy(q.group.name(),
			fmt.Sprintf("%d reads wait, the limit is %d", q.count, readsMax), wire.BusyRetry))
	case r.Local && r.After > q.group.applied.Index && len(q.parked) >= parkedMax:
		q.group.host.answers.refuse(r.Reply, wire.Busy(q.group.name(),
			fmt.Sprintf("%d reads wait for an index, the limit is %d", len(q.parked), parkedMax), wire.BusyRetry))
	case r.Local:
		q.count++
		q.park(r.After, r)
	case r.AnyReplica && q.group.lead == 0 && bug("follower read answered while its leader is cut off"):
		q.count++
		q.park(q.group.state.Commit, r)
	case r.Stale > 0 && (r.AnyReplica || q.group.role == raft.RoleLeader):
		q.count++
		q.bounded = append(q.bounded, *r)
		q.group.touch()
	case q.group.role != raft.RoleLeader && !r.AnyReplica:
		q.group.passOn(r.Passage, r.Deadline, r.Reply)
	case q.group.role != raft.RoleLeader && q.group.lead == 0:
		q.group.host.answers.refuse(r.Reply, q.group.notLeader())
	default:
		q.count++
		if q.waiting == nil {
			q.waiting = q.group.host.readRooms.take()
		}
		q.waiting = append(q.waiting, *r)
		q.group.touch()
	}
}

// offer asks the core for one confirmation for all reads of this turn.
//
// Each turn's reads get a confirmation of their own. One that was asked for
// earlier would not do: another leader may have acknowledged a write since, and a
// read that began after that must see it.
func (q *readQueue) offer() {
	if len(q.bounded) > 0 {
		q.offerBounded()
	}
	if len(q.waiting) == 0 {
		return
	}
	q.number++
	reads := q.waiting
	q.waiting = nil
	if bug("read without confirmation") {
		for i := range reads {
			q.park(q.group.state.Commit, &reads[i])
		}
		return
	}
	if err := q.group.core.ReadIndex(q.number); err != nil {
		q.lose(reads)
		return
	}
	timed := 0
	for i := range reads {
		if q.group.host.Stages.queued(ReadQueue, &reads[i].Reply) {
			timed++
		}
	}
	q.group.host.Stages.taken(ReadQueue)
	q.unconfirmed = append(q.unconfirmed, readBatch{number: q.number, asked: present(q.group.host), timed: timed, reads: reads})
}

// confirm takes the core's word that reads may be served from an index on.
func (q *readQueue) confirm(confirmed []raft.Read) {
	machine, expects := q.group.machine.(Expecter)
	for _, c := range confirmed {
		// A confirmation that was asked for later covers earlier reads too: who
		// leads at the later moment has led all the while, and its index is no
		// lower.
		for len(q.unconfirmed) > 0 && q.unconfirmed[0].number <= c.Number {
			q.note(q.unconfirmed[0].asked, c.Index)
			reads := q.unconfirmed[0].reads
			stages := &q.group.host.Stages
			began, ran := stages.now(), stages.reads.ran
			stages.took(ReadConfirm, q.unconfirmed[0].asked.at, began, q.unconfirmed[0].timed)
			for i := range reads {
				r := &reads[i]
				if expects && i%machine.ExpectMax() == 0 && c.Index <= q.group.applied.Index {
					machine.ExpectReads(reads[i:min(len(reads), i+machine.ExpectMax())])
				}
				if r.After > c.Index {
					q.refuseAhead(r, c.Index)
					continue
				}
				q.park(c.Index, r)
			}
			stages.took(ReadAnswer, began, stages.now(), stages.reads.ran-ran)
			q.group.host.readRooms.give(reads)
			q.unconfirmed = slices.Delete(q.unconfirmed, 0, 1) // in place: there are few
		}
	}
}

// refuseAhead refuses a read that asks for more than there is. Everything that was
// reported as done was committed before, and is at or below a confirmed index.
// So nobody was given that log id, and the read might wait for it for ever.
func (q *readQueue) refuseAhead(r *Read, confirmed uint64) {
	q.count--
	q.group.host.answers.refuse(r.Reply, wire.BadRequest(q.group.name(),
		fmt.Sprintf("the read is to be after index %d, the log has got to %d", r.After, confirmed), "ask with a log id that an answer gave"))
}

// lost answers reads whose confirmation will not come.
func (q *readQueue) lost(numbers []uint64) {
	for _, n := range numbers {
		for i := range q.unconfirmed {
			if q.unconfirmed[i].number == n {
				if reads := q.unconfirmed[i].reads; q.group.role != raft.RoleLeader && bug("follower read answered while its leader is cut off") {
					for j := range reads {
						q.park(q.group.state.Commit, &reads[j])
					}
				} else {
					q.lose(reads)
				}
				q.unconfirmed = append(q.unconfirmed[:i], q.unconfirmed[i+1:]...)
				break
			}
		}
	}
}

func (q *readQueue) lose(reads []Read) {
	for _, r := range reads {
		q.count--
		q.group.host.answers.refuse(r.Reply, q.group.notLeader())
	}
}

// park runs a read at once if index is applied, else keeps it until it is.
func (q *readQueue) park(index uint64, r *Read) {
	// The state may be newer than the index: a linearizable read must see at
	// least what was done before it began, and may see more.
	if q.group.applied.Index >= index {
		q.run(r)
		return
	}
	q.parked = append(q.parked, parkedRead{index: index, read: *r})
}

func (q *readQueue) runParked() {
	if len(q.parked) == 0 {
		return
	}
	kept := q.parked[:0]
	for i := range q.parked {
		p := &q.parked[i]
		if q.group.applied.Index >= p.index {
			q.run(&p.read)
			continue
		}
		kept = append(kept, *p)
	}
	clear(q.parked[len(kept):])
	q.parked = kept
}

func (q *readQueue) run(r *Read) {
	if (r.Defers || q.group.deferred.some()) && q.group.deferred.read(r) {
		return
	}
	q.count--
	if r.Query.Run(q.group.machine, q.group.applied, r.Reply) {
		q.group.host.answers.touched = append(q.group.host.answers.touched, r.Reply.To)
	}
	q.group.host.Stages.read(&r.Reply)
}

// expireWaits answers requests whose callers have stopped waiting, whatever they
// waited for: a confirmation, an index, an entry that is applied. It is
// called with each tick, even while the group rests or its disk hangs, since
// nothing else frees what they hold (memory, and the room of their connections).
// Queued commands expire by themselves.
func (g *group) expireWaits() {
	if g.reads.count > 0 && !(g.resting.quiet && bug("reads of a resting group kept")) {
		g.reads.expire()
	}
	if len(g.deferred.commands)+len(g.deferred.reads) > 0 {
		g.deferred.expire()
	}
	// All are looked at once the time of one may be over, which in a working group
	// never happens. The first need not be the one: what was passed on brings what
	// was left of its caller's time.
	if g.host.late(g.commands.waiting.soonest) {
		g.commands.expireWaiters()
	}
}

// expire refuses reads that wait for a confirmation or for an index.
func (q *readQueue) expire() {
	at := raft.FormatLogID(q.group.replica.Group, q.group.applied)
	for i := range q.unconfirmed {
		b := &q.unconfirmed[i]
		b.reads = slices.DeleteFunc(b.reads, func(r Read) bool {
			return q.expired(&r, func() *wire.Error {
				return wire.Unavailable(q.group.name(), "the read was not confirmed in time; applied up to "+at)
			})
		})
	}
	q.parked = slices.DeleteFunc(q.parked, func(p parkedRead) bool {
		return q.expired(&p.read, func() *wire.Error {
			return wire.Unavailable(q.group.name(), fmt.Sprintf("index %d was not applied in time; applied up to %s", p.index, at))
		})
	})
}

// expired refuses a read if its time is over. It calls why only then.
func (q *readQueue) expired(r *Read, why func() *wire.Error) bool {
	if !q.group.host.late(r.Deadline) {
		return false
	}
	q.count--
	q.group.host.answers.refuse(r.Reply, why())
	return true
}

// expireWaiters answers commands that are in the log and were not applied in
// time: on a disk that hangs, or without a majority, until a leader steps down.
// They may still be applied.
func (q *commandQueue) expireWaiters() {
	q.waiting.remove(func(w waiter) bool {
		if !q.group.host.late(w.deadline) {
			return false
		}
		q.group.host.answers.refuse(w.reply, wire.MaybeApplied(q.group.name(), "the command is in the log and was not applied in time"))
		return true
	})
}
