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
		findsBug(t, bug, func(seed uint64) (broken string) { _, broken = play(t, seed); return broken })
	}
}

// findsBug has one of some worlds find a planted bug.
func findsBug(t *testing.T, bug string, play func(seed uint64) (broken string)) {
	t.Helper()
	const worlds = 300
	SetBug(bug)
	for seed := range uint64(worlds) {
		if found := play(seed); found != "" {
			t.Logf("%s: %.200s", bug, found)
			return
		}
	}
	t.Errorf("%s: none of %d worlds finds it", bug, worlds)
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
		findsBug(t, bug, func(seed uint64) (broken string) { _, broken = playWatch(t, seed); return broken })
	}
}

// A write that is sent again as another user must be found.
func TestPlantedOtherUser(t *testing.T) {
	defer SetBug("")
	SetBug("write tried again as another user")
	if retriedAsAnother(t) == "" {
		t.Error("not found")
	}
}
