//go:build plantedbugs

package feed

import "testing"

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

// The tests must find an overview of earlier that passes for one of now.
func TestPlantedStale(t *testing.T) { mustFind(t, bugStale, oldOverview) }

// The tests must find what one user may see and another one gets.
func TestPlantedShared(t *testing.T) { mustFind(t, bugShared, usersApart) }

// The tests must find a node that hangs and is not named.
func TestPlantedUnnamed(t *testing.T) { mustFind(t, bugUnnamed, hungNode) }
