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

// The test must find a home in which one root that can't be read blocks all others.
func TestPlantedOneForAll(t *testing.T) {
	defer home.SetBug("")
	home.SetBug("broken root blocks all clusters")
	if brokenRoot(t) == "" {
		t.Error("not found")
	}
}

// The test must find a sweep that takes what a process still needs.
func TestPlantedSweep(t *testing.T) {
	defer home.SetBug("")
	home.SetBug("folder of a cluster that runs swept")
	if sweeps(t) == "" {
		t.Error("not found")
	}
}
