package raft

// Group time over a change of leader
//
// The core has no clock. Its owner measures, while this replica leads, the time
// since it began to lead, adds that to the time at which it began, and proposes
// with the sum. So a new leader must begin at no less than the group's time was
// under the last one, or all that waits for a time waits longer: at the largest
// in its log, which is what the last entry told it, or at what the leader said
// since, which costs no entry.
//
// What was heard of a leader counts as long as the log has nothing of a later one. That one
// may have begun behind it: between the two the group had no leader, and its time stood
// still, while the earlier one went on to measure until it learned that it leads no longer.
//
// What was heard is for that alone. No replica applies anything by it: replicas
// hear at different moments, and an entry is applied at its own time on all of
// them.

// TimeReach is how far beyond the largest time in its log a replica believes what
// it hears. While anything waits for a time, the owner of the leader proposes an
// entry each minute. So a leader is never farther ahead of what it has committed,
// unless it lies or has no room for entries; a lie does no more than that.
const TimeReach GroupTime = 120e9

// heardTime is the largest time that the leader of a term told.
type heardTime struct {
	time GroupTime
	term uint64
}

// hear takes the word of the leader of a term, which is no earlier one than that of which it
// heard before; last is the largest time in the log.
func (h *heardTime) hear(t GroupTime, term uint64, last GroupTime) {
	if bug("group time lost at a leader change") {
		return
	}
	t = min(t, last+TimeReach, TimeLimit-1)
	if h.term != term {
		h.time, h.term = 0, term
	}
	h.time = max(h.time, t)
}

// beginning returns the group time at which a new leader begins whose log ends in a term at
// the time last. Times never go back along a log, so it is no less than that, which may be
// later than what was heard.
func (h *heardTime) beginning(term uint64, last GroupTime) GroupTime {
	if h.term < term {
		return last
	}
	return max(h.time, last)
}

// Time returns the group's time as far as this replica knows it, which is at least the largest
// in its log. A leader's owner knows better: it measures.
func (g *Group) Time() GroupTime {
	return g.replica.heard.beginning(g.replica.term, g.replica.log.time)
}

// Heard tells what the leader of the present term said of the group's time other
// than by a heartbeat of the group's own.
func (g *Group) Heard(t GroupTime) { g.replica.heard.hear(t, g.replica.term, g.replica.log.time) }
