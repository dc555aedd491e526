//go:build plantedbugs

package shard

import (
	"math"
	"testing"

	"muster/shardmap/points"
)

// at writes values of one column, each another one.
func (w *world) at(mode Mode, values ...int64) {
	var all []value
	for _, t := range values {
		all = append(all, value{"m,a=1", "u", t, points.FloatValue(float64(10*t) + float64(mode) + float64(len(w.model.values)))})
	}
	w.write(all, mode)
}

// stories are short histories, each of which one bug makes wrong. Without a bug all of them are right.
var stories = []struct {
	bug string
	run func(w *world)
}{
	{bugLate, func(w *world) {
		w.at(Write, 2, 4, 6)
		w.freeze()
		w.seal(0)
		w.at(Write, 3)
		w.freeze()
		w.seal(1)
	}},
	{bugLateLost, func(w *world) {
		w.at(Write, 2, 4)
		w.at(Write, 3)
	}},
	{bugTurns, func(w *world) {
		for i, times := range [][]int64{{2, 4}, {3}, {5}} {
			var all []value
			for _, t := range times {
				all = append(all, value{"m,a=1", "u", t, points.FloatValue(float64(t))}, value{"m,a=2", "u", t + 10*int64(i%2), points.FloatValue(float64(t))})
			}
			w.write(all, Write)
		}
	}},
	{bugFill, func(w *world) {
		w.at(Write, 2, 4)
		w.at(Fill, 4, 5)
	}},
	{bugFill, func(w *world) {
		w.at(Write, 2, 4)
		w.freeze()
		w.seal(0)
		w.at(Fill, 4, 5)
	}},
	{bugTombstone, func(w *world) {
		w.at(Write, 1, 2)
		w.delete(Tombstone{Measurement: []byte("m"), First: 0, Last: 5})
		w.at(Write, 2, 3)
	}},
	{bugDeleteSnapshot, func(w *world) {
		w.at(Write, 1, 2)
		w.freeze()
		w.seal(0)
		w.delete(Tombstone{Measurement: []byte("m"), First: 2, Last: 5})
		w.b.reload(w)
	}},
	{bugBehind, func(w *world) {
		w.at(Write, 1, 2)
		w.delete(Tombstone{Measurement: []byte("m"), First: 2, Last: 5})
		w.freeze()
		w.seal(0) // the delete hides nothing any more
	}},
	{bugCut, func(w *world) {
		// One replica applied what the other one began with.
		w.at(Write, 1, 5)
		w.freeze()
		w.seal(0)
		w.at(Write, 2, 3, 6, 7)
		w.freeze()
		frozen := w.a.shard.Frozen()[0]
		merged, _ := w.a.sealed(w, w.a.shard.View(), frozen, 1, 100)
		whole := newReplica()
		for _, v := range []int64{1, 5, 2, 3, 6, 7} {
			whole.apply(w, share(w, []value{{"m,a=1", "u", v, w.model.values[place{"m,a=1", "u", v}]}}), Write)
		}
		generation := whole.shard.Freeze()
		one, _ := whole.sealed(w, whole.shard.View(), generation, 0, 100)
		if one.Sum != merged.Sum {
			w.fail("equal points make other files")
		}
	}},
}

// Each bug must be found by what the model shows, or by files that differ.
func TestPlantedBugs(t *testing.T) {
	defer SetBug("")
	for i, s := range stories {
		for _, b := range []string{"", s.bug} {
			SetBug(b)
			w := newWorld(3)
			s.run(w)
			w.check(math.MinInt64, math.MaxInt64)
			if found := w.wrong != ""; found != (b != "") {
				t.Errorf("story %d with bug %q: %q", i, b, w.wrong)
			}
		}
	}
}

// Each bug of what is counted must be found by replicas that refuse other points than they should.
func TestPlantedLimits(t *testing.T) {
	defer SetBug("")
	for _, b := range []string{bugRecount, bugCensusSnapshot} {
		SetBug(b)
		found := false
		for seed := uint64(0); seed < 20 && !found; seed++ {
			c := newCounting(seed)
			for range 60 {
				if c.step(); c.wrong == "" {
					c.check()
				}
			}
			found = c.wrong != ""
		}
		if !found {
			t.Errorf("bug %q is not found", b)
		}
	}
}
