package sim

import (
	"fmt"
	"strings"
)

// FlawKind is one way in which the state of a replica becomes wrong.
type FlawKind uint8

const (
	FlawSkipped  FlawKind = iota // an entry had no effect
	FlawTwice                    // an entry had its effect twice
	FlawRestored                 // a bit of what was just loaded from a snapshot
	FlawTable                    // a row of group 0's table
	FlawRecord                   // a bit of a record; so are those that follow: which one is found out by flipping it
	FlawLookup                   // of where keys are looked up
	FlawOrder                    // of the order of keys
	FlawSession                  // of what a session remembers
	FlawVersion                  // of a slot's last version
	FlawBeside                   // of what else is kept: counts, sums, what ends when

	flawKinds
)

var flawNames = [flawKinds]string{FlawRecord: "record", FlawLookup: "lookup", FlawOrder: "order", FlawSession: "session", FlawVersion: "last version",
	FlawBeside: "beside", FlawTable: "table", FlawSkipped: "entry skipped", FlawTwice: "entry applied twice", FlawRestored: "restored"}

func (k FlawKind) String() string { return flawNames[k] }

// shows reports whether the digests of other replicas show the flaw for certain, as long as
// nothing is written over it.
func (k FlawKind) shows() bool { return k == FlawSkipped || k == FlawTwice }

// FlawEnd says what became of a flaw.
type FlawEnd uint8

const (
	FlawAudited   FlawEnd = iota // replicas differed, and it was rebuilt
	FlawWalked                   // a walk found it, and it was rebuilt
	FlawUndecided                // replicas differed, and nobody can tell which one is right: the incident says so
	FlawStopped                  // the process or the group stopped by itself, and came back whole
	FlawRestarted                // before it was found its process ended, with all that was wrong
	FlawVanished                 // what was wrong was written over before it was found

	flawEnds
)

var flawEndNames = [flawEnds]string{FlawAudited: "audited", FlawWalked: "walked", FlawUndecided: "undecided", FlawStopped: "stopped", FlawRestarted: "restarted", FlawVanished: "vanished"}

func (e FlawEnd) String() string { return flawEndNames[e] }

// FlawResult is what came of the flaws of a run.
type FlawResult struct {
	Counts  FlawCounts
	Bearers int // fenced replicas that came to lead, to bear their logs
	Doubted int // operations that were not checked
	Panics  int // processes that ended by what was wrong
}

// FlawCounts are the flaws of a run, by kind and by what became of them.
type FlawCounts [flawKinds][flawEnds]int

// Add adds the counts of another run.
func (k *FlawCounts) Add(o *FlawCounts) {
	for i := range k {
		for j := range k[i] {
			k[i][j] += o[i][j]
		}
	}
}

// Ended is how many flaws ended in a way.
func (k *FlawCounts) Ended(how FlawEnd) (n int) {
	for i := range k {
		n += k[i][how]
	}
	return n
}

// Total is how many flaws there were.
func (k *FlawCounts) Total() (n int) {
	for e := range flawEnds {
		n += k.Ended(e)
	}
	return n
}

// Of is how many flaws of a kind there were.
func (k *FlawCounts) Of(kind FlawKind) (n int) {
	for _, m := range k[kind] {
		n += m
	}
	return n
}

func (k *FlawCounts) String() string {
	var b strings.Builder
	for i := range k {
		if i > 0 {
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "%s: %d", FlawKind(i), k.Of(FlawKind(i)))
		for e, m := range k[i] {
			if m > 0 {
				fmt.Fprintf(&b, ", %d %s", m, FlawEnd(e))
			}
		}
	}
	return b.String()
}

// besideFlaws reports whether a fault may strike while the state of a replica is wrong: those
// of disks that rot take more away than the other replicas can give back.
func (f Fault) besideFlaws() bool {
	switch {
	case f == Move, f == Members, f == Nodes, f == Slots, f == Targets, f == Lull, f == Lies, f == LeaderStops, f == ClientSleep:
		return false
	case f >= SyncFails && f <= OlderLife && f != DiskFull:
		return false
	}
	return true
}
