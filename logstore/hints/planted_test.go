//go:build plantedbugs

package hints

import "testing"

// Each bug must be found by the test that is there for it.
func TestPlantedBugs(t *testing.T) {
	defer SetBug("")
	power := func() string {
		wrong, _ := crashes(t)
		return wrong
	}
	for bug, find := range map[string]func() string{
		bugUnsynced: power, bugOrder: power, bugTorn: power, bugSeed: func() string { return embedded(t) },
		bugSpoilt: func() string { return spoilt(t) },
	} {
		SetBug("")
		if wrong := find(); wrong != "" {
			t.Errorf("without %q: %s", bug, wrong)
		}
		SetBug(bug)
		wrong := find()
		if wrong == "" {
			t.Errorf("%q is not found", bug)
		}
		t.Logf("%s: %s", bug, wrong)
	}
}
