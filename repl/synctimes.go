package repl

import (
	"math"
	"sync"
	"time"
)

const (
	// syncWindow is half of the time that the figures of a log's writes are
	// of: long enough for a percentile of a node that writes little, short
	// enough to show a disk that is slow now.
	syncWindow = 30 * time.Second
	// syncBuckets is one for a microsecond and four for each doubling, up to
	// two minutes: what is read from them is a fifth too large at most.
	syncBuckets = 1 + 4*27
)

// SyncTimes says how long the writes of a log took lately, each a write and
// its sync.
type SyncTimes struct {
	Count         uint64
	Window        time.Duration // the time that Count, P50, P99 and Max are of
	P50, P99, Max time.Duration
	UnderWay      time.Duration // for how long the write under way has waited; 0: none is
	Total         uint64        // since the start
	MaxEver       time.Duration // since the start
}

// syncTimes is a histogram of two halves, of which the older one is thrown away
// when the younger is full of age.
type syncTimes struct {
	mu      sync.Mutex
	half    [2]syncHalf   // guarded by mu; the younger one first
	began   time.Time     // guarded by mu: the write under way; zero: none is
	total   uint64        // guarded by mu
	maxEver time.Duration // guarded by mu
}

type syncHalf struct {
	since  time.Time
	count  uint64
	max    time.Duration
	bucket [syncBuckets]uint32
}

// begin notes that a write is under way.
func (s *syncTimes) begin(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.began = now
}

// end notes that it is done.
func (s *syncTimes) end(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	took := now.Sub(s.began)
	s.began = time.Time{}
	s.age(now)
	h := &s.half[0]
	h.count++
	h.max = max(h.max, took)
	h.bucket[syncBucket(took)]++
	s.total++
	s.maxEver = max(s.maxEver, took)
}

// age makes room for a younger half when it is time.
func (s *syncTimes) age(now time.Time) {
	switch old := now.Sub(s.half[0].since); {
	case old < syncWindow:
	case old < 2*syncWindow:
		s.half[1] = s.half[0]
		s.half[0] = syncHalf{since: s.half[1].since.Add(syncWindow)}
	default:
		s.half[1] = syncHalf{since: now}
		s.half[0] = syncHalf{since: now}
	}
}

// summary returns the figures.
func (s *syncTimes) summary(now time.Time) SyncTimes {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.age(now)
	t := SyncTimes{
		Count: s.half[0].count + s.half[1].count, Max: max(s.half[0].max, s.half[1].max),
		Total: s.total, MaxEver: s.maxEver,
	}
	since := s.half[0].since
	if s.half[1].count > 0 {
		since = s.half[1].since
	}
	if t.Count > 0 {
		t.Window = now.Sub(since)
	}
	t.P50, t.P99 = s.percentile(t.Count, 50), s.percentile(t.Count, 99)
	if !s.began.IsZero() {
		t.UnderWay = now.Sub(s.began)
	}
	return t
}

// percentile returns a time that so many of a hundred writes did not exceed.
func (s *syncTimes) percentile(count uint64, p uint64) time.Duration {
	left := (count*p + 99) / 100
	if left == 0 {
		return 0
	}
	for i := range syncBuckets {
		n := uint64(s.half[0].bucket[i]) + uint64(s.half[1].bucket[i])
		if n >= left {
			return min(syncBucketTop(i), max(s.half[0].max, s.half[1].max))
		}
		left -= n
	}
	return max(s.half[0].max, s.half[1].max)
}

func syncBucket(d time.Duration) int {
	us := float64(d) / float64(time.Microsecond)
	if us <= 1 {
		return 0
	}
	return min(int(math.Ceil(4*math.Log2(us))), syncBuckets-1)
}

// syncBucketTop is the longest time in a bucket.
func syncBucketTop(i int) time.Duration {
	return time.Duration(math.Exp2(float64(i)/4) * float64(time.Microsecond))
}

// Syncs returns how long the log's writes took lately.
func (l *Loop) Syncs() SyncTimes { return l.syncs.summary(time.Now()) }
