package sim

import (
	"flag"
	"os"
	"sync"
	"testing"
)

var flawsFlag = flag.Int("flaws", 0, "run so many seeds in which states become wrong")

// One replica's state becomes wrong: by memory that fails, or by code that does something
// else there. It must be found soon, on this replica and no other, whatever else happens, and
// mended, and what it serves meanwhile must not be known to be wrong. One would doubt it: the
// first thing that is wrong may be what looks for it.
func TestStateFaults(t *testing.T) {
	if *seedFlag >= 0 {
		r := Run(Options{Seed: uint64(*seedFlag), Flaws: true, Log: os.Stdout})
		t.Log(&r.Flaws.Counts)
		if r.Failure != nil {
			t.Fatal(r.Failure)
		}
		return
	}
	count := 20
	if testing.Short() {
		count = 4
	}
	if *flawsFlag > 0 {
		count = *flawsFlag
	}
	var mu sync.Mutex
	var sum FlawCounts
	bearers, doubted, panics := 0, 0, 0
	runEach(t, *fromFlag, count, Options{Flaws: true}, func(r *Result) {
		mu.Lock()
		defer mu.Unlock()
		sum.Add(&r.Flaws.Counts)
		bearers += r.Flaws.Bearers
		doubted += r.Flaws.Doubted
		panics += r.Flaws.Panics
	})
	t.Logf("%d states that became wrong: %s; %d times a fenced replica bore its log; %d operations that were not checked; %d processes that ended with a panic", sum.Total(), &sum, bearers, doubted, panics)
	if t.Failed() || count < 20 {
		return
	}
	for _, k := range flawsDrawn {
		if k < FlawLookup && sum.Of(k) == 0 {
			t.Errorf("no state became wrong by: %s", k)
		}
	}
	if bearers == 0 {
		t.Error("no fenced replica bore its log")
	}
	// What is written over in time is found by nobody, and shows nothing.
	if gone := sum.Ended(FlawVanished); gone*10 > sum.Total() {
		t.Errorf("of %d flaws %d were written over before they were found", sum.Total(), gone)
	}
	if found := sum.Ended(FlawAudited) + sum.Ended(FlawWalked); found < 10*count {
		t.Errorf("%d seeds had %d flaws that were found", count, found)
	}
}
