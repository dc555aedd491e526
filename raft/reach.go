package raft

import "fmt"

// Terms that jump
//
// Any message of a higher term raises a replica's, and nothing lowers it: a message
// that claims the last term there is would leave every replica that believed it
// without elections for ever. No correct replica gets to such a term: with PreVote
// an isolated one stays in its own, so a majority wanted each term. But a replica
// that was away, or is new, finds the others as many terms ahead as they had
// elections meanwhile, and must be able to join them.
//
// So a replica follows a jump only as far as its reach. At a start that is
// [TermReach], more elections than a group could hold in six years if it held one
// with each tick. A jump uses up reach, and each tick gives back [TermReachTick]. The
// next term is always in reach. The Group drops a message that is farther ahead
// ([ErrTerm]) before anything changes.
//
// A liar may use up the reach of one replica and not that of another, so that the
// second can't follow the first. While a replica hears of terms beyond its reach it
// therefore gains more than it has lost, tick by tick: terms are raised no faster
// than that, so it catches up in no more time than it was behind. The last term is
// farther away than 200,000 years of lying, and two billion starts.
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

// check refuses a term that is out of reach of a replica in term own.
func (r *reach) check(term, own uint64) error {
	if term <= own+1 || term-own-1 <= r.left || bug("forged term accepted") {
		return nil
	}
	r.beyond = true
	return fmt.Errorf("%w: term %d is %d ahead of term %d here, at most %d are believed", ErrTerm, term, term-own, own, r.left+1)
}

// jump uses up reach for a term that is raised by by, of which the first is free.
func (r *reach) jump(by uint64) {
	r.left -= min(r.left, max(by, 1)-1)
}
