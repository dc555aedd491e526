//go:build plantedbugs

package access

import "testing"

// The tests must find rights by which whoever may list something lists all.
func TestPlantedBugs(t *testing.T) {
	defer SetBug("")
	SetBug(bugUncovered)
	wrong := listsBeyond()
	if wrong == "" {
		t.Errorf("%s: not found", bugUncovered)
	}
	t.Logf("%s: %s", bugUncovered, wrong)
}
