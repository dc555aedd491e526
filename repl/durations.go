package repl

import (
	"math/bits"
	"time"
)

const (
	// durationUnit is the width of the narrowest buckets, the first four.
	durationUnit = 250 * time.Nanosecond
	// durationSteps is into how many buckets each doubling is cut.
	durationSteps = 1 << durationStepBits
	// durationStepBits is the same as a power of two.
	durationStepBits = 2
	// durationDoublings is for how many doublings of a microsecond there are buckets: up to 134 s.
	durationDoublings = 27
	// durationBuckets are four up to a microsecond, four for each doubling, and one for all
	// that is longer: what is read from them is a quarter too large at most, or 250 ns.
	durationBuckets = durationSteps*(durationDoublings+1) + 1
)

// Durations counts durations in buckets that grow with what they hold. It has no lock: its
// owner sees to that. The zero value is empty. It may be copied.
type Durations struct {
	counts [durationBuckets]uint64
	sum    time.Duration
	total  uint64
}

// durationBucket returns where a duration is counted.
func durationBucket(d time.Duration) int {
	if d <= 0 {
		return 0
	}
	n := uint64(d-1) / uint64(durationUnit) // a bucket holds the duration that it ends with
	if n < durationSteps {
		return int(n)
	}
	shift := bits.Len64(n) - durationStepBits - 1
	return min(shift*durationSteps+int(n>>shift), durationBuckets-1)
}

// durationBucketTop is the longest duration in a bucket; of the last one it is the shortest.
func durationBucketTop(i int) time.Duration {
	if i < 2*durationSteps {
		return time.Duration(i+1) * durationUnit
	}
	shift := i/durationSteps - 1
	return time.Duration((i%durationSteps+durationSteps+1)<<shift) * durationUnit
}

// add counts n durations that were alike. It costs some nanoseconds and allocates nothing.
func (h *Durations) add(d time.Duration, n uint64) {
	h.counts[durationBucket(d)] += n
	h.sum += d * time.Duration(n)
	h.total += n
}

// Add counts one duration.
func (h *Durations) Add(d time.Duration) { h.add(d, 1) }

// since is what was counted after h was as before.
func (h *Durations) since(before *Durations) *Durations {
	d := &Durations{sum: h.sum - before.sum, total: h.total - before.total}
	for i := range d.counts {
		d.counts[i] = h.counts[i] - before.counts[i]
	}
	return d
}

// Total returns how many were counted.
func (h *Durations) Total() uint64 { return h.total }

// Sum returns all of them together.
func (h *Durations) Sum() time.Duration { return h.sum }

// Doublings returns how many were at most 1 µs, 2 µs, 4 µs and so on, up to the longest for which
// there are buckets. Each number includes those before it.
func (h *Durations) Doublings() (upTo [durationDoublings + 1]uint64) {
	n := uint64(0)
	for i := range upTo {
		for _, c := range h.counts[i*durationSteps : (i+1)*durationSteps] {
			n += c
		}
		upTo[i] = n
	}
	return upTo
}

// percentile returns a duration that so many of a hundred did not exceed, but no more than most;
// 0 if none were counted.
func (h *Durations) percentile(p uint64, most time.Duration) time.Duration {
	left := (h.total*p + 99) / 100
	if left == 0 {
		return 0
	}
	for i, n := range h.counts {
		if n >= left && i < durationBuckets-1 {
			return min(durationBucketTop(i), most)
		}
		left -= min(n, left)
	}
	return most
}

// Lately says how long something took in a span of time that ends now.
type Lately struct {
	Count         uint64
	Window        time.Duration // the time that the figures are of; 0: nothing was counted
	P50, P99, Max time.Duration // P50 and P99 are a quarter too large at most
}

// recent counts durations since the start, and knows which of them came within the last one to
// two spans. Times are on one clock of its owner's, which began at 0.
type recent struct {
	span  time.Duration
	all   Durations
	marks [2]recentMark // where the younger half of the window began, and where the older one
}

// recentMark is the beginning of a half.
type recentMark struct {
	at  time.Duration
	all Durations     // as they were then
	max time.Duration // since then, until the next half began
}

// add counts n durations that were alike and ended now.
func (r *recent) add(d time.Duration, n uint64, now time.Duration) {
	r.age(now)
	r.all.add(d, n)
	r.marks[0].max = max(r.marks[0].max, d)
}

// age begins a younger half when it is time.
func (r *recent) age(now time.Duration) {
	switch old := now - r.marks[0].at; {
	case old < r.span:
	case old < 2*r.span:
		r.marks[1] = r.marks[0]
		r.marks[0] = recentMark{at: r.marks[1].at + r.span, all: r.all}
	default:
		r.marks[0] = recentMark{at: now, all: r.all}
		r.marks[1] = r.marks[0]
	}
}

// lately returns the figures of both halves.
func (r *recent) lately(now time.Duration) Lately {
	r.age(now)
	window := r.all.since(&r.marks[1].all)
	l := Lately{Count: window.total, Max: max(r.marks[0].max, r.marks[1].max)}
	if l.Count == 0 {
		return l
	}
	l.Window = now - r.marks[1].at
	if r.marks[0].all.total == r.marks[1].all.total {
		l.Window = now - r.marks[0].at // nothing is of the older half
	}
	l.P50, l.P99 = window.percentile(50, l.Max), window.percentile(99, l.Max)
	return l
}
