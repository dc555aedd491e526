//go:build plantedbugs

package hinting

import "testing"

// The worlds must find each of these.
func TestPlantedBugs(t *testing.T) {
	defer SetBug("")
	for _, name := range []string{bugUnsynced, bugTwice, bugBlocks, bugEarly, bugReplaces, bugUndoes, bugNoLetter} {
		SetBug(name)
		found := false
		for seed := uint64(0); seed < 3*worldRuns && !found; seed++ {
			if err := worldWrong(seed); err != "" {
				t.Logf("%s: %s", name, err)
				found = true
			}
		}
		if !found {
			t.Errorf("%s: not found", name)
		}
	}
}

// worldWrong is what a world says is wrong, be it that the core finds that itself.
func worldWrong(seed uint64) (wrong string) {
	defer func() {
		if r := recover(); r != nil {
			wrong = r.(string)
		}
	}()
	if err := randomWorld(seed, map[string]int{}); err != nil {
		return err.Error()
	}
	return ""
}
