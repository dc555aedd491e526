//go:build plantedbugs

package reset

import "testing"

// The tests must find a node that takes a request from anybody who can write to its directory.
func TestPlantedBugs(t *testing.T) {
	defer SetBug("")
	SetBug(bugForeign)
	wrong := taken(t)
	if wrong == "" {
		t.Errorf("%s: not found", bugForeign)
	}
	t.Logf("%s: %s", bugForeign, wrong)
}
