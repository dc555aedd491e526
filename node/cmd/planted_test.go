//go:build plantedbugs

package cmd

import (
	"testing"

	"muster/shardmap/access"
)

// mustFind fails unless a test finds a planted bug: find returns what is wrong, or "".
func mustFind(t *testing.T, bug string, find func(*testing.T) string) {
	t.Helper()
	setBug(bug)
	defer setBug("")
	wrong := find(t)
	if wrong == "" {
		t.Errorf("%s: not found", bug)
	}
	t.Logf("%s: %.200s", bug, wrong)
}

// The tests must find a command that prints what steers a terminal.
func TestPlantedBugs(t *testing.T) {
	mustFind(t, bugSteers, func(t *testing.T) string { return steered(t, evilNode(t)) })
	mustFind(t, bugSteers, topSteered)
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

// The test of service files must find a command that takes passwords out of a file that others can read.
func TestPlantedOpenServiceFile(t *testing.T) { mustFind(t, bugOpenServiceFile, serviceFiles) }

// The tests must find tokens that outlive what their user had.
func TestPlantedTokensStay(t *testing.T) {
	mustFind(t, bugTokensStay, withdrawn)
}

// The test of mistyped secrets must find a command that repeats what it was given.
func TestPlantedEcho(t *testing.T) {
	mustFind(t, bugEchoes, echoed)
}

// The tests of requests over HTTP must find arguments that are read as options.
func TestPlantedAnyOption(t *testing.T) {
	a := api(t)
	mustFind(t, bugAnyOption, func(t *testing.T) string { return optionsInjected(t, a) })
}

// The tests of requests over HTTP must find fields that are passed over.
func TestPlantedUnknownField(t *testing.T) {
	a := api(t)
	mustFind(t, bugUnknownField, func(t *testing.T) string { return unknownTaken(t, a) })
}

// The tests of requests over HTTP must find addresses that are dialled for anybody.
func TestPlantedDialsAnybody(t *testing.T) {
	a := api(t)
	mustFind(t, bugDialsAnybody, func(t *testing.T) string { return dialledForRequest(t, a) })
}

// The tests of plans must find a token that counts for another plan.
func TestPlantedStalePlan(t *testing.T) { mustFind(t, bugStalePlan, staleTaken) }
