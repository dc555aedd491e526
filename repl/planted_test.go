//go:build plantedbugs

package repl

import "testing"

// The small worlds must find a node that believes what a hello says of where its
// sender is.
func TestPlantedBugs(t *testing.T) {
	defer SetBug("")
	const bug = "address of a hello used"
	SetBug(bug)
	for seed := range uint64(1000) {
		if wrong := worldRun(seed); wrong != "" {
			t.Logf("%s: seed %d: %s", bug, seed, wrong)
			return
		}
	}
	t.Errorf("%s: no world finds it", bug)
}
