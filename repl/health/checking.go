package health

import (
	"time"

	"muster/repl/wire"
	"muster/shardmap/registry"
)

const (
	// soonest is the time within which this node checks an instance for the first time, unless
	// the interval is shorter: what has happened since its former checker died is not known yet.
	// It is soonestEach longer for each check that the node has, so that one which takes over
	// many does not make them all at once; jitter takes the later ones further apart.
	soonest     = 200 * time.Millisecond
	soonestEach = time.Millisecond / 5
	// jitter is which part of an interval the next probe may come early, so that checks
	// which began together don't stay together. It does not come late: status follows truth
	// within whole intervals. Only if jitter leaves no room for gather, with intervals below
	// half a second, may it be late by the rest of that.
	jitter = 10 // percent
)

// checking is a check that this node runs.
type checking struct {
	held           *held
	number         uint64 // of the assignment
	name, instance string
	version        uint64
	spec           registry.Spec
	unreadable     string // why the spec is none
	gone           bool

	next     time.Duration // when it is due
	place    int           // in the schedule, or among the late ones of its share
	share    *share        // of its service
	late     bool          // it is due, and waits for a place of its share
	probe    uint64        // under way; 0: none
	began    time.Duration
	deadline time.Duration

	counted
	told   counted // as it was when it was told last
	before counted // as it stood at the last poll, if there were results since
	poll   uint64  // the poll behind which the last result came
}

// counted is what the results of a check come to.
type counted struct {
	finding    wire.Finding // 0: none yet
	known      bool         // it was found here: enough results in a row say so
	ups, downs int          // results in a row
	changes    uint64
	reason     string
	count      uint64 // of its newest state
}

// against returns how many results in a row, up to now, speak for another finding than the one
// that it stands at.
func (k *checking) against() int {
	switch k.finding {
	case wire.FindingUp:
		return k.downs
	case wire.FindingDown:
		return k.ups
	}
	return 0
}

// state returns what is told of the check.
func (k *checking) state() wire.CheckState {
	s := wire.CheckState{Group: k.held.group, Term: k.held.term, Number: k.number, Check: k.version, Changes: k.changes, Reason: k.reason}
	if k.known {
		s.Finding = k.finding
	}
	switch n := uint8(k.against()); k.finding { // it is less than a threshold
	case wire.FindingUp:
		s.Downs = n
	case wire.FindingDown:
		s.Ups = n
	}
	return s
}

// startFinding is where the counting begins for an instance of that status.
func startFinding(s registry.Status) wire.Finding {
	switch s {
	case registry.Up:
		return wire.FindingUp
	case registry.Down:
		return wire.FindingDown
	}
	return 0
}

func (k *checking) key() string { return k.name + "\x00" + k.instance }

// begin plans the first probe: soon, but at any time, so that a node which takes over many
// checks does not make them all at once. Others is how many it has.
func (k *checking) begin(now time.Duration, others int) {
	within := max(min(k.spec.Interval, soonest+time.Duration(others)*soonestEach), 1)
	k.next = now + time.Duration(mix(hashOf(k.name, k.instance))%uint64(within))
}

// due is when it is to be checked next.
func (k *checking) due() time.Duration {
	if k.probe != 0 {
		return k.began + k.spec.Interval
	}
	return k.next
}

// interval is the time from the last probe until the next is due.
func (k *checking) interval() time.Duration {
	early := k.spec.Interval / 100 * jitter
	if early <= 0 {
		return max(k.spec.Interval, time.Millisecond)
	}
	wait := min(gather, early/2)
	return k.spec.Interval - wait - time.Duration(mix(hashOf(k.name, k.instance)^uint64(k.began))%uint64(early-wait))
}

// judge counts a result, and reports whether there is news: another finding, or the first
// one that was found here.
func (k *checking) judge(r Result) bool {
	if k.poll != k.held.polls {
		k.poll, k.before = k.held.polls, k.counted
	}
	if r.NotAllowed {
		k.ups, k.downs = 0, 0
		return k.find(wire.FindingNone, r.Reason)
	}
	if r.Up {
		k.ups, k.downs = k.ups+1, 0
		return k.ups >= k.spec.Rise && k.find(wire.FindingUp, r.Reason)
	}
	k.ups, k.downs = 0, k.downs+1
	return k.downs >= k.spec.Fall && k.find(wire.FindingDown, r.Reason)
}

func (k *checking) find(f wire.Finding, reason string) bool {
	reason = registry.CutReason(reason)
	if k.known && k.finding == f && (f != wire.FindingNone || k.reason == reason) {
		return false
	}
	if k.finding != f && k.finding != 0 {
		k.changes++
	}
	k.finding, k.known, k.reason = f, true, reason
	return true
}
