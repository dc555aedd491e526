package bench

import (
	"math"
	"math/bits"
	"time"
)

// A histogram counts durations in buckets that grow with what they hold: each
// doubling is cut into 16, so a quantile is at most 6 % off, from nanoseconds to
// hours. A doubling takes memory once something falls into it, for each caller
// has a histogram and there may be many callers.
const (
	stepBits  = 4
	steps     = 1 << stepBits
	doublings = 64 - stepBits
	buckets   = steps * doublings
)

type histogram struct {
	counts  [doublings]*[steps]uint64
	total   uint64
	sum     time.Duration
	longest time.Duration
}

// Bucket is how many operations took longer than the bucket before it and at
// most ToMicros.
type Bucket struct {
	ToMicros float64 `json:"to_us"`
	Count    uint64  `json:"count"`
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
	i := bucketOf(d)
	row := h.counts[i/steps]
	if row == nil {
		row = new([steps]uint64)
		h.counts[i/steps] = row
	}
	row[i%steps]++
	h.total++
	h.sum += d
	h.longest = max(h.longest, d)
}

func (h *histogram) add(o *histogram) {
	for i, row := range o.counts {
		if row == nil {
			continue
		}
		if h.counts[i] == nil {
			h.counts[i] = new([steps]uint64)
		}
		for j, n := range row {
			h.counts[i][j] += n
		}
	}
	h.total += o.total
	h.sum += o.sum
	h.longest = max(h.longest, o.longest)
}

// each calls f for every bucket that holds something, the shortest first, until
// f says false.
func (h *histogram) each(f func(i int, n uint64) bool) {
	for i, row := range h.counts {
		if row == nil {
			continue
		}
		for j, n := range row {
			if n > 0 && !f(i*steps+j, n) {
				return
			}
		}
	}
}

// quantile returns a duration that the share q of all is not longer than; 0 if
// there are none.
func (h *histogram) quantile(q float64) (d time.Duration) {
	left := uint64(math.Ceil(q * float64(h.total)))
	h.each(func(i int, n uint64) bool {
		d = upTo(i)
		left -= min(n, left)
		return left > 0
	})
	return min(d, h.longest)
}

func (h *histogram) mean() time.Duration {
	return time.Duration(float64(h.sum) / max(float64(h.total), 1))
}

// buckets returns those that hold something, the shortest first.
func (h *histogram) buckets() []Bucket {
	all := []Bucket{}
	h.each(func(i int, n uint64) bool {
		all = append(all, Bucket{ToMicros: float64(upTo(i)) / 1000, Count: n})
		return true
	})
	return all
}
