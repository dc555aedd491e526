package overview

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"muster/repl/wire"
)

// clockMax is how far two clocks may be apart. Whoever compares the logs of two nodes reads
// times to the second.
const clockMax = time.Second

const remedyClock = "let chronyd or ntpd keep that clock right; chronyc tracking, or timedatectl, shows whether one does; no data depends on it, the times in logs do"

// clockReading is a node's clock beside the one of this host.
type clockReading struct {
	node  string
	ahead time.Duration // of this host's; below 0: behind
	// unsure is by how much ahead may be wrong: the node looked at its clock some time
	// between the question and its answer.
	unsure time.Duration
}

// readingOf compares the clock in an answer with the middle of the time that it took.
func readingOf(node string, a *wire.DoctorAnswer, asked, answered time.Time) (r clockReading, ok bool) {
	half := answered.Sub(asked) / 2
	middle := asked.Add(half).Round(0) // without the monotonic clock, which the node's has nothing to do with
	return clockReading{node, time.UnixMicro(int64(a.WallMicros)).Sub(middle), half}, a.WallMicros != 0
}

// apart is how far two clocks are apart at least, and by how much that is known.
func (r clockReading) apart(o clockReading) (by time.Duration, certain bool) {
	by = r.ahead - o.ahead
	return by, by.Abs()-r.unsure-o.unsure > clockMax
}

// clocks looks for nodes whose clocks are apart: from those of most nodes, or from each other
// if there are two; and for this host's, if it is apart from those of most nodes.
func (e *examination) clocks() {
	var all []clockReading
	for _, n := range e.nodes {
		if r, ok := e.readings[n.ID]; ok {
			all = append(all, r)
		}
	}
	if len(all) == 0 {
		return
	}
	byAhead := slices.SortedFunc(slices.Values(all), func(a, b clockReading) int { return cmp.Compare(a.ahead, b.ahead) })
	most := byAhead[(len(all)-1)/2]
	if len(all) == 2 {
		if by, certain := all[0].apart(all[1]); certain {
			e.find(SeverityWarning, remedyClock, "the clocks of %s and %s are %s apart", all[0].node, all[1].node, by.Abs().Round(time.Millisecond))
			return
		}
	}
	for _, r := range all {
		if by, certain := r.apart(most); certain {
			e.find(SeverityWarning, remedyClock, "the clock of %s is %s those of most nodes", r.node, aheadOf(by))
		}
	}
	if by, certain := most.apart(clockReading{}); certain {
		whose := "those of most nodes"
		if len(all) == 1 {
			whose = "that of " + most.node
		}
		e.find(SeverityWarning, remedyClock, "the clock of this host is %s %s", aheadOf(-by), whose)
	}
}

// aheadOf is how far a clock is ahead of another one, in words.
func aheadOf(by time.Duration) string {
	way := "ahead of"
	if by < 0 {
		way = "behind"
	}
	return fmt.Sprintf("%s %s", by.Abs().Round(time.Millisecond), way)
}
