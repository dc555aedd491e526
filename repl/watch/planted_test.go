//go:build plantedbugs

package watch

import (
	"testing"

	"muster/shardmap"
)

// A test that finds nothing proves nothing: each of these bugs must make the random watches
// fail. They run one at a time, none beside another test.
func TestRandomWatchesFindPlantedBugs(t *testing.T) {
	for _, b := range []struct {
		name  string
		plant func(string)
	}{
		{"watch event lost at compaction", shardmap.SetBug},
		{"watch event twice after resume", SetBug},
		{"watch resumed past a gap", SetBug},
		{bugSecrets, SetBug},
	} {
		b.plant(b.name)
		var err error
		for seed := uint64(0); seed < watchRuns && err == nil; seed++ {
			if _, err = randomWatches(seed, watchSteps); err != nil {
				t.Logf("%s: seed %d: %.200v", b.name, seed, err)
			}
		}
		b.plant("")
		if err == nil {
			t.Errorf("%s: not found in %d runs", b.name, watchRuns)
		}
	}
}
