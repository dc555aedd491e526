package pointstest_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"muster/shardmap/points/pointstest"
)

// Figures can be repeated only if a seed makes the same series each time, wherever a reader begins; and a writer of
// block files wants them in order.
func TestSeriesAreThoseOfTheSeed(t *testing.T) {
	set := pointstest.Standard()
	set.Hosts, set.Measurements, set.Points, set.Jitter, set.Step = 11, 3, 50, time.Second, time.Millisecond
	first, again := slices.Collect(set.Series()), slices.Collect(set.Series())
	if len(first) != 33 || !reflect.DeepEqual(first, again) {
		t.Fatalf("%d series, want 33, the same ones twice", len(first))
	}
	if !slices.IsSortedFunc(first, func(a, b *pointstest.Series) int { return strings.Compare(a.Key, b.Key) }) {
		t.Error("the series are not in the order of their keys")
	}
	values := 0
	for _, s := range first {
		if !slices.IsSorted(s.Times) || len(slices.Compact(slices.Clone(s.Times))) != 50 {
			t.Errorf("%s: the times %v do not ascend", s.Key, s.Times)
		}
		for _, f := range s.Fields {
			values += f.Values.Len()
		}
	}
	if values != set.Values() {
		t.Errorf("%d values, want %d", values, set.Values())
	}
	set.Seed++
	for s := range set.Series() {
		if reflect.DeepEqual(s, first[0]) {
			t.Error("another seed makes the same series")
		}
		break
	}
}
