package sim

import (
	"testing"
	"time"
)

// Points are written, taken as hints, deleted and asked for under every fault, while windows come and go, and all replicas have of
// them what the logs say, in the same files. One would doubt it: windows go by the clocks of hosts, with writes to them under way, each replica makes its
// files when it can, and hints come late, twice, and behind deletes that they must not undo.
func TestSeries(t *testing.T) {
	count := 3
	if *seedsFlag > 0 {
		count = *seedsFlag
	}
	sum := runSeeds(t, 7006+*fromFlag, count, Options{With: []Fault{Points}, Length: 3 * time.Minute})
	all := &sum.series
	t.Logf("%+v", *all)
	if sum.fired[Points] == 0 || all.Written == 0 || all.Filled == 0 || all.Deleted == 0 || all.Asked == 0 || all.Hidden == 0 || all.Late == 0 || all.Sealed == 0 || all.Merged == 0 || all.Fetched == 0 || all.Rotted == 0 || all.Files == 0 || all.Hinted == 0 {
		if !t.Failed() {
			t.Errorf("%+v, and %d windows dropped; want some of each", *all, sum.fired[Points])
		}
	}
}

// A run with time series is the same each time, too.
func TestSameSeries(t *testing.T) {
	o := Options{Seed: 7100, With: []Fault{Points, Slots}, Length: 30 * time.Second}
	a, b := Run(o), Run(o)
	if a.Hash != b.Hash || a.Steps != b.Steps {
		t.Errorf("%d steps with hash %016x, then %d with %016x", a.Steps, a.Hash, b.Steps, b.Hash)
	}
}
