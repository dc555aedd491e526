//go:build plantedbugs

package sim

import (
	"errors"
	"testing"

	"muster/repl/mover"
	"muster/shardmap"
	"muster/shardmap/movetest"
)

// The model refuses what a cluster does that has a bug. The simulator finds these bugs by
// itself, mostly later: here it is the trace up to there that must not pass.
func TestPlantedMovesAreRefused(t *testing.T) {
	const seedsMax = 60
	for _, o := range []struct {
		bug string
		set func(string)
	}{
		{"two deciders after a seal", mover.SetBug},
		{"target serves before it is complete", shardmap.SetBug},
		{"move number not fenced", shardmap.SetBug},
	} {
		t.Run(o.bug, func(t *testing.T) {
			o.set(o.bug)
			defer o.set("")
			why := error(nil)
			seed := uint64(0)
			for ; seed < seedsMax && why == nil; seed++ {
				traces, _ := movesOf(seed)
				why = movetest.Follow(modelDir, t.TempDir(), traces)
			}
			switch {
			case errors.Is(why, movetest.ErrNoSpin):
				t.Skip(why)
			case why == nil:
				t.Errorf("the model takes what %d seeds do", seed)
			}
			t.Logf("%d seeds: %.300v", seed, why)
		})
	}
}
