package rights

import "muster/repl/wire"

// AppealsMax bounds the refusals of a node that wait until its table is sure to be of today; one more is
// answered by the table that is here.
const AppealsMax = 1024

// Appeals are refusals that are not final yet: whoever was just given a right may ask a node whose table is
// a moment behind, and would be told that it lacks the right. So the node makes sure of its table and judges again. One look
// at the meta group serves all that came before it. A T is what the owner needs to judge and answer.
//
// It belongs to one goroutine.
type Appeals[T any] struct {
	waiting, under []T
}

// Add keeps one, and reports whether there was room for it.
func (a *Appeals[T]) Add(x T) bool {
	if len(a.waiting)+len(a.under) >= AppealsMax {
		return false
	}
	a.waiting = append(a.waiting, x)
	return true
}

// Begin reports whether the owner is to ask now whether its table is of today: something waits, and no such
// question is under way.
func (a *Appeals[T]) Begin() bool {
	if len(a.under) > 0 || len(a.waiting) == 0 {
		return false
	}
	a.under, a.waiting = a.waiting, nil
	return true
}

// Ended returns what the question was about that is answered now, or has failed.
func (a *Appeals[T]) Ended() (all []T) {
	all, a.under = a.under, nil
	return all
}

// Review says what an appeal is answered, after another look at the law. first is the refusal, e what the law says
// now: nil, and the user may ask again at once.
func Review(node string, first, e *wire.Error) *wire.Error {
	if e != nil {
		return e
	}
	return wire.NotReady("node "+node, "it has heard only now that this is allowed ("+first.Object+")", "try again", appealRetry)
}
