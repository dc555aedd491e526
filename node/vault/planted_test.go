//go:build plantedbugs

package vault

import "testing"

// The tests must find a vault that writes a key in its place, one that forgets its name in a crash,
// and one that takes a key which others can read.
func TestPlantedBugs(t *testing.T) {
	defer SetBug("")
	for bug, find := range map[string]func(*testing.T) string{
		"key written in place": crashes, "key's name not synced": crashes, "key that others can read": readable,
	} {
		SetBug(bug)
		if why := find(t); why == "" {
			t.Errorf("%s: no test finds it", bug)
		} else {
			t.Logf("%s: %s", bug, why)
		}
	}
}
