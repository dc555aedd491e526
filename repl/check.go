package repl

import (
	"fmt"
	"reflect"
	"slices"
	"time"

	"muster/raft"
)

// CheckHost returns an error if the host's copy of a core's state differs from the
// core's, or if a request is kept that nobody waits for. It is for tests, between two
// turns, whatever happened before or in an earlier life. A host that goes by
// another membership, term or leader than its core sends to replicas that are no
// members, or not to those that are. A request that is kept holds memory, and
// the room of its connection.
func CheckHost(h *Host) error {
	requests, bytes := 0, 0
	for _, g := range h.order {
		requests += len(g.deferred.commands) + len(g.deferred.reads)
		for _, d := range g.deferred.commands {
			bytes += len(d.proposal.Entry.Raw)
		}
	}
	if d := &h.Deferrals; d.requests != requests || d.bytes != bytes {
		return fmt.Errorf("%d requests with %d bytes are deferred, %d with %d are counted", requests, bytes, d.requests, d.bytes)
	}
	for _, g := range h.order {
		if err := g.checkWaits(); err != nil {
			return err
		}
		if g.stopped != nil || g.gone || g.dirty {
			continue
		}
		now := g.core.Status()
		for _, x := range [...]struct {
			what       string
			host, core any
		}{
			{"membership", g.members, now.Membership},
			{"state", g.state, raft.HardState{Term: now.Term, Vote: now.Vote, Commit: now.Commit}},
			{"role", g.role, now.Role},
			{"leader", g.lead, now.Leader},
		} {
			if !reflect.DeepEqual(x.host, x.core) {
				return fmt.Errorf("%s: %s %+v is what the host goes by, the core has %+v", g.name(), x.what, x.host, x.core)
			}
		}
	}
	return nil
}

// checkWaits returns an error if a request waits past its deadline.
func (g *group) checkWaits() error {
	over := func(deadline time.Duration) bool { return deadline != 0 && deadline < g.host.tickedAt }
	count := len(g.reads.waiting) + len(g.reads.bounded) + len(g.reads.parked)
	waits := slices.Concat(g.reads.waiting, g.reads.bounded)
	for _, b := range g.reads.unconfirmed {
		count += len(b.reads)
		waits = append(waits, b.reads...)
	}
	for _, p := range g.reads.parked {
		waits = append(waits, p.read)
	}
	for _, d := range g.deferred.reads {
		count++
		waits = append(waits, d.read)
	}
	for _, r := range waits {
		if over(r.Deadline) {
			return fmt.Errorf("%s: a read waits whose deadline was %s, now it is %s", g.name(), r.Deadline, g.host.now)
		}
	}
	if count != g.reads.count {
		return fmt.Errorf("%s: %d reads wait, %d are counted", g.name(), count, g.reads.count)
	}
	commands := slices.Clone(g.commands.waiting.all())
	for _, d := range g.deferred.commands {
		commands = append(commands, waiter{deadline: d.proposal.Deadline})
	}
	for _, w := range commands {
		if over(w.deadline) {
			return fmt.Errorf("%s: a command waits whose deadline was %s, now it is %s", g.name(), w.deadline, g.host.now)
		}
	}
	return nil
}
