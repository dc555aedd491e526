//go:build plantedbugs

package login

import "testing"

// Each attack on logins must succeed without the defence that it is made on.
func TestPlantedBugs(t *testing.T) {
	defer SetBug("")
	for bug, attack := range map[string]func() string{
		bugAnybodyHoldsUp: failsForOthers,
		bugFirstCome:      floodedLogins,
		bugEachWhole:      failuresShared,
		bugRoundsTell:     roundsTell,
	} {
		for _, planted := range []string{"", bug} {
			SetBug(planted)
			if wrong := attack(); (wrong != "") != (planted != "") {
				t.Errorf("%s: with %q planted, the attack finds %q", bug, planted, wrong)
			}
		}
	}
}
