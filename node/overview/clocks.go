package overview

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"muster/raft"
	"muster/repl/wire"
)

// clockMax is how far two clocks may be apart: people who compare the logs of two nodes read times
// to the second. The warning ends within clockWell.
const (
	clockMax  = time.Second
	clockWell = 800 * time.Millisecond
)

const remedyClock = "let chronyd or ntpd keep that clock right; chronyc tracking, or timedatectl, shows whether one does; no data depends on it, the times in logs do"

// clockReading is a node's clock beside the one of this host.
type clockReading struct {
	id    raft.NodeID // 0: this host
	node  string
	ahead time.Duration // of this host's; below 0: behind
	// unsure is by how much ahead may be wrong: the node looked at its clock some time
	// between the question and its answer.
	unsure time.Duration
}

// readingOf compares the clock in an answer with the middle of the time that it took.
func readingOf(id raft.NodeID, node string, a *wire.DoctorAnswer, asked, answered time.Time) (r clockReading, ok bool) {
	half := answered.Sub(asked) / 2
	middle := asked.Add(half).Round(0) // without the monotonic clock, which the node's has nothing to do with
	return clockReading{id, node, time.UnixMicro(int64(a.WallMicros)).Sub(middle), half}, a.WallMicros != 0
}

// apart returns how far two clocks are apart, and how that stands to the limits: readingBetween where what is unsure leaves
// that open.
func (r clockReading) apart(o clockReading) (by time.Duration, is reading) {
	by = r.ahead - o.ahead
	switch unsure := r.unsure + o.unsure; {
	case by.Abs()-unsure > clockMax:
		is = readingBeyond
	case by.Abs()+unsure <= clockWell:
		is = readingWell
	}
	return by, is
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
		by, is := all[0].apart(all[1])
		if e.strained(fmt.Sprintf("clocks of %s and %s", all[0].id, all[1].id), is, remedyClock,
			"the clocks of %s and %s are %s apart", all[0].node, all[1].node, by.Abs().Round(time.Millisecond)) {
			return
		}
	}
	for _, r := range all {
		by, is := r.apart(most)
		e.strained("clock of "+r.id.String(), is, remedyClock, "the clock of %s is %s those of most nodes", r.node, aheadOf(by))
	}
	whose := "those of most nodes"
	if len(all) == 1 {
		whose = "that of " + most.node
	}
	by, is := most.apart(clockReading{})
	e.strained("clock of this host", is, remedyClock, "the clock of this host is %s %s", aheadOf(-by), whose)
}

// aheadOf is how far a clock is ahead of another one, in words.
func aheadOf(by time.Duration) string {
	way := "ahead of"
	if by < 0 {
		way = "behind"
	}
	return fmt.Sprintf("%s %s", by.Abs().Round(time.Millisecond), way)
}
