package sim

import "testing"

// Time series are written, asked for, deleted and dropped under every fault, and all replicas have of them what the logs say. One
// would doubt it: windows come and go by the clocks of hosts, while writes that go to them are under way, and hints come late.
func TestSeries(t *testing.T) {
	count := 8
	if testing.Short() {
		count = 2
	}
	if *seedsFlag > 0 {
		count = *seedsFlag
	}
	runEach(t, 7000+*fromFlag, count, Options{With: []Fault{Points}}, func(r *Result) {
		t.Logf("seed %d: %+v", r.Seed, r.Series)
	})
}
