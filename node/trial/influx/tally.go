package influx

import (
	"maps"
	"slices"
	"testing"
)

// datas is over how many data, each of its own seed, queries are spread: three of each day on which data begins, and
// each third has shared times.
const datas = 12

// differencesShown is how many differences a test prints at most.
const differencesShown = 100

// Compare puts seeded queries to InfluxDB and to another engine, as many about each of the data, whose seeds are first and those
// behind it. load has the other engine take some data, and returns it. The test fails for each difference of no known kind, and
// for a function that is in fewer than three of a hundred queries, or has rows, and equal ones, in fewer than one.
func Compare(t *testing.T, first, queries uint64, load func(seed uint64, d *Data) Answerer) {
	t.Helper()
	kinds, equal, features := map[string]int{}, map[string]int{}, map[string]int{}
	failed := 0
	for seed := first; seed < first+datas; seed++ {
		d := MakeData(seed)
		o, err := NewOracle(d, t.TempDir)
		if err != nil {
			t.Fatal(err)
		}
		other := load(seed, d)
		for number := range queries / datas {
			q := MakeQuery(d, seed, number)
			v := o.Judge(q, other)
			for _, f := range q.Features {
				features[f]++
				if v.Difference == "" && v.Kind == "" && len(v.Want.Series) > 0 {
					equal[f]++
				}
			}
			kinds[v.Kind]++
			if v.Difference == "" {
				continue
			}
			if failed++; failed <= differencesShown {
				t.Errorf("seed %d, query %d: %s\n    %s\nInfluxDB:\n%smuster:\n%s", seed, number, q.Text, v.Difference, v.Want.Show(6), v.Got.Show(6))
			}
		}
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Logf("%d of %d queries differ in no known way", failed, queries)
	for _, f := range slices.Sorted(maps.Keys(kinds)) {
		t.Logf("%6d %s", kinds[f], f)
	}
	for _, f := range slices.Sorted(maps.Keys(features)) {
		t.Logf("%6d, of which %6d have rows and are equal: %s", features[f], equal[f], f)
	}
	for _, f := range Functions {
		if uint64(features[f])*100 < 3*queries {
			t.Errorf("%s is in %d of %d queries, want three of a hundred", f, features[f], queries)
		}
		if uint64(equal[f])*100 < queries {
			t.Errorf("%s has equal rows in %d of %d queries, want one of a hundred", f, equal[f], queries)
		}
	}
}
