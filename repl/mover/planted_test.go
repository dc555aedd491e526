//go:build plantedbugs

package mover

import (
	"errors"
	"testing"

	"muster/shardmap"
	"muster/shardmap/movetest"
)

// The worlds must find a mover that goes on replacing a node which is back, and one that
// notes a membership which may be lost or still changes.
func TestPlantedBugs(t *testing.T) {
	defer SetBug("")
	for _, bug := range []string{"replacement for a node that is back", "unsettled membership recorded"} {
		SetBug(bug)
		found := ""
		for seed := uint64(0); seed < 300 && found == ""; seed++ {
			found = plantedWorld(t, seed)
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
func plantedWorld(t *testing.T, seed uint64) (found string) {
	defer func() {
		if b, ok := recover().(broken); ok {
			found = string(b)
		}
	}()
	w := newWorld(t, seed, 3+int(seed%4), 1+int(seed%9))
	w.planted = true
	play(w)
	return ""
}

// The model refuses what carriers and groups do that have a bug: it is no mere echo of the
// code, and the traces don't lose what it guards.
func TestPlantedMovesAreRefused(t *testing.T) {
	const worldsMax = 60
	for _, o := range []struct {
		bug string
		set func(string)
	}{
		{"two deciders after a seal", SetBug},
		{"source deletes before the target has committed", SetBug},
		{"target serves before it is complete", shardmap.SetBug},
		{"move number not fenced", shardmap.SetBug},
	} {
		o.set(o.bug)
		defer o.set("")
		why := error(nil)
		for seed := uint64(0); seed < worldsMax && why == nil; seed++ {
			why = movetest.Follow(modelDir, t.TempDir(), plantedTraces(t, seed))
		}
		o.set("")
		if errors.Is(why, movetest.ErrNoSpin) {
			t.Skip(why)
		}
		if why == nil {
			t.Errorf("%s: the model takes it", o.bug)
		}
		t.Logf("%s: %.300v", o.bug, why)
	}
}

// plantedTraces returns the traces of a world up to where it is found broken.
func plantedTraces(t *testing.T, seed uint64) (all []movetest.Trace) {
	w := newCarryWorld(t, seed, 3, 6)
	w.planted = true
	defer func() {
		_, _ = recover().(broken)
		all = w.moves.Traces()
	}()
	playMoves(w)
	return nil
}
