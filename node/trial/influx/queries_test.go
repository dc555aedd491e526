package influx

import (
	"maps"
	"slices"
	"testing"

	"github.com/influxdata/influxql"
)

// Ten thousand queries must have each function often enough to mean something, each clause beside each function, and be
// InfluxQL: what its parser refuses compares two parsers, and no engine.
func TestQueriesCoverTheLanguage(t *testing.T) {
	d := MakeData(1)
	n := map[string]int{}
	for number := range uint64(10_000) {
		q := MakeQuery(d, 1, number)
		for _, f := range q.Features {
			n[f]++
		}
		for _, text := range []string{q.Text, q.Plain} {
			if _, err := influxql.ParseStatement(text); err != nil {
				t.Fatalf("query %d: %s: %v", number, text, err)
			}
		}
		if number%1000 == 0 {
			if again := MakeQuery(MakeData(1), 1, number); again.Text != q.Text {
				t.Errorf("query %d: %s, then %s", number, q.Text, again.Text)
			}
		}
	}
	for _, f := range slices.Sorted(maps.Keys(n)) {
		t.Logf("%5d %s", n[f], f)
	}
	for _, f := range Functions {
		if n[f] < 300 {
			t.Errorf("%s is in %d of 10,000 queries, want 300", f, n[f])
		}
	}
	for _, f := range []string{
		"by time", "by time with an offset", "by tags", "fill null", "fill none", "fill previous", "fill linear", "fill a number", "descending", "limit", "offset", "slimit",
		"zone", "time between", "time from", "time until", "time at", "tag compared", "tag matched", "number compared", "string compared", "boolean compared", "arithmetic compared",
		"conditions joined", "wildcards", "arithmetic", "selector with columns", "stage 2 of an aggregate", "measurements", "kinds that change", "raw fields",
	} {
		if n[f] < 100 {
			t.Errorf("%s: in %d of 10,000 queries, want 100", f, n[f])
		}
	}
}
