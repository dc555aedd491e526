//go:build plantedbugs

package cmd

import "testing"

// The tests must find a command that prints what steers a terminal.
func TestPlantedBugs(t *testing.T) {
	defer setBug("")
	setBug(bugSteers)
	wrong := steered(t, evilNode(t))
	if wrong == "" {
		t.Errorf("%s: not found", bugSteers)
	}
	t.Logf("%s: %.200s", bugSteers, wrong)
}
