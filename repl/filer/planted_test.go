//go:build plantedbugs

package filer

import "testing"

// The test of files that snapshots list must find one that goes.
func TestPlantedListedRemoved(t *testing.T) {
	SetBug(bugListedRemoved)
	defer SetBug("")
	wrong := listedRemoved(t)
	if wrong == "" {
		t.Errorf("%s: not found", bugListedRemoved)
	}
	t.Log(wrong)
}
