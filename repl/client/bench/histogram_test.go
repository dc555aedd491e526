package bench

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// The buckets must follow on each other without a hole, and a quantile be at
// most one bucket off what sorting gives: else every figure that is published
// is wrong.
func TestHistogram(t *testing.T) {
	for i := range buckets - 1 {
		end := upTo(i)
		if bucketOf(end) != i || bucketOf(end+1) != i+1 {
			t.Fatalf("bucket %d ends at %d: counted in %d, the next in %d", i, end, bucketOf(end), bucketOf(end+1))
		}
		if i == bucketOf(1<<62) {
			break
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	var h, half histogram
	var all []time.Duration
	for i := range 10000 {
		d := time.Duration(random.ExpFloat64() * float64(time.Millisecond))
		all = append(all, d)
		if i%2 == 0 {
			half.record(d)
		} else {
			h.record(d)
		}
	}
	h.add(&half)
	slices.Sort(all)
	for _, q := range []float64{0.001, 0.5, 0.99, 0.999, 1} {
		want := all[int(q*10000)-1]
		got := h.quantile(q)
		if got < want || float64(got) > float64(want)*1.07+1 || q == 1 && got != want {
			t.Errorf("quantile %v: got %s, want %s or up to 6 %% more", q, got, want)
		}
	}
	sum, counted := time.Duration(0), uint64(0)
	for _, d := range all {
		sum += d
	}
	if got, want := h.mean(), sum/10000; got < want-time.Microsecond || got > want+time.Microsecond || h.longest != all[9999] {
		t.Errorf("got a mean of %s and %s as the longest, want %s and %s", got, h.longest, want, all[9999])
	}
	// What is published: each bucket holds what is longer than the one before.
	for _, b := range h.buckets() {
		counted += b.Count
		to := time.Duration(b.ToMicros * 1000)
		if n, _ := slices.BinarySearch(all, to+1); uint64(n) != counted {
			t.Errorf("bucket to %s: %d up to there, want %d", to, counted, n)
		}
	}
	if counted != 10000 {
		t.Errorf("buckets hold %d, want 10000", counted)
	}
	empty := new(histogram)
	if empty.quantile(0.5) != 0 || empty.mean() != 0 || len(empty.buckets()) != 0 {
		t.Errorf("empty: got %s, %s, %v", empty.quantile(0.5), empty.mean(), empty.buckets())
	}
}
