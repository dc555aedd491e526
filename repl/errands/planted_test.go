//go:build plantedbugs

package errands

import "testing"

// The tests must find each of these: they run one at a time, none beside another test.
func TestPlantedBugs(t *testing.T) {
	worlds := func() string {
		for seed := range uint64(3 * worldRuns) {
			if err := randomWorld(seed); err != nil {
				return err.Error()
			}
		}
		return ""
	}
	defer SetBug("")
	for name, find := range map[string]func() string{
		"errand by two leaders": worlds, bugSentUntaken: worlds, "damaged backup counted": pruneWrong, "prune of the last good backup": pruneWrong, "part of a running backup removed": pruneWrong,
		"last good backup not read again": prunableWrong,
	} {
		SetBug(name)
		wrong := find()
		if wrong == "" {
			t.Errorf("%s: not found", name)
		}
		t.Logf("%s: %s", name, wrong)
	}
}
