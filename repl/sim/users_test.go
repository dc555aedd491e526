package sim

import (
	"testing"
	"time"
)

// A person changes who may do what while leaders change, links break and processes end: no node lets through
// what its user may not do, or what he could do too long ago. One would doubt it: rules reach each node at
// another moment, and requests go from node to node.
func TestUsers(t *testing.T) {
	count := 24
	if testing.Short() {
		count = 6
	}
	sum := runSeeds(t, 6000, count, Options{With: []Fault{Secure, Users}, Watched: true, Length: time.Minute})
	t.Log(sum)
	for _, f := range []Fault{Users, CutOff, RightEnds, Reversals} {
		if sum.fired[f] == 0 && !t.Failed() {
			t.Errorf("no %s", f)
		}
	}
	if sum.forwarded == 0 && !t.Failed() {
		t.Error("no request was passed on and answered")
	}
}

// A run with users is the same each time, too.
func TestSameUsers(t *testing.T) {
	o := Options{Seed: 6100, With: []Fault{Secure, Users}, Watched: true, Length: 30 * time.Second}
	a, b := Run(o), Run(o)
	if a.Hash != b.Hash || a.Steps != b.Steps {
		t.Errorf("%d steps with hash %016x, then %d with %016x", a.Steps, a.Hash, b.Steps, b.Hash)
	}
}
