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

// Both the states that can be reached and the worlds of carriers must find one that lets a
// second log decide: the wish to cancel, or the source's own view of what it has sent.
func TestPlantedCarryBugs(t *testing.T) {
	defer SetBug("")
	for _, bug := range []string{"two deciders after a seal", "source deletes before the target has committed"} {
		SetBug(bug)
		found := ""
		for seed := uint64(0); seed < 300 && found == ""; seed++ {
			found = plantedMoves(t, seed)
		}
		if found == "" {
			t.Errorf("%s: no world finds it", bug)
		}
		t.Logf("%s: %s", bug, found)
		if why, _ := reach(); why == "" {
			t.Errorf("%s: no state that can be reached shows it", bug)
		}
	}
}

// plantedMoves returns what is broken in one world of carriers, or nothing.
func plantedMoves(t *testing.T, seed uint64) (found string) {
	defer func() {
		if b, ok := recover().(broken); ok {
			found = string(b)
		}
	}()
	w := newCarryWorld(t, seed, 3, 6)
	w.planted = true
	playMoves(w)
	return ""
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
