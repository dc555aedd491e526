//go:build plantedbugs

package cmd

import (
	"testing"

	"muster/shardmap/access"
)

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

// The tests must find commands that take a path for a name.
func TestPlantedNames(t *testing.T) {
	defer access.SetBug("")
	access.SetBug("any name taken")
	wrong := hostileNamed(t)
	if wrong == "" {
		t.Error("not found")
	}
	t.Logf("%.200s", wrong)
}

// The tests must find tokens that outlive what their user had.
func TestPlantedTokensStay(t *testing.T) {
	defer setBug("")
	setBug(bugTokensStay)
	wrong := withdrawn(t)
	if wrong == "" {
		t.Errorf("%s: not found", bugTokensStay)
	}
	t.Logf("%s: %.200s", bugTokensStay, wrong)
}

// The test of mistyped secrets must find a command that repeats what it was given.
func TestPlantedEcho(t *testing.T) {
	defer setBug("")
	setBug(bugEchoes)
	wrong := echoed(t)
	if wrong == "" {
		t.Errorf("%s: not found", bugEchoes)
	}
	t.Logf("%s: %.200s", bugEchoes, wrong)
}
