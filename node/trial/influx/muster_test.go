package influx

import (
	"flag"
	"maps"
	"slices"
	"testing"
)

var (
	seedFlag    = flag.Uint64("seed", 0, "of the first data")
	queriesFlag = flag.Uint64("queries", 1200, "how many queries are put to both, over all data")
)

// datas is over how many data, each of its own seed, the queries are spread: three of each day on which data begins, and
// each third has shared times.
const datas = 12

// Muster has to answer what InfluxDB answers: that is what a client that changes over expects, down to the empty window
// and the name of a column. Both are asked the same seeded queries about the same seeded points, which lie here in five
// windows of three shards, in files, frozen heads and heads. A difference must be of a kind that is known, and that
// docs/coming-from.md tells of.
func TestAnswersAreThoseOfInfluxDB(t *testing.T) {
	kinds, equal, features := map[string]int{}, map[string]int{}, map[string]int{}
	failed := 0
	for n := range uint64(datas) {
		seed := *seedFlag + n
		d := MakeData(seed)
		o, err := NewOracle(d, t.TempDir)
		if err != nil {
			t.Fatal(err)
		}
		m, err := Load(d)
		if err != nil {
			t.Fatal(err)
		}
		for number := range *queriesFlag / datas {
			q := MakeQuery(d, seed, number)
			v := o.Judge(q, m)
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
			if failed++; failed <= 100 {
				t.Errorf("seed %d, query %d: %s\n    %s\nInfluxDB:\n%smuster:\n%s", seed, number, q.Text, v.Difference, v.Want.Show(6), v.Got.Show(6))
			}
		}
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Logf("%d of %d queries differ in no known way", failed, *queriesFlag)
	for _, f := range slices.Sorted(maps.Keys(kinds)) {
		t.Logf("%6d %s", kinds[f], f)
	}
	for _, f := range slices.Sorted(maps.Keys(features)) {
		t.Logf("%6d, of which %6d have rows and are equal: %s", features[f], equal[f], f)
	}
	for _, f := range Functions {
		if uint64(equal[f])*100 < *queriesFlag {
			t.Errorf("%s has equal rows in %d of %d queries, want one of a hundred", f, equal[f], *queriesFlag)
		}
	}
}
