//go:build plantedbugs

package repl

import "testing"

// The small worlds must find a node that believes what a hello says of where its
// sender is; a disk that is put back, a replica that is made anew and promises what it
// likes; a group that was removed and comes back; a command that waits for a slot, and is
// never answered; reads that are older than they may be; replicas that serve a wrong state,
// begin again with one, or give it to others; and one whose state takes effect before the block files that it names are here.
func TestPlantedBugs(t *testing.T) {
	defer SetBug("")
	for _, b := range []struct {
		name string
		find func() string
	}{
		{"address of a hello used", func() (wrong string) {
			for seed := uint64(0); seed < 1000 && wrong == ""; seed++ {
				wrong = worldRun(seed)
			}
			return wrong
		}},
		{"buried replicas not told of", func() string { return revivesGroup(t) }},
		{"replica made later not held", func() string { return forgetsReplica(t) }},
		{"deferred command forgotten", func() string { return deferredForgotten(t) }},
		{"staleness by the answer's time", func() string { return staleByAnswer(t) }},
		{"follower read answered while its leader is cut off", func() (wrong string) {
			for seed := uint64(0); seed < 1000 && wrong == ""; seed++ {
				_, wrong = readRun(t, seed)
			}
			return wrong
		}},
		{"fenced replica serves", func() string { return fencedAnswers(t, 0) }},
		{"fence not durable", func() string { return fenceForgotten(t) }},
		{"rebuilt from a replica that differs", func() string { return takesFromAnybody(t) }},
		{"audit at another index", func() (wrong string) {
			for seed := uint64(0); seed < 20 && wrong == ""; seed++ {
				wrong = fencesTheRight(t, seed)
			}
			return wrong
		}},
		{bugWornKept, func() string { return sentWorn(t) }},
		{"bearer taken for right", func() (wrong string) {
			for seed := uint64(0); seed < 8 && wrong == ""; seed++ {
				wrong = trustsLoneLog(t, seed)
			}
			return wrong
		}},
		{bugUnsettled, func() string { return snapshotNamesFiles(t) }},
		{bugWithoutFiles, func() string { return installsWithoutFiles(t, nil) }},
		{"rebuild forgets entries", func() string { return rebuiltWrongly(t) }},
		{"snapshot of a wrong state leaves", func() (wrong string) {
			for seed := uint64(0); seed < 8 && wrong == ""; seed++ {
				wrong, _ = wrongSnapshotLeaves(t, seed)
			}
			return wrong
		}},
	} {
		SetBug(b.name)
		if wrong := b.find(); wrong != "" {
			t.Logf("%s: %s", b.name, wrong)
		} else {
			t.Errorf("%s: nothing finds it", b.name)
		}
	}
}
