//go:build plantedbugs

package backup

import "testing"

// A body that nobody checks must be found, though the manifest has a checksum of all bodies.
func TestPlantedUncheckedBody(t *testing.T) {
	SetBug(bugBodyUnchecked)
	defer SetBug("")
	if wrong := damageWrong(newSample(t), func(int) []byte { return []byte{1} }); wrong == "" {
		t.Error("not found")
	}
}
