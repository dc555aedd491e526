//go:build plantedbugs

package client

import (
	"os"
	"testing"
)

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

// A client that follows nobody any more, and does not know, must be found.
func TestPlantedFollow(t *testing.T) {
	defer SetBug("")
	want, err := os.ReadFile("testdata/follow_breaks.txt")
	if err != nil {
		t.Fatal(err)
	}
	SetBug("a broken stream of the table not replaced")
	if runScript(t, string(want)) == string(want) {
		t.Error("the script does not find it")
	}
}

// Watches of clusters whose slots move must find what makes them lose, repeat or mix up
// events.
func TestPlantedWatchBugs(t *testing.T) {
	defer SetBug("")
	for _, bug := range []string{"a watch resumed past a gap", "a watch event twice", "a takeover not waited for", "a slot lost on its way", "a gap passed over", "a start of two moments"} {
		SetBug(bug)
		found := ""
		for seed := uint64(0); seed < 300 && found == ""; seed++ {
			_, found = playWatch(t, seed)
		}
		if found == "" {
			t.Errorf("%s: no watch finds it", bug)
		}
		t.Logf("%s: %.200s", bug, found)
	}
}
