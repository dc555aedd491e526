package repl

import (
	"fmt"

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

// expireReads refuses reads whose callers have stopped to wait.
func (g *group) expireReads() {
	expired := func(r Read) bool {
		if r.Deadline == 0 || r.Deadline >= g.host.now {
			return false
		}
		g.readCount--
		g.host.refuse(r.Reply, wire.Unavailable(g.name(),
			fmt.Sprintf("the read was not confirmed in time; applied up to %s", raft.FormatLogID(g.replica.Group, g.applied))))
		return true
	}
	for i := range g.unconfirmed {
		b := &g.unconfirmed[i]
		kept := b.reads[:0]
		for _, r := range b.reads {
			if !expired(r) {
				kept = append(kept, r)
			}
		}
		clear(b.reads[len(kept):])
		b.reads = kept
	}
	kept := g.parked[:0]
	for _, p := range g.parked {
		if !expired(p.read) {
			kept = append(kept, p)
		}
	}
	clear(g.parked[len(kept):])
	g.parked = kept
}
