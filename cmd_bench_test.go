package main

import (
	"math"
	"testing"
	"time"
)

// A quantile must be at least the true one and at most 1/32 above it, at every
// size of duration.
func TestHistogram(t *testing.T) {
	for ns := uint64(1); ns < math.MaxInt64/3; ns = ns*5/4 + 1 {
		i := bucketOf(ns)
		top := bucketTop(i)
		if top < ns || float64(top) > float64(ns)*(1+1.0/32)+1 {
			t.Errorf("%d falls into bucket %d, which ends at %d", ns, i, top)
		}
		if bucketOf(top) != i || top < math.MaxInt64 && bucketOf(top+1) != i+1 {
			t.Errorf("bucket %d does not end at %d", i, top)
		}
	}
	var h, other histogram
	for i := range 1000 {
		(map[bool]*histogram{true: &h, false: &other})[i%2 == 0].record(time.Duration(i+1) * time.Microsecond)
	}
	h.add(&other)
	h.record(-1) // a clock that went back
	for _, tt := range []struct {
		q    float64
		want time.Duration
	}{{0.5, 500 * time.Microsecond}, {0.99, 990 * time.Microsecond}, {0.999, 999 * time.Microsecond}} {
		if got := h.quantile(tt.q); got < tt.want || got > tt.want*33/32+time.Microsecond {
			t.Errorf("quantile %v: got %v, want about %v", tt.q, got, tt.want)
		}
	}
	if got := new(histogram).quantile(0.99); got != 0 {
		t.Errorf("quantile of nothing: %v", got)
	}
	if n := testing.AllocsPerRun(100, func() { h.record(time.Millisecond) }); n != 0 {
		t.Errorf("recording allocates %v times", n)
	}
}

func TestBenchKey(t *testing.T) {
	key := make([]byte, 12)
	for _, tt := range []struct {
		n    int
		want string
	}{{0, "bench/000000"}, {17, "bench/000017"}, {999999, "bench/999999"}} {
		if benchKey(key, tt.n); string(key) != tt.want {
			t.Errorf("%d: got %s, want %s", tt.n, key, tt.want)
		}
	}
}
