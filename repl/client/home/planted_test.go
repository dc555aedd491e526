//go:build plantedbugs

package home_test

import (
	"testing"

	"muster/repl/client/home"
)

// The test of refused files must find a home that takes a key which others can read.
func TestPlantedBugs(t *testing.T) {
	defer home.SetBug("")
	home.SetBug("key that others can read")
	wrong := refusedFiles(t)
	if wrong == "" {
		t.Error("not found")
	}
	t.Log(wrong)
}
