package repl

import (
	"sync"
	"time"
)

// syncWindow is half of the time that the figures of a log's writes are of: long enough for a
// percentile of a node that writes little, short enough to show a disk that is slow now.
const syncWindow = 30 * time.Second

// SyncTimes says how long the writes of a log took lately, each a write and
// its sync.
type SyncTimes struct {
	Lately
	UnderWay time.Duration // for how long the write under way has waited; 0: none is
	Total    uint64        // since the start
	MaxEver  time.Duration // since the start
}

// syncTimes is what is known of the writes of a log. All times are on the loop's clock.
type syncTimes struct {
	mu      sync.Mutex
	times   recent        // guarded by mu
	waits   bool          // guarded by mu: a write is under way
	began   time.Duration // guarded by mu: when it was begun
	maxEver time.Duration // guarded by mu
}

// begin notes that a write is under way.
func (s *syncTimes) begin(now time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.began, s.waits = now, true
}

// end notes that it is done.
func (s *syncTimes) end(now time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	took := now - s.began
	s.waits = false
	s.times.add(took, 1, now)
	s.maxEver = max(s.maxEver, took)
}

// summary returns the figures.
func (s *syncTimes) summary(now time.Duration) SyncTimes {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := SyncTimes{Lately: s.times.lately(now), Total: s.times.all.total, MaxEver: s.maxEver}
	if s.waits {
		t.UnderWay = now - s.began
	}
	return t
}

// Syncs returns how long the log's writes took lately.
func (l *Loop) Syncs() SyncTimes { return l.syncs.summary(l.Now()) }

// SyncsEver returns how long the log's writes took since the start.
func (l *Loop) SyncsEver() Durations {
	l.syncs.mu.Lock()
	defer l.syncs.mu.Unlock()
	return l.syncs.times.all
}
