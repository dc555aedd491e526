package mover

import (
	"errors"
	"testing"

	"muster/shardmap/movetest"
)

// modelDir is where the model of a move is.
const modelDir = "../../docs/moves"

// The groups do what docs/moves/slotmove.pml says, step by step, and whoever proposes a
// step does so when the model's runner may: the model that was checked in every order of
// events is the code's. Each of its transitions occurs often enough to believe that.
func TestMovesFollowTheModel(t *testing.T) {
	const (
		tracesMin = 100 // in which each transition occurs
		worldsMax = 400
	)
	var all []movetest.Trace
	rare := func() (name string) {
		count := movetest.Count(all)
		for _, name := range movetest.Transitions {
			if count[name] < tracesMin {
				return name
			}
		}
		return ""
	}
	worlds := uint64(worldsMax)
	if testing.Short() {
		worlds = 12
	}
	for seed := uint64(0); seed < worlds && rare() != ""; seed++ {
		w := newCarryWorld(t, seed, 3, 6)
		playMoves(w)
		all = append(all, w.moves.Traces()...)
	}
	if name := rare(); name != "" && !testing.Short() {
		t.Errorf("in %d worlds there are fewer than %d traces with %q", worlds, tracesMin, name)
	}
	count := movetest.Count(all)
	t.Logf("%d traces; in how many each transition is: %v", len(all), count)
	err := movetest.Follow(modelDir, t.TempDir(), all)
	if errors.Is(err, movetest.ErrNoSpin) {
		t.Skip(err)
	}
	if err != nil {
		t.Error(err)
	}
}
