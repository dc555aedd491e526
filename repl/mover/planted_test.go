//go:build plantedbugs

package mover

import "testing"

// The worlds must find a mover that goes on replacing a node which is back, and one that
// notes a membership which may be lost or still changes.
func TestPlantedBugs(t *testing.T) {
	defer SetBug("")
	for _, bug := range []string{"replacement for a node that is back", "unsettled membership recorded"} {
		SetBug(bug)
		found := ""
		for seed := uint64(0); seed < 300 && found == ""; seed++ {
			found = plantedWorld(t, seed, &bug)
		}
		if found == "" {
			t.Errorf("%s: no world finds it", bug)
		}
		t.Logf("%s: %s", bug, found)
	}
}

// plantedWorld returns what is broken in one world, or nothing.
func plantedWorld(t *testing.T, seed uint64, bug *string) (found string) {
	defer func() {
		if b, ok := recover().(broken); ok {
			found = string(b)
		}
	}()
	w := newWorld(t, seed, 3+int(seed%4), 1+int(seed%9))
	w.planted = bug
	play(w)
	return ""
}
