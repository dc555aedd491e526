//go:build plantedbugs

package client

import "testing"

// Listings of clusters whose slots move must find a listing that leaves out what had moved,
// and one that begins anew with it.
func TestPlantedBugs(t *testing.T) {
	defer SetBug("")
	for _, bug := range []string{"moved slots left out of a listing", "moved slots listed anew", "a stream resumed past a gap", "a piece delivered twice"} {
		SetBug(bug)
		found := ""
		for seed := uint64(0); seed < 300 && found == ""; seed++ {
			_, found = play(t, seed)
		}
		if found == "" {
			t.Errorf("%s: no listing finds it", bug)
		}
	}
}
