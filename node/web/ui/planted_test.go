//go:build plantedbugs

package ui

import "testing"

// What is forbidden to the page must be found in a page that does it.
func TestPlantedBugs(t *testing.T) {
	defer SetBug("")
	SetBug(BugMarkup)
	wrong := beyondThePolicy()
	if len(wrong) == 0 {
		t.Error("not found")
	}
	t.Log(wrong)
}
