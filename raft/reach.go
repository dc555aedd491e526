package raft

import "fmt"

// Terms that jump
//
// A term is raised by any message of a higher one, and never lowered: one that claims
// the last term that there is would leave a group without elections for ever,
// on every disk that believed it. No replica in order comes to such a term: with
// PreVote one that is alone stays in its own, so each term was wanted by a
// majority. But a replica that was away, or is new, finds the others as many
// terms ahead as they had elections meanwhile, and must be able to join them.
//
// So a replica follows a jump only as far as its reach: at a start [TermReach],
// which is more elections than a group could hold in six years if it held one
// with each tick; what it jumps is taken off, and each tick gives back
// [TermReachTick]. One term more than its own is always in reach. What is farther
// ahead is dropped ([ErrTerm]), by the Group, before anything of it changes.
//
// A liar may spend the reach of one replica and not that of another, so that
// the second can't follow the first. While it hears of terms that are out of
// its reach it therefore gains more than it has lost, tick by tick: as the terms
// were raised no faster than that, it has caught up in no more time than it was
// behind. The last term is farther away than 200,000 years of lying, and two
// thousand million starts.
const (
	// TermReach is how many terms a replica that was just started may jump.
	TermReach uint64 = 1 << 32
	// TermReachTick is what a tick adds: far more than the elections of a
	// tick, far less than what it takes to come to [TermLimit].
	TermReachTick uint64 = 1 << 16
)

// reach is how far a replica's term may jump.
type reach struct {
	left   uint64
	beyond bool // a term out of reach was heard of since the last tick
}

// tick gives some of the reach back.
func (r *reach) tick() {
	if r.left < TermReach || r.beyond {
		r.left = min(r.left+TermReachTick, TermLimit)
	}
	r.beyond = false
}

// check says what is wrong with a term, seen from a replica in another one.
func (r *reach) check(term, own uint64) error {
	if term <= own+1 || term-own-1 <= r.left || bug("forged term accepted") {
		return nil
	}
	r.beyond = true
	return fmt.Errorf("%w: term %d is %d ahead of term %d here, at most %d are believed", ErrTerm, term, term-own, own, r.left+1)
}

// jump takes off what a term is raised by, but for the one that is free.
func (r *reach) jump(by uint64) {
	r.left -= min(r.left, max(by, 1)-1)
}
