package repl

import (
	"errors"
	"fmt"
	"time"

	"muster/raft"
	"muster/repl/wire"
)

// waiter is somebody who waits for the entry at index to be applied.
type waiter struct {
	index    uint64
	deadline time.Duration // on the host's clock; 0: never
	reply    Reply
}

// propose queues a command for the next work.
func (g *group) propose(p Proposal) {
	if g.stopped != nil {
		g.host.refuse(p.Reply, g.damaged())
		return
	}
	if g.role != raft.RoleLeader {
		g.host.refuse(p.Reply, g.notLeader())
		return
	}
	if g.host.late(p.Deadline) {
		g.host.refuse(p.Reply, wire.Unavailable(g.name(), "the command waited for its turn until its time was over"))
		return
	}
	if err := g.admit(p.Entry.Raw[raft.EntryHeaderSize:]); err != nil {
		g.host.refuse(p.Reply, err)
		return
	}
	size := len(p.Entry.Raw)
	if g.queueBytes+size > queueBytesMax {
		g.host.refuse(p.Reply, wire.Busy(g.name(),
			fmt.Sprintf("%d bytes of commands wait, the limit is %d", g.queueBytes, queueBytesMax), busyRetry))
		return
	}
	g.queue = append(g.queue, p)
	g.queueBytes += size
	g.touch()
}

// offerProposals hands queued commands to the core, as many as it takes.
func (g *group) offerProposals() {
	g.refuseQueue()
	done := 0
	for done < len(g.queue) {
		g.entries, g.entryBytes = g.entries[:0], 0
		first, bytes := done, int64(0)
		for done < len(g.queue) && g.entryBytes < proposeBytesMax {
			p := &g.queue[done]
			n := int64(len(p.Entry.Raw)) + entryRoom
			if !g.host.mayOffer(bytes + n) {
				break
			}
			bytes += n
			g.entries = append(g.entries, p.Entry)
			g.entryBytes += len(p.Entry.Raw)
			done++
		}
		if done == first {
			g.refuseLarge()
			break
		}
		id, err := g.core.Propose(g.groupTime(), g.entries)
		if errors.Is(err, raft.ErrBusy) || errors.Is(err, raft.ErrTransferring) {
			done = first
			break
		}
		if err == nil {
			g.host.accept(bytes)
		}
		for i := range g.queue[first:done] {
			p := &g.queue[first+i]
			if err != nil {
				g.host.refuse(p.Reply, g.notLeader())
				continue
			}
			if p.Reply.To != nil {
				g.waiters = append(g.waiters, waiter{index: id.Index + uint64(i), deadline: p.Deadline, reply: p.Reply})
			}
		}
		g.queueBytes -= g.entryBytes
	}
	clear(g.entries)
	n := copy(g.queue, g.queue[done:])
	clear(g.queue[n:])
	g.queue = g.queue[:n]
	g.expireQueue()
}

// expireQueue refuses commands whose callers have stopped to wait. They were
// never proposed, so that is the whole truth.
func (g *group) expireQueue() {
	kept := g.queue[:0]
	for _, p := range g.queue {
		if g.host.late(p.Deadline) {
			g.queueBytes -= len(p.Entry.Raw)
			g.host.refuse(p.Reply, wire.Unavailable(g.name(),
				"the command waited for room in the log until its time was over"))
			continue
		}
		kept = append(kept, p)
	}
	clear(g.queue[len(kept):])
	g.queue = kept
}

// groupTime is the time that a new entry gets: the time at which this leader
// took over, and what its own clock measured since.
func (g *group) groupTime() raft.GroupTime {
	return g.leadingGT + raft.GroupTime(g.host.now-g.leadingAt)
}

// abandon answers all who wait for something that this replica can no longer
// promise. What is in the log may yet be committed by another leader; what is
// only queued is refused outright.
func (g *group) abandon() {
	for _, w := range g.waiters {
		g.host.refuse(w.reply, wire.MaybeApplied(g.name(), "its leader changed while the command was under way"))
	}
	g.waiters = nil
	for _, p := range g.queue {
		g.host.refuse(p.Reply, g.notLeader())
	}
	g.queue, g.queueBytes = nil, 0
	g.loseReads(g.reads)
	g.reads = nil
	for _, b := range g.unconfirmed {
		g.loseReads(b.reads)
	}
	g.unconfirmed = nil
	if g.stopped != nil || g.removed {
		for _, p := range g.parked {
			g.loseReads([]Read{p.read})
		}
		g.parked = nil
	}
}
