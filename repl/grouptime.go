package repl

import (
	"time"

	"muster/raft"
	"muster/repl/wire"
)

// Group time in groups that have nothing to do
//
// Each entry carries the group's time, so where entries come all the time nothing
// else is needed. In a group without them, time would stand still in the log: what
// waits for a time would stay, and a new leader would begin where the last entry
// was. So as long as anything of a group's state waits for a time
// ([Expirer]), its leader
//
//   - proposes a time entry when a part is due, and when no entry has told the
//     time for [timeEntryEvery];
//   - tells the time with each heartbeat, and where the group rests with each word
//     that it does, to those who may lead next.
//
// The entry each minute alone would do for one change of leader, which loses what
// the last entry did not tell: up to a minute. But a group that changes its leader
// every minute would lose one each time. What is heard costs nine bytes for each
// time that a resting group is named, and a new leader begins some 250 ms behind.
// Where nobody heard, as when all followers were started anew, it is the minute.
//
// So whatever waits is late by at most the time without a leader, a minute, and
// the interval between two heartbeats for each leader; and never early, because
// nothing happens by what is heard, nor by any clock: only by the time that an
// entry carries, on each replica at that entry.

const (
	// timeEntryEvery is how long no entry may tell the time while anything waits
	// for one.
	timeEntryEvery = raft.GroupTime(60e9)
	// timeEntryJoin: when one group of a host proposes a time entry, so do those
	// that told no time for so long. They share its write, its sync and the
	// second for which the host is awake.
	timeEntryJoin = timeEntryEvery / 2
)

// clock is the time of a group while this replica leads it, and what waits for it.
type clock struct {
	group *group

	startAt time.Duration  // on the host's clock: when this replica began to lead
	start   raft.GroupTime // the group's time then
	told    raft.GroupTime // of the newest entry that this replica proposed in this leadership

	machine Expirer        // nil: nothing of it waits for a time
	waits   bool           // something of it does
	next    raft.GroupTime // nothing is due before
	asked   bool           // a time entry is proposed, and not applied yet
}

// begin starts the clock of a replica that begins to lead, at the time of its
// no-op.
func (c *clock) begin() {
	*c = clock{group: c.group, startAt: c.group.host.now, start: c.group.core.Status().Time}
	if bug("group time jumps ahead") {
		c.start += raft.GroupTime(c.group.host.now)
	}
	c.told = c.start
	if c.group.fence == nil { // else [fence.lift] does it
		c.machine, _ = c.group.machine.(Expirer)
	}
	c.ask()
}

// now is the time for a new entry: the time at which this leader took over, plus
// what its own clock has measured since.
func (c *clock) now() raft.GroupTime {
	return c.start + raft.GroupTime(c.group.host.now-c.startAt)
}

// TimeOf returns the time of a group as the replica here knows it: measured, where it leads; else
// the newest that its log or its leader has told it, which each heartbeat does while anything in the
// group ends by itself. It is 0 if no replica of the group is here. It is for the Run of a [Query].
func TimeOf(h *Host, id raft.GroupID) raft.GroupTime {
	g := h.groups[id]
	switch {
	case g == nil:
		return 0
	case g.role == raft.RoleLeader:
		return g.clock.now()
	}
	return g.core.Time()
}

// word is what heartbeats tell of the time.
func (c *clock) word() raft.GroupTime {
	if !c.waits || c.group.role != raft.RoleLeader {
		return 0
	}
	return c.now()
}

// ask asks the machine when something is due next, after entries were applied.
func (c *clock) ask() {
	if c.machine != nil {
		c.next, c.waits = c.machine.NextDue()
	}
}

// late reports whether something is due, or no entry has told the time for so long.
func (c *clock) late(since raft.GroupTime) bool {
	if !c.waits || c.asked || c.group.role != raft.RoleLeader || c.group.stopped != nil {
		return false
	}
	now := c.now()
	return now >= c.next || now >= c.told+since
}

// tellTime proposes time entries for groups that are led here, if that of any is
// due.
func (a *heartbeats) tellTime() {
	due := false
	for _, g := range a.host.order {
		due = due || g.clock.late(timeEntryEvery)
	}
	if !due {
		return
	}
	for _, g := range a.host.order {
		if g.clock.late(timeEntryJoin) {
			g.clock.propose()
		}
	}
}

// propose puts a time entry into the log, if there is room for it; else the next
// tick tries again. On a full disk what waits is late: the room that is left is for
// what the group can't do without.
func (c *clock) propose() {
	g := c.group
	const size = raft.EntryHeaderSize + entryRoom
	f := &g.host.full
	if f.own != wire.FullNot || g.short() || !f.mayOffer(size) {
		return
	}
	if _, err := g.core.Propose(c.now(), []raft.Entry{raft.NewEntry(raft.EntryTime, nil)}); err != nil {
		return // it hands over, or too much waits already: entries that tell the time
	}
	f.accept(size)
	c.told, c.asked = c.now(), true
	g.touch()
}
