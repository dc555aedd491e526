//go:build plantedbugs

package quota

import "testing"

// A test that finds nothing proves nothing: each of these bugs must make worlds exceed their limits.
func TestWorldFindsPlantedBugs(t *testing.T) {
	defer SetBug("")
	for _, name := range []string{
		"allotment kept after the lead was lost",
		"what left a group is free at once",
		"allotment taken back before that is confirmed",
		"limit that is made again is given all once more",
		"a round is whole that some have not answered",
		"a leader keeps several seconds of its rate",
	} {
		SetBug(name)
		var err error
		for seed := uint64(0); seed < 10*worldRuns && err == nil; seed++ {
			if _, err = runWorld(seed); err != nil {
				t.Logf("%s: seed %d: %v", name, seed, err)
			}
		}
		if err == nil {
			t.Errorf("%s: not found", name)
		}
	}
}
