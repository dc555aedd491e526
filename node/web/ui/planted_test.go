//go:build plantedbugs

package ui

import "testing"

// A page that does what the policy forbids must be found.
func TestPlantedBugs(t *testing.T) {
	defer SetBug("")
	SetBug(BugMarkup)
	wrong := beyondThePolicy()
	if len(wrong) == 0 {
		t.Error("not found")
	}
	t.Log(wrong)
}
