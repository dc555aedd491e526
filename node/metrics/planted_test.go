//go:build plantedbugs

package metrics

import "testing"

// Each attack on those who are watched must succeed without the defence that it is made on.
func TestPlantedBugs(t *testing.T) {
	defer SetBug("")
	for bug, attack := range map[string]func() string{
		bugManyScrapes:  scrapesBeside,
		bugEachAsks:     manyAskReady,
		bugManyProfiles: profilesBeside,
		bugLongProfile:  longProfile,
	} {
		for _, planted := range []string{"", bug} {
			SetBug(planted)
			if wrong := attack(); (wrong != "") != (planted != "") {
				t.Errorf("%s: with %q planted, the attack finds %q", bug, planted, wrong)
			}
		}
	}
}
