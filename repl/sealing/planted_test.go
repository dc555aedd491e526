//go:build plantedbugs

package sealing

import "testing"

// The tests must find each of these: they run one at a time, none beside another test.
func TestPlantedBugs(t *testing.T) {
	worlds := func() string {
		for seed := range uint64(3 * worldRuns) {
			if err := randomWorld(seed, map[string]int{}); err != nil {
				return err.Error()
			}
		}
		return ""
	}
	defer SetBug("")
	for name, find := range map[string]func() string{
		bugSnapshot: worlds, bugNotDurable: worlds, bugReplaced: worlds, bugNumber: worlds, bugGivesUp: worlds, bugReleased: worlds, bugBeside: worlds, bugCompared: comparedWrong,
	} {
		SetBug(name)
		wrong := find()
		if wrong == "" {
			t.Errorf("%s: not found", name)
		}
		t.Logf("%s: %s", name, wrong)
	}
}
