package repl

import "time"

// confirmation says that all that was acknowledged before a moment is at an index or
// below it. The moment is when the question left, not when its answer came: while that was
// on its way another leader may have acknowledged more. It is told by this host's clock
// alone, so no clocks of two hosts are compared. What a leader has confirmed once stays
// true, whoever leads later: committed entries stay, and a state only moves forward.
type confirmation struct {
	asked moment
	index uint64 // 0: there was none since the replica was opened
}

// moment is a time of a host's clock. Once the clock has stood still, the age of an earlier
// moment is unknown.
type moment struct {
	at    time.Duration
	slept uint64 // how often it had stood still
}

// present returns the moment at which a host's turn began.
func present(h *Host) moment { return moment{h.now, h.Clock.slept} }

// within reports whether it is known that the moment is at most a while before another.
func (m moment) within(stale time.Duration, now moment) bool {
	return m.slept == now.slept && now.at-m.at <= stale
}

// note keeps a confirmation, for the reads that may be a little old. Answers come in the
// order of their questions, and a later question gets no lower index.
func (q *readQueue) note(asked moment, index uint64) {
	if bug("staleness by the answer's time") {
		asked = present(q.group.host)
	}
	q.confirmed = confirmation{asked, index}
}

// offerBounded answers the reads of this turn that may be old, where what was confirmed
// last is new enough for them: without a question, and without waking a group that rests.
// The others wait for a confirmation that is on its way, if its question is new enough, or
// have the core asked anew.
//
// They are looked at here and not as they come: the host's clock shows a moment after all
// of this turn's reads, so none of them is given an answer that is older than it asked for.
func (q *readQueue) offerBounded() {
	now := present(q.group.host)
	bounded := q.bounded
	q.bounded = nil
	for i := range bounded {
		r := &bounded[i]
		// Whoever names a log id that is newer than the confirmation may be right: then the
		// entry may be applied here already, and if not, a new confirmation tells.
		c := q.confirmed
		if c.index > 0 && c.asked.within(r.Stale, now) && r.After <= max(c.index, q.group.applied.Index) {
			q.park(max(c.index, r.After), r)
			continue
		}
		if n := len(q.unconfirmed); n > 0 && r.After == 0 && q.unconfirmed[n-1].asked.within(r.Stale, now) {
			q.unconfirmed[n-1].reads = append(q.unconfirmed[n-1].reads, *r)
			continue
		}
		if q.group.lead == 0 {
			q.count--
			q.group.host.answers.refuse(r.Reply, q.group.notLeader())
			continue
		}
		q.waiting = append(q.waiting, *r)
	}
	q.group.host.readRooms.give(bounded)
}

// HostClock is what is known of the clock of [Host.Turn].
type HostClock struct {
	slept uint64 // how often it stood still
}

// Slept says that the clock stood still since the last turn while the world's went on, as
// when the machine was suspended. The age of earlier confirmations is unknown then.
func (c *HostClock) Slept() { c.slept++ }

// sleepMin is how far the wall clock must get ahead of the monotonic one from one turn to
// the next to show that the monotonic one stood still: farther than an honest correction of
// the wall clock. A process that is halted between the two readings of one look may seem to
// have slept; then some reads ask their leader once too often.
const sleepMin = 10 * time.Millisecond

// sleeps finds out that the host was suspended. A monotonic clock stands still then, and
// the wall clock shows it, unless somebody sets it back at the same time.
type sleeps struct {
	ahead time.Duration // of the wall clock, as of the last look
}

// look reports whether the host slept since the last look. wall and mono are what the two
// clocks show, each from the same moment on.
func (s *sleeps) look(wall, mono time.Duration) bool {
	was := s.ahead
	s.ahead = wall - mono
	return s.ahead-was >= sleepMin
}
