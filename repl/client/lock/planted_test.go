//go:build plantedbugs

package lock

import "testing"

// The worlds of TestLockWorlds must find a holder that believes for too long, and a token that goes back.
func TestPlantedLock(t *testing.T) {
	defer SetBug("")
	for _, bug := range []string{bugAnswered, bugNoMargin, bugTokenOfLease, bugOneToken} {
		SetBug(bug)
		found := ""
		for seed := range uint64(40) {
			if found = play(t, seed); found != "" {
				break
			}
		}
		if found == "" {
			t.Errorf("%s: not found", bug)
		}
		t.Logf("%s: %s", bug, found)
	}
}
