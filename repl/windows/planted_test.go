//go:build plantedbugs

package windows

import "testing"

// The world must find retention that goes by one clock.
func TestWorldFindsPlantedBug(t *testing.T) {
	defer SetBug("")
	SetBug(bugOneClock)
	hidden, gone := 0, 0
	for seed := range uint64(60) {
		if err := worldWrong(seed, &hidden, &gone); err != nil {
			t.Logf("seed %d: %v", seed, err)
			return
		}
	}
	t.Errorf("%s: not found", bugOneClock)
}
