//go:build plantedbugs

package node

import "testing"

// The random foundings must find what they are for: a host that gives its word
// again after it has decided, so that those who were wiped found beside it.
func TestPlantedBugs(t *testing.T) {
	defer setBug("")
	setBug(bugSecondFounding)
	for seed := range uint64(2000) {
		if wrong := foundingRun(seed); wrong != "" {
			t.Logf("%s: seed %d: %s", bugSecondFounding, seed, wrong)
			return
		}
	}
	t.Errorf("%s: no founding finds it", bugSecondFounding)
}

// The test of liars must find a node that counts what comes in a member's name.
func TestPlantedUnattested(t *testing.T) {
	defer setBug("")
	setBug(bugUnattested)
	wrong := liarRun(t)
	if wrong == "" {
		t.Errorf("%s: not found", bugUnattested)
	}
	t.Logf("%s: %s", bugUnattested, wrong)
}
