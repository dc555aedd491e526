//go:build plantedbugs

package standing

import "testing"

// Each bug shows in the table that is there for it, and nothing shows without it.
func TestPlantedBugs(t *testing.T) {
	defer SetBug("")
	for bug, find := range map[string]func() string{
		bugRemovedLetIn: cameWrong,
		bugHalfExpired:  cameWrong,
		bugOutlived:     dialledWrong,
		bugFormerMember: revokedWrong,
	} {
		for _, planted := range []string{"", bug} {
			SetBug(planted)
			if wrong := find(); (wrong != "") != (planted != "") {
				t.Errorf("%s: with %q planted, the tables find %q", bug, planted, wrong)
			}
		}
	}
}
