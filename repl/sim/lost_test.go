package sim

import (
	"os"
	"testing"
	"time"

	"muster/repl/rescue"
)

// lostSeeds is how many runs end with the loss of a majority, and lostLength how long
// each is under faults before that.
const (
	lostSeeds  = 60
	lostLength = 90 * time.Second
)

// A majority is lost for good under any faults, and what muster recover makes of the
// survivors has all that it says. One would doubt it: what crashes, rot and copies of
// earlier moments leave on a few disks is no log that anybody has thought of.
func TestMajorityLost(t *testing.T) {
	o := Options{Length: lostLength, Lose: true}
	if *seedFlag >= 0 {
		o.Seed, o.Log = uint64(*seedFlag), os.Stdout
		if r := Run(o); r.Failure != nil {
			t.Fatal(r.Failure)
		}
		return
	}
	count := lostSeeds
	if *seedsFlag > 0 {
		count = *seedsFlag
	}
	became, hopeless, damaged, cuts, compared := map[string]int{}, 0, 0, 0, 0
	for seed := range count {
		o.Seed = uint64(*fromFlag + seed)
		r := Run(o)
		if r.Failure != nil {
			t.Fatalf("%v\nreplay: go test ./repl/sim -run MajorityLost -seed %d", r.Failure, o.Seed)
		}
		for action, n := range r.Loss.Recovered {
			became[action] += n
		}
		hopeless += r.Loss.Hopeless
		damaged += r.Loss.Damaged
		cuts += r.Loss.Cuts
		compared += r.Loss.Compared
	}
	t.Logf("groups: %v; %d runs left nothing; a damaged log was taken %d times; the power went %d times; %d keys compared", became, hopeless, damaged, cuts, compared)
	for _, action := range []string{rescue.Keep, rescue.Renew, rescue.Refound} {
		if became[action] == 0 {
			t.Errorf("no group was to be: %s", action)
		}
	}
	if damaged == 0 && count >= 10*lostSeeds {
		t.Error("no damaged log was taken")
	}
	if cuts == 0 || compared == 0 {
		t.Errorf("the power went %d times, %d keys were compared", cuts, compared)
	}
}
