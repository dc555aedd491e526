package repl

import (
	"fmt"

	"muster/raft"
	"muster/repl/wire"
)

// Deferrer is a [StateMachine] that can't say for a while what becomes of some requests: what
// they are about is being handed to another group, which will have it, or will not. The
// host keeps such requests until that is decided, so that their callers see a slower answer
// and no error.
//
// An error that has clients come back would do the same, later: each would guess how long
// to stay away, and all would come at once. To pass the request on to the new owner would
// save its client a round trip, once for each slot; but then a request could go two hops,
// and nobody would tell the client where to send its next one.
//
// No request is answered twice by that. A command is deferred only if it changed nothing:
// before it is in the log, or once its entry was applied to no effect. So it can be
// proposed again, be refused, or be forgotten. A read was confirmed before, if it had to
// be, and may be answered from any state from then on.
type Deferrer interface {
	// Deferring reports whether anything is being handed over. It is asked for each
	// command and each query, and costs a load.
	Deferring() bool
	// DeferCommand says what becomes of a command, the payload of an entry of kind
	// normal, as the state is now. If late is not nil the command is deferred, and late is
	// the answer if its caller's time is over before it can go on. If refused is not nil the
	// command is refused at once. In both cases Apply would change nothing. If both are nil
	// the command goes its way.
	DeferCommand(payload []byte) (late, refused *wire.Error)
	// DeferQuery says the same of a query. One that is to be refused says so itself when
	// it runs.
	DeferQuery(q Query) (late *wire.Error)
	// Decided grows whenever something of what requests are deferred for may have been
	// decided.
	Decided() uint64
}

// Limits of what a host defers, for all its groups together: mostly a slot changes hands
// within milliseconds, so that is what arrives in that time. A request that would exceed one
// is answered with "busy".
const (
	// deferredMax bounds the requests.
	deferredMax = 16 << 10
	// deferredBytesMax bounds the entries of the commands among them. A command that is
	// larger is deferred alone.
	deferredBytesMax = 16 << 20
)

// Deferrals is all that a host has deferred: what is asked of slots that are on their way
// from one group to another.
type Deferrals struct {
	host     *Host
	requests int // Invariant: of the deferred of all groups
	bytes    int // Invariant: of the commands among them
}

// deferred is what one replica has deferred, in the order of arrival.
type deferred struct {
	group    *group
	machine  Deferrer // nil: the machine defers nothing
	commands []deferredCommand
	reads    []deferredRead
	decided  uint64 // what the machine said when all were looked at last
}

type deferredCommand struct {
	proposal Proposal
	late     *wire.Error
}

type deferredRead struct {
	read Read
	late *wire.Error
}

// follow begins with a machine, in place of another one.
func (d *deferred) follow(m StateMachine) {
	d.machine, _ = m.(Deferrer)
	d.decided = 0
	if d.machine != nil {
		d.decided = d.machine.Decided() - 1 // all are looked at anew
	}
}

// some reports whether any request may have to be deferred.
func (d *deferred) some() bool { return d.machine != nil && d.machine.Deferring() }

// command defers a command, or answers it, and reports whether it has done either.
func (d *deferred) command(p *Proposal) bool {
	late, refused := d.machine.DeferCommand(p.Entry.Raw[raft.EntryHeaderSize:])
	switch {
	case refused != nil:
		d.group.host.answers.refuse(p.Reply, refused)
	case late != nil:
		d.keep(*p, late)
	default:
		return false
	}
	return true
}

// entry defers the command of an entry that is applied next, for which w waits, or answers
// it, and reports whether it has done either.
func (d *deferred) entry(e raft.Entry, w *waiter) bool {
	late, refused := d.machine.DeferCommand(e.Payload())
	switch {
	case refused != nil:
		d.group.host.answers.refuse(w.reply, refused)
	case late != nil:
		// The entry's bytes are the log's.
		again := raft.NewEntry(e.Kind, e.Payload())
		d.keep(Proposal{Group: d.group.replica.Group, Entry: again, Deadline: w.deadline, Reply: w.reply, Limited: true}, late)
	default:
		return false
	}
	return true
}

func (d *deferred) keep(p Proposal, late *wire.Error) {
	all := &d.group.host.Deferrals
	size := len(p.Entry.Raw)
	if all.requests >= deferredMax || all.bytes > 0 && all.bytes+size > deferredBytesMax {
		d.group.host.answers.refuse(p.Reply, all.busy(late))
		return
	}
	p.Passage = nil // it stays here
	d.commands = append(d.commands, deferredCommand{p, late})
	all.requests++
	all.bytes += size
}

// read defers a query, or answers it, and reports whether it has done either.
func (d *deferred) read(r *Read) bool {
	if d.machine == nil {
		return false
	}
	late := d.machine.DeferQuery(r.Query)
	if late == nil {
		return false
	}
	all := &d.group.host.Deferrals
	if all.requests >= deferredMax {
		d.group.reads.count--
		d.group.host.answers.refuse(r.Reply, all.busy(late))
		return true
	}
	d.reads = append(d.reads, deferredRead{*r, late})
	all.requests++
	return true
}

func (a *Deferrals) busy(late *wire.Error) *wire.Error {
	return wire.Busy(late.Object, fmt.Sprintf("%s; %d requests with %d bytes of commands wait for such, the limits are %d and %d",
		late.State, a.requests, a.bytes, deferredMax, deferredBytesMax), wire.BusyRetry)
}

// look goes on with what was deferred, in all groups, where something was decided.
func (a *Deferrals) look() {
	if a.requests == 0 {
		return
	}
	for _, g := range a.host.order {
		g.deferred.look()
	}
}

// look goes on with what was deferred, if something was decided.
func (d *deferred) look() {
	if len(d.commands)+len(d.reads) == 0 {
		return
	}
	decided := d.machine.Decided()
	if decided == d.decided {
		return
	}
	d.decided = decided
	// What goes on may be deferred again, behind those that were not looked at yet.
	commands, reads := d.commands, d.reads
	d.commands, d.reads = nil, nil
	for i := range commands {
		c := &commands[i]
		late, refused := d.machine.DeferCommand(c.proposal.Entry.Raw[raft.EntryHeaderSize:])
		if late != nil {
			d.commands = append(d.commands, *c)
			continue
		}
		d.leave(&c.proposal)
		if refused != nil {
			d.group.host.answers.refuse(c.proposal.Reply, refused)
			continue
		}
		d.group.commands.add(c.proposal)
	}
	for i := range reads {
		r := &reads[i]
		d.group.host.Deferrals.requests--
		d.group.reads.run(&r.read)
	}
}

// leave counts a command out.
func (d *deferred) leave(p *Proposal) {
	d.group.host.Deferrals.requests--
	d.group.host.Deferrals.bytes -= len(p.Entry.Raw)
}

// abandon answers what was deferred because this replica can't go on with it: commands if
// it leads no more, and reads that only a leader takes; all of them if the replica
// has stopped or is removed.
func (d *deferred) abandon() {
	g := d.group
	for i := range d.commands {
		p := &d.commands[i].proposal
		d.leave(p)
		if bug("deferred command forgotten") {
			continue
		}
		g.host.answers.refuse(p.Reply, g.notLeader()) // it changed nothing
	}
	d.commands = nil
	over := g.stopped != nil || g.removed
	d.reads = keepReads(d.reads, func(r *deferredRead) bool {
		if !over && (r.read.Local || r.read.AnyReplica) {
			return true
		}
		g.host.Deferrals.requests--
		g.reads.lose([]Read{r.read})
		return false
	})
}

// expire answers what was deferred for callers who have stopped waiting.
func (d *deferred) expire() {
	h := d.group.host
	kept := d.commands[:0]
	for _, c := range d.commands {
		if h.late(c.proposal.Deadline) {
			d.leave(&c.proposal)
			h.answers.refuse(c.proposal.Reply, c.late)
			continue
		}
		kept = append(kept, c)
	}
	clear(d.commands[len(kept):])
	d.commands = kept
	d.reads = keepReads(d.reads, func(r *deferredRead) bool {
		return !d.group.reads.expired(&r.read, func() *wire.Error {
			h.Deferrals.requests--
			return r.late
		})
	})
}

// keepReads keeps those for which f returns true, in place.
func keepReads(all []deferredRead, f func(*deferredRead) bool) []deferredRead {
	kept := all[:0]
	for i := range all {
		if f(&all[i]) {
			kept = append(kept, all[i])
		}
	}
	clear(all[len(kept):])
	return kept
}

// Count is how many requests the host has deferred.
func (a *Deferrals) Count() int { return a.requests }
