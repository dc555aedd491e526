package bench

import (
	"math"
	"math/bits"
	"time"
)

// A histogram counts durations in buckets that grow with what they hold: each
// doubling is cut into 16, so a quantile is at most 6 % off, from nanoseconds to
// hours, in 8 KiB.
const (
	stepBits = 4
	steps    = 1 << stepBits
	buckets  = steps * (64 - stepBits)
)

type histogram struct {
	counts [buckets]uint64
	total  uint64
}

// bucketOf returns where d is counted.
func bucketOf(d time.Duration) int {
	n := uint64(max(d, 0))
	if n < steps {
		return int(n)
	}
	shift := bits.Len64(n) - stepBits - 1
	return shift*steps + int(n>>shift)
}

// upTo returns the longest duration that bucket i holds.
func upTo(i int) time.Duration {
	if i < 2*steps {
		return time.Duration(i)
	}
	shift := i/steps - 1
	return time.Duration((uint64(i%steps)+steps+1)<<shift - 1)
}

func (h *histogram) record(d time.Duration) {
	h.counts[bucketOf(d)]++
	h.total++
}

func (h *histogram) add(o *histogram) {
	for i, n := range o.counts {
		h.counts[i] += n
	}
	h.total += o.total
}

// quantile returns a duration that the share q of all is not longer than; 0 if
// there are none.
func (h *histogram) quantile(q float64) time.Duration {
	left := uint64(math.Ceil(q * float64(h.total)))
	for i, n := range h.counts {
		if n > 0 && left <= n {
			return upTo(i)
		}
		left -= min(n, left)
	}
	return 0
}
