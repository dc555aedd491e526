package load

import (
	"flag"
	"testing"
	"time"

	"muster/node/trial/clustertest"
	"muster/repl/client/bench"
)

var steady = flag.Duration("steady", 0, "how long `D` TestSteady has 70 % of the maximum set; the figures of docs/performance.md are of 30m")

const (
	steadyShare = 0.7 // of the maximum
	steadyKeys  = 100_000
	// steadyTail is by how much p99.9 may be over p99: what happens now and
	// then must not cost more than what happens all the time.
	steadyTail = 3
	// steadyGrowth is by how much the median of what a node has resident may
	// be more in the last third of the time than in the first.
	steadyGrowth = 1.1
	// steadyKept is how much of what was due must have been done.
	steadyKept = 0.99
	// steadySlice is for how long each figure is; less where the whole is
	// less than steadySlices of it.
	steadySlice  = time.Minute
	steadySlices = 6
)

// What a cluster does for some seconds it must be able to do for ever. One would
// doubt it: snapshots and files of the log that are used again come seldom, and
// what is never given back shows after many of them. Requests are due at 70 % of
// what it does at most, whatever became of those before.
func TestSteady(t *testing.T) {
	clustertest.OnDemand(t, *steady > 0, "./node/trial/load -run TestSteady -steady 30m -timeout 45m")
	c := clustertest.Start(t, 3)
	c.Plain = true
	rate := steadyShare * maximumOf(c, steadyKeys)
	slice := min(steadySlice, *steady/steadySlices)
	load := func(d time.Duration) bench.Result {
		return runBench(c, "--op set --connections 16 --in-flight 4096 --rate %.0f --duration %v --every %v --keys %d", rate, d, slice, steadyKeys)
	}
	load(slice) // so that the heap has the size that this rate gives it
	leaders := leadershipOf(c)
	var r bench.Result
	over := make(chan struct{})
	go func() {
		defer close(over)
		r = load(*steady)
	}()
	resident := make([][]float64, len(c.Nodes)) // by node, each slice
	looks := time.NewTicker(slice)
	defer looks.Stop()
	for watched := true; watched; {
		select {
		case <-looks.C:
			for i, mb := range residentOf(c) {
				resident[i] = append(resident[i], mb)
			}
		case <-over:
			watched = false
		}
	}
	for i, s := range r.Slices {
		if i >= len(resident[0]) {
			break // what ended after the time
		}
		t.Logf("slice %d of %v: %.0f sets/s, p50 %.2f ms, p99 %.2f, p99.9 %.2f, most %.1f; resident %.1f, %.1f, %.1f MB", i+1, slice, float64(s.Done)/slice.Seconds(),
			s.P50/1000, s.P99/1000, s.P999/1000, s.Max/1000, resident[0][i], resident[1][i], resident[2][i])
	}
	t.Logf("all: %.0f sets/s due, %d of %d done, %d errors, %d missed; p50 %.2f ms, p99 %.2f ms, p99.9 %.2f ms, %.2f times p99 (want %d at most); CPU %.1f µs at the nodes, %.1f at the client",
		rate, r.Done, r.Open.Due, r.Errors, r.Open.Missed, r.P50/1000, r.P99/1000, r.P999/1000, r.P999/r.P99, steadyTail, r.ServerCPU, r.ClientCPU)
	if r.P999 > steadyTail*r.P99 {
		t.Errorf("p99.9 is %.2f ms, %.1f times p99, which is %.2f ms; want %d times at most", r.P999/1000, r.P999/r.P99, r.P99/1000, steadyTail)
	}
	if r.Errors > 0 || float64(r.Done) < steadyKept*float64(r.Open.Due) {
		t.Errorf("of %d that were due %d were done and %d failed; want no errors, and %.0f %% done", r.Open.Due, r.Done, r.Errors, 100*steadyKept)
	}
	if len(resident[0]) < 3 {
		t.Fatalf("memory was looked at %d times; want 3 at least", len(resident[0]))
	}
	for i, all := range resident {
		third := len(all) / 3
		first, last := median(all[:third]), median(all[len(all)-third:])
		t.Logf("n%d has %.1f MB resident in the first third, %.1f in the last (medians), %.2f times as much; want %.1f at most", i+1, first, last, last/first, steadyGrowth)
		if last > steadyGrowth*first {
			t.Errorf("n%d has grown from %.1f to %.1f MB", i+1, first, last)
		}
	}
	sameLeaders(c, leaders)
}
