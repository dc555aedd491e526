package repl

import (
	"fmt"
	"slices"

	"muster/raft"
	"muster/repl/wire"
)

// readBatch is the reads that one confirmation answers.
type readBatch struct {
	number uint64
	reads  []Read
}

// parkedRead waits until index is applied.
type parkedRead struct {
	index uint64
	read  Read
}

// read queues a query for the next work, or parks it where it needs no leader.
func (g *group) read(r Read) {
	switch {
	case g.stopped != nil:
		g.host.refuse(r.Reply, g.damaged())
	case g.readCount >= readsMax:
		g.host.refuse(r.Reply, wire.Busy(g.name(),
			fmt.Sprintf("%d reads wait, the limit is %d", g.readCount, readsMax), busyRetry))
	case r.Local && r.After > g.applied.Index && len(g.parked) >= parkedMax:
		g.host.refuse(r.Reply, wire.Busy(g.name(),
			fmt.Sprintf("%d reads wait for an index, the limit is %d", len(g.parked), parkedMax), busyRetry))
	case r.Local:
		g.readCount++
		g.park(r.After, r)
	case g.role != raft.RoleLeader && (!r.AnyReplica || g.lead == 0):
		g.host.refuse(r.Reply, g.notLeader())
	default:
		g.readCount++
		g.reads = append(g.reads, r)
		g.touch()
	}
}

// offerReads asks the core for one confirmation for all reads of this turn.
func (g *group) offerReads() {
	if len(g.reads) == 0 {
		return
	}
	g.readNumber++
	reads := g.reads
	g.reads = nil
	if bug("read without confirmation") {
		for _, r := range reads {
			g.park(g.state.Commit, r)
		}
		return
	}
	if err := g.core.ReadIndex(g.readNumber); err != nil {
		g.loseReads(reads)
		return
	}
	g.unconfirmed = append(g.unconfirmed, readBatch{number: g.readNumber, reads: reads})
}

// confirm takes the core's word that reads may be served from an index on.
func (g *group) confirm(confirmed []raft.Read) {
	machine, expects := g.machine.(Expecter)
	for _, c := range confirmed {
		for len(g.unconfirmed) > 0 && g.unconfirmed[0].number <= c.Number {
			reads := g.unconfirmed[0].reads
			for i, r := range reads {
				if expects && i%machine.ExpectMax() == 0 && c.Index <= g.applied.Index {
					machine.ExpectReads(reads[i:min(len(reads), i+machine.ExpectMax())])
				}
				if r.After > c.Index {
					g.refuseAhead(r, c.Index)
					continue
				}
				g.park(c.Index, r)
			}
			g.unconfirmed[0] = readBatch{}
			g.unconfirmed = g.unconfirmed[1:]
		}
	}
}

// refuseAhead refuses a read that asks for more than there is. What was told to
// anybody as done was committed before, and is at or below a confirmed index;
// so nobody was told that log id, and to wait for it could be for ever.
func (g *group) refuseAhead(r Read, confirmed uint64) {
	g.readCount--
	g.host.refuse(r.Reply, wire.BadRequest(g.name(),
		fmt.Sprintf("the read is to be after index %d, the log has got to %d", r.After, confirmed), "ask with a log id that an answer gave"))
}

// lost answers reads whose confirmation will not come.
func (g *group) lost(numbers []uint64) {
	for _, n := range numbers {
		for i := range g.unconfirmed {
			if g.unconfirmed[i].number == n {
				g.loseReads(g.unconfirmed[i].reads)
				g.unconfirmed = append(g.unconfirmed[:i], g.unconfirmed[i+1:]...)
				break
			}
		}
	}
}

func (g *group) loseReads(reads []Read) {
	for _, r := range reads {
		g.readCount--
		g.host.refuse(r.Reply, g.notLeader())
	}
}

// park runs a read at once if index is applied, else keeps it until it is.
func (g *group) park(index uint64, r Read) {
	if g.applied.Index >= index {
		g.run(r)
		return
	}
	g.parked = append(g.parked, parkedRead{index: index, read: r})
}

func (g *group) runParked() {
	if len(g.parked) == 0 {
		return
	}
	kept := g.parked[:0]
	for _, p := range g.parked {
		if g.applied.Index >= p.index {
			g.run(p.read)
			continue
		}
		kept = append(kept, p)
	}
	clear(g.parked[len(kept):])
	g.parked = kept
}

func (g *group) run(r Read) {
	g.readCount--
	if r.Query.Run(g.machine, g.applied, r.Reply) {
		g.host.touched = append(g.host.touched, r.Reply.To)
	}
}

// expireWaits answers those whose callers have stopped to wait, whatever it is
// that does not come: a confirmation, an index, an entry that is applied. It is
// called with each tick, also while the group rests or its disk hangs, since
// what they hold (memory, and the room of their connections) is given back by
// nothing else. Commands that are only queued see to it themselves.
func (g *group) expireWaits() {
	if g.readCount > 0 && !(g.quiet && bug("reads of a resting group kept")) {
		g.expireReads()
	}
	// Commands are answered in order, so the first waits longest. The others
	// are looked at when its time is over: in a group that goes on never.
	if len(g.waiters) > 0 && g.host.late(g.waiters[0].deadline) {
		g.expireWaiters()
	}
}

// expireReads refuses reads that wait for a confirmation or for an index.
func (g *group) expireReads() {
	at := raft.FormatLogID(g.replica.Group, g.applied)
	for i := range g.unconfirmed {
		b := &g.unconfirmed[i]
		b.reads = slices.DeleteFunc(b.reads, func(r Read) bool {
			return g.expired(&r, func() string { return "the read was not confirmed in time; applied up to " + at })
		})
	}
	g.parked = slices.DeleteFunc(g.parked, func(p parkedRead) bool {
		return g.expired(&p.read, func() string {
			return fmt.Sprintf("index %d was not applied in time; applied up to %s", p.index, at)
		})
	})
}

// expired refuses a read if its time is over. why is asked for only then.
func (g *group) expired(r *Read, why func() string) bool {
	if !g.host.late(r.Deadline) {
		return false
	}
	g.readCount--
	g.host.refuse(r.Reply, wire.Unavailable(g.name(), why()))
	return true
}

// expireWaiters answers commands that are in the log and were not applied in
// time: on a disk that hangs, or without a majority, until a leader steps down.
// They may be applied yet.
func (g *group) expireWaiters() {
	g.waiters = slices.DeleteFunc(g.waiters, func(w waiter) bool {
		if !g.host.late(w.deadline) {
			return false
		}
		g.host.refuse(w.reply, wire.MaybeApplied(g.name(), "the command is in the log and was not applied in time"))
		return true
	})
}
