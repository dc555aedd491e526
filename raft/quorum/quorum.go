// Package quorum counts majorities.
//
// It does not know who votes: the caller hands in what each voter said. A
// joint configuration (Raft, section 6) is two lists of voters, each of which
// must agree by a majority of its own.
package quorum

import "slices"

// Verdict says how an election stands.
type Verdict uint8

const (
	Open Verdict = iota // neither yet
	Won                 // a majority is for it
	Lost                // no majority can be for it any more
)

func (v Verdict) String() string { return [...]string{"open", "won", "lost"}[v] }

// Everything is what no voters at all agree to: an empty list, as the outgoing
// one outside a joint configuration, objects to nothing.
const Everything uint64 = 1<<64 - 1

// Majority returns the least number of n voters that any other such number of
// them shares a voter with.
func Majority(n int) int { return n/2 + 1 }

// Reached returns the largest value that a majority has reached, one value
// for each voter. It sorts values in place. No voters give [Everything].
func Reached(values []uint64) uint64 {
	if len(values) == 0 {
		return Everything
	}
	slices.Sort(values)
	return values[len(values)-Majority(len(values))]
}

// ReachedJoint returns the largest value that a majority of each list has
// reached. It sorts both in place.
func ReachedJoint(voters, outgoing []uint64) uint64 {
	return min(Reached(voters), Reached(outgoing))
}

// Election says how an election among n voters stands. No voters have elected
// whom the others elect: Won.
func Election(n, yes, no int) Verdict {
	switch {
	case n == 0 || yes >= Majority(n):
		return Won
	case n-no < Majority(n):
		return Lost
	}
	return Open
}

// ElectionJoint joins the verdicts of both lists: both must be won, one that
// is lost loses.
func ElectionJoint(voters, outgoing Verdict) Verdict {
	switch {
	case voters == Lost || outgoing == Lost:
		return Lost
	case voters == Won && outgoing == Won:
		return Won
	}
	return Open
}
