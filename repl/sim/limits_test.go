package sim

import (
	"testing"
	"time"
)

// A cluster keeps what there is of prefixes within their limits, while people change these, leaders change, slots
// move, links break and processes end, and once it is healed takes all that fits. One would doubt it: each leader
// decides alone, by what it heard last of a limit and of what the others have.
func TestLimits(t *testing.T) {
	count := 8
	if testing.Short() {
		count = 4
	}
	sum := runSeeds(t, 6000, count, Options{With: []Fault{Limits}, Length: time.Minute})
	t.Log(sum)
	for _, f := range []Fault{Limits, LimitOver, LimitWaits} {
		if sum.fired[f] == 0 && !t.Failed() {
			t.Errorf("no %s", f)
		}
	}
}

// A run with limits is the same each time, too.
func TestSameLimits(t *testing.T) {
	o := Options{Seed: 6100, With: []Fault{Limits, Slots}, Length: 30 * time.Second}
	a, b := Run(o), Run(o)
	if a.Hash != b.Hash || a.Steps != b.Steps {
		t.Errorf("%d steps with hash %016x, then %d with %016x", a.Steps, a.Hash, b.Steps, b.Hash)
	}
}
