package repl

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"muster/raft"
	"muster/repl/wire"
)

// commandQueue is the commands of one replica, from their arrival to their answer:
// queued until the core takes them, then waiting to be applied.
type commandQueue struct {
	group      *group
	limiter    Limiter // nil: the machine limits nothing
	queue      []Proposal
	bytes      int          // Invariant: of queue
	waiting    waiters      // all were proposed in this replica's own leadership
	fresh      int          // of waiting, those whose commands no Ready has handed out yet
	entries    []raft.Entry // scratch, for what is handed to the core
	entryBytes int
}

// waiter is a caller that waits for the entry at index to be applied.
type waiter struct {
	index    uint64
	deadline time.Duration // on the host's clock; 0: never
	proposed time.Duration // on the host's clock: when the core took the command
	reply    Reply
}

// waitersKept is how many waiters a queue keeps room for once all are answered; a
// burst of more gives its memory back.
const waitersKept = 256

// waiters are callers in the order of what they wait for. The array is used again:
// to begin a new one with each batch was a seventh of all allocations of a set.
type waiters struct {
	list    []waiter // list[head:] wait
	head    int
	soonest time.Duration // no deadline of them is earlier; 0: none has one
}

func (w *waiters) all() []waiter { return w.list[w.head:] }

// first returns who waits for the lowest index, nil if nobody waits. It is good
// until the next add or drop.
func (w *waiters) first() *waiter {
	if w.head == len(w.list) {
		return nil
	}
	return &w.list[w.head]
}

func (w *waiters) add(x waiter) {
	// Where some always wait the queue never runs empty: what was dropped makes
	// room before the array grows.
	if len(w.list) == cap(w.list) && w.head > len(w.list)/2 {
		n := copy(w.list, w.all())
		clear(w.list[n:])
		w.list, w.head = w.list[:n], 0
	}
	w.list = append(w.list, x)
	w.expect(x.deadline)
}

// expect takes a deadline into soonest.
func (w *waiters) expect(deadline time.Duration) {
	if deadline != 0 && (w.soonest == 0 || deadline < w.soonest) {
		w.soonest = deadline
	}
}

// remove takes out those for which f returns true.
func (w *waiters) remove(f func(waiter) bool) {
	w.list, w.head, w.soonest = slices.DeleteFunc(w.all(), f), 0, 0
	for i := range w.list {
		w.expect(w.list[i].deadline)
	}
}

// drop takes the first out.
func (w *waiters) drop() {
	w.list[w.head] = waiter{} // its connection may be long gone before the array is
	if w.head++; w.head < len(w.list) {
		return
	}
	if w.head, w.soonest = 0, 0; cap(w.list) > waitersKept {
		w.list = nil
	}
	w.list = w.list[:0]
}

// add queues a command for the next work.
func (q *commandQueue) add(p Proposal) {
	if q.group.stopped != nil {
		q.group.host.answers.refuse(p.Reply, q.group.damaged())
		return
	}
	if q.group.role != raft.RoleLeader || q.group.fence != nil {
		q.group.passOn(p.Passage, p.Deadline, p.Reply)
		return
	}
	if q.group.host.late(p.Deadline) {
		q.group.host.answers.refuse(p.Reply, wire.Unavailable(q.group.name(), "the command waited for its turn until its time was over"))
		return
	}
	if err := q.admit(p.Entry.Raw[raft.EntryHeaderSize:]); err != nil {
		q.group.host.answers.refuse(p.Reply, err)
		return
	}
	if q.group.deferred.some() && q.group.deferred.command(&p) {
		return
	}
	size := len(p.Entry.Raw)
	if q.bytes+size > queueBytesMax {
		q.group.host.answers.refuse(p.Reply, wire.Busy(q.group.name(),
			fmt.Sprintf("%d bytes of commands wait, the limit is %d", q.bytes, queueBytesMax), wire.BusyRetry))
		return
	}
	if p.Limited && q.limiter != nil {
		var refused *wire.Error
		if p.ticket, refused = q.limiter.Admit(q.group.state.Term, q.group.host.now, p.Entry.Raw[raft.EntryHeaderSize:]); refused != nil {
			q.group.host.answers.refuse(p.Reply, refused)
			return
		}
	}
	q.queue = append(q.queue, p)
	q.bytes += size
	q.group.touch()
}

// refuse answers a command that is not proposed.
func (q *commandQueue) refuse(p *Proposal, why *wire.Error) {
	if p.ticket != 0 {
		q.limiter.Withdrawn(p.ticket)
	}
	q.group.host.answers.refuse(p.Reply, why)
}

// offer hands queued commands to the core, as many as it takes.
func (q *commandQueue) offer() {
	q.refuseFull()
	done := 0
	for done < len(q.queue) {
		q.entries, q.entryBytes = q.entries[:0], 0
		first, bytes := done, int64(0)
		for done < len(q.queue) && q.entryBytes < proposeBytesMax {
			p := &q.queue[done]
			n := int64(len(p.Entry.Raw)) + entryRoom
			if !q.group.host.full.mayOffer(bytes + n) {
				break
			}
			bytes += n
			q.entries = append(q.entries, p.Entry)
			q.entryBytes += len(p.Entry.Raw)
			done++
		}
		if done == first {
			q.refuseLarge()
			break
		}
		now := q.group.clock.now()
		id, err := q.group.core.Propose(now, q.entries)
		if errors.Is(err, raft.ErrBusy) || errors.Is(err, raft.ErrTransferring) {
			done = first
			break
		}
		if err == nil {
			q.group.host.full.accept(bytes)
			q.group.clock.told = now
		}
		for i := range q.queue[first:done] {
			p := &q.queue[first+i]
			if err != nil {
				q.refuse(p, q.group.notLeader())
				continue
			}
			if p.ticket != 0 {
				q.limiter.Proposed(p.ticket, id.Index+uint64(i))
			}
			if p.Reply.To != nil {
				q.waiting.add(waiter{index: id.Index + uint64(i), deadline: p.Deadline, proposed: q.group.host.now, reply: p.Reply})
				if q.group.host.Stages.queued(WriteQueue, &p.Reply) {
					q.fresh++
				}
			}
		}
		q.bytes -= q.entryBytes
	}
	q.group.host.Stages.taken(WriteQueue)
	clear(q.entries)
	n := copy(q.queue, q.queue[done:])
	clear(q.queue[n:])
	q.queue = q.queue[:n]
	q.expire()
}

// expire refuses commands whose callers have stopped waiting. They were
// never proposed, so it is true that nothing was applied.
func (q *commandQueue) expire() {
	kept := q.queue[:0]
	for _, p := range q.queue {
		if q.group.host.late(p.Deadline) {
			q.bytes -= len(p.Entry.Raw)
			q.refuse(&p, wire.Unavailable(q.group.name(),
				"the command waited for room in the log until its time was over"))
			continue
		}
		kept = append(kept, p)
	}
	clear(q.queue[len(kept):])
	q.queue = kept
}

// abandon answers all callers that wait for something that this replica can no longer
// promise. Another leader may yet commit what is in the log; what is
// only queued is refused outright.
func (g *group) abandon() {
	for _, w := range g.commands.waiting.all() {
		g.host.answers.refuse(w.reply, wire.MaybeApplied(g.name(), "its leader changed while the command was under way"))
	}
	g.commands.waiting, g.commands.fresh = waiters{}, 0
	for _, p := range g.commands.queue {
		g.host.answers.refuse(p.Reply, g.notLeader())
	}
	g.commands.queue, g.commands.bytes = nil, 0
	g.deferred.abandon()
	g.reads.lose(g.reads.waiting)
	g.reads.lose(g.reads.bounded)
	g.reads.waiting, g.reads.bounded = nil, nil
	for _, b := range g.reads.unconfirmed {
		g.reads.lose(b.reads)
	}
	g.reads.unconfirmed = nil
	if g.stopped != nil || g.removed || g.fence != nil {
		for _, p := range g.reads.parked {
			g.reads.lose([]Read{p.read})
		}
		g.reads.parked = nil
	}
}
