//go:build plantedbugs

package sim

import (
	"testing"

	"muster/repl/rescue"
)

// What package rescue would do wrong must show in runs that lose a majority.
func TestPlantedInLostMajority(t *testing.T) {
	defer rescue.SetBug("")
	for _, b := range []struct {
		bug  string
		from int // the first run: what shows in one of some 300 alone is looked for where it does
	}{
		{"shorter log chosen", 0},
		{"voter in doubt counted", 900},
		{"log not begun further on", 0},
		{"identity before the logs", 0},
		{"old log goes first", 0},
	} {
		rescue.SetBug(b.bug)
		var found *Failure
		run := b.from
		for ; found == nil && run < b.from+10*lostSeeds; run++ {
			r := Run(Options{Seed: uint64(run), Length: lostLength, Lose: true, With: []Fault{OlderLife}})
			found = r.Failure
		}
		if found == nil {
			t.Errorf("%s: not found in runs %d to %d", b.bug, b.from, run-1)
			continue
		}
		t.Logf("%s: run %d: %.150s", b.bug, run-1, found.What)
	}
}
