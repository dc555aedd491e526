//go:build plantedbugs

package rights

import "testing"

// The tests must find a node that takes no notice of how old its table is, and a request that counts as the
// member's who passes it on.
func TestPlantedBugs(t *testing.T) {
	defer SetBug("")
	for name, find := range map[string]func() string{bugHeardIsEnough: contactWrong, bugNeverCutOff: contactWrong, bugSlept: contactWrong, bugForwardBlind: forwardedWrong, bugMembersMay: errandsWrong} {
		SetBug(name)
		wrong := find()
		if wrong == "" {
			t.Errorf("%s: not found", name)
		}
		t.Logf("%s: %s", name, wrong)
	}
}
