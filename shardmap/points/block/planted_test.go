//go:build plantedbugs

package block

import "testing"

// A column that nobody checks must be found, though a decoder refuses many changes by itself.
func TestPlantedUncheckedPart(t *testing.T) {
	SetBug(bugPartUnchecked)
	defer SetBug("")
	if wrong := damageWrong(t, sample(), []byte{1}); wrong == "" {
		t.Error("not found")
	}
}

// Times that are only much like those of another field must not be shared.
func TestPlantedSharedTimes(t *testing.T) {
	SetBug(bugTimesShared)
	defer SetBug("")
	if wrong := roundTrips(t); wrong == "" {
		t.Error("not found")
	}
}
