package feed

import (
	"fmt"
	"sync"
	"time"

	"muster/repl/wire"
)

const (
	// collectorsMax bounds the users in whose names nodes are asked at the same time. Each costs
	// every node three questions a second.
	collectorsMax = 64
	// crowdedRetry is when somebody may come again who was one too many.
	crowdedRetry = 5 * time.Second
)

// Bugs that are planted to show that tests find them.
const (
	bugStale   = "an overview of earlier taken for one of now"
	bugShared  = "the overview of another user"
	bugUnnamed = "a node that hangs counts as one that was not asked"
)

// Feed has the collectors of all users. Its methods may be called by any number of goroutines.
type Feed struct {
	writeMax time.Duration // set once; a field, so that a test need not wait so long

	mu     sync.Mutex           // guards what follows
	of     map[Asker]*Collector // at most [collectorsMax]
	closed bool
}

// New returns a feed without collectors. [Feed.Close] ends those that it has by then; without it each ends a while after
// the last look, or with its client.
func New() *Feed { return &Feed{writeMax: writeMax, of: map[Asker]*Collector{}} }

// Close ends all collectors, and with them all streams.
func (f *Feed) Close() {
	f.mu.Lock()
	f.closed = true
	all := f.of
	f.of = nil
	f.mu.Unlock()
	for _, c := range all {
		c.Close()
	}
}

// Of returns the collector that asks through ask, for the one user whose client that is. It fails
// with code busy if so many users look that one more is too many.
func (f *Feed) Of(ask Asker) (*Collector, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, ErrClosed
	}
	if bug(bugShared) {
		for _, c := range f.of {
			return c, nil
		}
	}
	if c := f.of[ask]; c != nil && !c.over() {
		return c, nil
	}
	// A collector at which nobody looks ends by itself, and its client may be closed by now.
	for old, c := range f.of {
		if c.Idle() {
			delete(f.of, old)
		}
	}
	if len(f.of) >= collectorsMax {
		return nil, wire.Busy("the overview", fmt.Sprintf("%d users look at it, and each costs every node", collectorsMax), crowdedRetry)
	}
	c := NewCollector(ask)
	f.of[ask] = c
	return c, nil
}
