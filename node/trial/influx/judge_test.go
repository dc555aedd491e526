package influx

import (
	"errors"
	"slices"
	"testing"
	"time"

	"muster/shardmap/points"
	"muster/shardmap/points/rows"
)

// Muster spreads the points of a window over shards, and InfluxDB does not. Its answer can be demanded of muster only if
// it does not follow from the shards that points are in. It does where limits are given, and where series of a group share times;
// the judge has kinds for both.
func TestInfluxDBHasOneAnswer(t *testing.T) {
	for _, seed := range []uint64{1, 2, 4} {
		d := MakeData(seed)
		o, err := NewOracle(d, t.TempDir)
		if err != nil {
			t.Fatal(err)
		}
		for number := range uint64(150) {
			q := MakeQuery(d, seed, number)
			want := o.answer(o.Windows, q.Plain)
			others := []*Engine{o.Windows, o.Spread}
			// One shard refuses a field that changes its kind, and knows kinds of fields in all times.
			if !q.Has("kinds that change") && want.Err == nil && len(want.Series) > 0 {
				others = append(others, o.Whole)
			}
			for i, e := range others {
				got := o.answer(e, q.Plain)
				if d := Difference(q, want, got); d != "" {
					t.Errorf("seed %d, query %d, layout %d: %s\n    %s\nwant\n%sgot\n%s", seed, number, i, q.Plain, d, want.Show(6), got.Show(6))
				}
			}
		}
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A comparison that overlooks something lets every engine pass.
func TestDifferencesAreFound(t *testing.T) {
	fresh := func() Answer {
		return Answer{Series: []rows.Series{
			{Name: "cpu", Tags: []points.Tag{{Name: "host", Value: "a"}}, Columns: []string{"time", "mean", "last"}, Timed: true, Values: []points.Value{
				points.IntegerValue(1), points.FloatValue(2), points.StringValue("x"), points.IntegerValue(2), points.FloatValue(1e6), {}}},
			{Name: "cpu", Tags: []points.Tag{{Name: "host", Value: "b"}}, Columns: []string{"time", "mean", "last"}, Timed: true},
		}}
	}
	q := Query{Features: []string{"last", "mean"}}
	for what, change := range map[string]func(*Answer){
		"an error":                     func(a *Answer) { a.Err = errors.New("no") },
		"a series too few":             func(a *Answer) { a.Series = a.Series[:1] },
		"the order of series":          func(a *Answer) { slices.Reverse(a.Series) },
		"a name":                       func(a *Answer) { a.Series[0].Name = "mem" },
		"a tag":                        func(a *Answer) { a.Series[0].Tags[0].Value = "" },
		"a column":                     func(a *Answer) { a.Series[0].Columns[1] = "mean_1" },
		"a row too few":                func(a *Answer) { a.Series[0].Values = a.Series[0].Values[:3] },
		"a time":                       func(a *Answer) { a.Series[0].Values[0] = points.IntegerValue(0) },
		"a float, beyond the bound":    func(a *Answer) { a.Series[0].Values[4] = points.FloatValue(1e6 + 1e-4) },
		"an integer instead":           func(a *Answer) { a.Series[0].Values[1] = points.IntegerValue(2) },
		"null instead of a value":      func(a *Answer) { a.Series[0].Values[1] = points.Value{} },
		"a value instead of null":      func(a *Answer) { a.Series[0].Values[5] = points.StringValue("") },
		"another string":               func(a *Answer) { a.Series[0].Values[2] = points.StringValue("y") },
		"the zone of times":            func(a *Answer) { a.Series[0].Location = time.FixedZone("east", 3600) },
		"a float that is small beside": func(a *Answer) { a.Series[0].Values[1] = points.FloatValue(2 + 1e-4) },
	} {
		got := fresh()
		change(&got)
		if Difference(q, fresh(), got) == "" || Difference(q, got, fresh()) == "" {
			t.Errorf("%s is not found", what)
		}
	}
	if d := Difference(q, fresh(), fresh()); d != "" {
		t.Errorf("equal answers: %s", d)
	}
	// Sums in another order are equal, and selected values are not.
	got := fresh()
	got.Series[0].Values[4] = points.FloatValue(1e6 + 1e-9)
	if d := Difference(q, fresh(), got); d != "" {
		t.Errorf("a sum in another order: %s", d)
	}
	if Difference(Query{Features: []string{"max"}}, fresh(), got) == "" {
		t.Error("the last bits of a maximum are free")
	}
}
