package lock

import (
	"sync"
	"time"

	"muster/repl/client"
)

// marginPart is the part of the TTL by which a holder stops believing before the lease can end. The
// cluster counts the TTL by the clock of a leader and the holder by its own, and at a tenth the two may be
// wrong by a twentieth each, in opposite directions.
const marginPart = 10

// keepPart is the part of the TTL after which a lease is kept alive again: a third, so that two tries may
// fail.
const keepPart = 3

// tenure is the time that a holder has, by its own clock.
type tenure struct {
	ttl  time.Duration // of the lease
	keep time.Duration // when the lease is to be kept alive again
	// Invariant: the cluster does not end the lease before this moment, however long answers take, and though the two clocks
	// are wrong by a twentieth.
	until time.Duration
}

// bugAnswered and bugNoMargin are planted to show that their test finds them.
const (
	bugAnswered = "validity counted from the answer"
	bugNoMargin = "no margin for clocks"
)

// confirmed takes note that the lease lives: a request that kept it alive was sent at asked, and its answer was there at
// answered. The leader counted the TTL from some moment in between. Only the first of the two is surely not
// after it, so all counts from that.
func (t *tenure) confirmed(asked, answered time.Duration) {
	margin := t.ttl / marginPart
	if bug(bugAnswered) {
		asked = answered
	}
	if bug(bugNoMargin) {
		margin = 0
	}
	t.keep = asked + t.ttl/keepPart
	t.until = max(t.until, asked+t.ttl-margin)
}

// clock is the time of a holder: it also counts while the host is suspended, though late.
type clock struct {
	began time.Time
	jumps client.Clock

	// Of a lock in [Steps]: the time of its owner, and what that was at the beginning.
	given func() time.Duration
	since time.Duration
}

func newClock() *clock { return &clock{began: time.Now()} }

func (k *clock) now() time.Duration {
	if k.given != nil {
		return k.given() - k.since
	}
	now := time.Now()
	return k.jumps.Look(now.Round(0).Sub(k.began.Round(0)), now.Sub(k.began))
}

// holding is a tenure that goroutines share.
type holding struct {
	clock *clock

	mu sync.Mutex
	tenure
}

func (h *holding) confirmed(asked time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tenure.confirmed(asked, h.clock.now())
}

// left returns how long the lock may still be relied on, and for how long the lease need not be kept alive.
func (h *holding) left() (until, keep time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.clock.now()
	return h.until - now, h.keep - now
}
