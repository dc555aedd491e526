//go:build plantedbugs

package sim

import (
	"testing"

	"muster/repl/rescue"
)

// What package rescue would do wrong must show in runs that lose a majority.
func TestPlantedInLostMajority(t *testing.T) {
	defer rescue.SetBug("")
	for _, bug := range []string{"shorter log chosen", "voter in doubt counted", "log not begun further on", "identity before the logs", "old log goes first"} {
		rescue.SetBug(bug)
		var found *Failure
		seeds := 0
		for ; found == nil && seeds < 10*lostSeeds; seeds++ {
			r := Run(Options{Seed: uint64(seeds), Length: lostLength, Lose: true, With: []Fault{OlderLife}})
			found = r.Failure
		}
		if found == nil {
			t.Errorf("%s: not found in %d runs", bug, seeds)
			continue
		}
		t.Logf("%s: run %d: %.150s", bug, seeds, found.What)
	}
}
