package services

import (
	"sync/atomic"
	"testing"
	"time"
)

// wakeEvery is how often a lateness looks at the clock.
const wakeEvery = 10 * time.Millisecond

// lateness is for how long the machine kept waiting whom it had to wake: a goroutine that
// does nothing but sleep. The nodes wait at least as long, several times in a row. On a machine
// that is not busy it stays near zero.
type lateness struct{ sum atomic.Int64 }

// measureLateness measures until the test ends.
func measureLateness(t *testing.T) *lateness {
	l := &lateness{}
	ticker := time.NewTicker(wakeEvery)
	end := make(chan struct{})
	t.Cleanup(func() { close(end); ticker.Stop() })
	go func() {
		for last := time.Now(); ; {
			select {
			case <-end:
				return
			case <-ticker.C:
			}
			now := time.Now()
			l.sum.Add(int64(max(0, now.Sub(last)-wakeEvery)))
			last = now
		}
	}()
	return l
}

func (l *lateness) so() time.Duration { return time.Duration(l.sum.Load()) }
