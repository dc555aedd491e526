package main

import (
	"math/bits"
	"time"
)

// histogram counts durations in buckets that are 1/32 of their size wide, so
// that a quantile is at most about 3 % too large and recording one allocates
// nothing.
type histogram struct {
	counts [64 << subBits]uint64
	total  uint64
}

const subBits = 5

func bucketOf(ns uint64) int {
	if ns < 1<<subBits {
		return int(ns)
	}
	// The position of the highest bit, and the subBits bits below it.
	shift := bits.Len64(ns) - 1 - subBits
	return (shift+1)<<subBits + int(ns>>shift) - 1<<subBits
}

// bucketTop is the largest that falls into a bucket.
func bucketTop(i int) uint64 {
	if i < 1<<subBits {
		return uint64(i)
	}
	shift := i>>subBits - 1
	return (uint64(i&(1<<subBits-1))+1<<subBits+1)<<shift - 1
}

func (h *histogram) record(d time.Duration) {
	h.counts[bucketOf(uint64(max(d, 0)))]++
	h.total++
}

func (h *histogram) add(o *histogram) {
	for i, n := range o.counts {
		h.counts[i] += n
	}
	h.total += o.total
}

// quantile returns the duration that a part q of all do not exceed.
func (h *histogram) quantile(q float64) time.Duration {
	if h.total == 0 {
		return 0
	}
	left := uint64(q * float64(h.total))
	for i, n := range h.counts {
		if n > left {
			return time.Duration(bucketTop(i))
		}
		left -= n
	}
	return time.Duration(bucketTop(len(h.counts) - 1))
}
