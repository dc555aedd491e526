package sim

import (
	"testing"
	"time"
)

// Members with certificates that end within seconds of a run, while roots follow each other, leaders
// change and hosts come with tokens, elect and serve as others do; nobody gets a certificate who should
// not. One would doubt it: whom a node believes, what its log says and what others know of it come and
// go at different moments.
func TestCertificates(t *testing.T) {
	count := 24
	if testing.Short() {
		count = 6
	}
	sum := runSeeds(t, 5000, count, Options{With: []Fault{Secure}, Length: time.Minute})
	t.Log(sum)
	if sum.fired[Secure] == 0 && !t.Failed() {
		t.Error("no certificate was made")
	}
}

// A run with certificates is the same each time, too.
func TestSameCertificates(t *testing.T) {
	o := Options{Seed: 5100, With: []Fault{Secure, Nodes}, Length: 30 * time.Second}
	a, b := Run(o), Run(o)
	if a.Hash != b.Hash || a.Steps != b.Steps {
		t.Errorf("%d steps with hash %016x, then %d with %016x", a.Steps, a.Hash, b.Steps, b.Hash)
	}
}
