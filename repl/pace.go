package repl

import (
	"errors"
	"time"
)

// paceBurst is how much time may be caught up with at once, so that a writer that
// the disk held up does not make up for it with a rush.
const paceBurst = 20 * time.Millisecond

var errPaceEnds = errors.New("the node stops")

// NewPace returns a pace of rate bytes per second; 0 or less is no limit. It returns
// an error once stop is closed. One goroutine uses it.
func NewPace(rate int64, stop <-chan struct{}) Pace {
	return newPaceOf(func() int64 { return rate }, stop)
}

// newPaceOf is NewPace of a rate that may change.
func newPaceOf(rateNow func() int64, stop <-chan struct{}) Pace {
	var due time.Time
	return func(bytes int) error {
		select {
		case <-stop:
			return errPaceEnds
		default:
		}
		rate := rateNow()
		if rate <= 0 {
			return nil
		}
		now := time.Now()
		if floor := now.Add(-paceBurst); due.Before(floor) {
			due = floor
		}
		due = due.Add(time.Duration(float64(bytes) / float64(rate) * float64(time.Second)))
		rest := due.Sub(now)
		if rest < time.Millisecond {
			return nil // shorter pauses are mostly the timer's own
		}
		timer := time.NewTimer(rest)
		defer timer.Stop()
		select {
		case <-stop:
			return errPaceEnds
		case <-timer.C:
			return nil
		}
	}
}
