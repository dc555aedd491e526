//go:build plantedbugs

package trail

import "testing"

// The tests must find a trail whose lines don't follow from each other, and one that lists
// whatever a stranger does.
func TestPlantedBugs(t *testing.T) {
	defer SetBug("")
	for name, find := range map[string]func() string{
		bugNotChained:  func() string { return tamper(t, tamperings()["a line removed, and those behind it numbered anew"]) },
		bugFloodListed: floodRun,
	} {
		SetBug(name)
		wrong := find()
		if wrong == "" {
			t.Errorf("%s: not found", name)
		}
		t.Logf("%s: %s", name, wrong)
	}
}
