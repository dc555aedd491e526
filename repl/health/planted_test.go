//go:build plantedbugs

package health

import "testing"

// The worlds must find an assigner that counts findings of assignments which are not in
// force, or come too late, one that takes heartbeats for missing which its predecessor has taken,
// and a checker that tells what it found while it was cut off.
func TestPlantedBugs(t *testing.T) {
	defer SetBug("")
	for _, bug := range []string{bugVoidCounts, bugNoGrace, bugCutOff, bugLateAnswer} {
		SetBug(bug)
		found := ""
		for seed := uint64(0); seed < 300 && found == ""; seed++ {
			if found = plantedWorld(t, seed, play); found == "" {
				found = plantedWorld(t, seed, cuts)
			}
		}
		if found == "" {
			t.Errorf("%s: no world finds it", bug)
		}
		t.Logf("%s: %s", bug, found)
	}
}

// plantedWorld returns what is broken in one world, or nothing.
func plantedWorld(t *testing.T, seed uint64, story func(*world)) (found string) {
	defer func() {
		if x := recover(); x != nil {
			b, ok := x.(broken)
			if !ok {
				panic(x)
			}
			found = string(b)
		}
	}()
	w := newWorld(t, seed, 3+int(seed%3), 1+int(seed%4))
	w.planted = true
	story(w)
	return ""
}
