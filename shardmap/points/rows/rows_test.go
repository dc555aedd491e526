package rows

import (
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"muster/shardmap/points"
)

var (
	null = points.Value{}
	f    = points.FloatValue
	i    = points.IntegerValue
	str  = points.StringValue
)

// writer is what all three writers are.
type writer interface {
	Write(Result) error
	Close() error
}

// written returns what a writer makes of results.
func written(t *testing.T, make func(io.Writer) writer, results ...Result) string {
	t.Helper()
	var b strings.Builder
	w := make(&b)
	for _, r := range results {
		if err := w.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func compact(e Epoch) func(io.Writer) writer {
	return func(w io.Writer) writer { return NewJSON(w, Compact, e) }
}

func chunked(w io.Writer) writer { return NewChunkedJSON(w, Compact, RFC3339) }

func commas(e Epoch) func(io.Writer) writer {
	return func(w io.Writer) writer { return NewCSV(w, e) }
}

// at is a moment with all nine digits behind the point.
const at = 1767225600_123456789 // 2026-01-01T00:00:00.123456789Z

func cpu(values ...points.Value) Series {
	return Series{Name: "cpu", Columns: []string{"time", "v"}, Timed: true, Values: values}
}

// Clients read these bytes with parsers of their own, some of them by position. Each form that InfluxDB has stands
// here with its bytes.
func TestJSON(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	local := cpu(i(at), i(1))
	local.Location = berlin
	more := cpu(i(1), f(1))
	more.Partial = true
	for _, c := range []struct {
		name    string
		epoch   Epoch
		results []Result
		want    string
	}{
		{"no statement", RFC3339, nil, `{}`},
		{"no rows", RFC3339, []Result{{}}, `{"results":[{"statement_id":0}]}`},
		{"a series without rows", RFC3339, []Result{{Series: []Series{cpu()}}},
			`{"results":[{"statement_id":0,"series":[{"name":"cpu","columns":["time","v"]}]}]}`},
		{"an error", RFC3339, []Result{{Err: errors.New(`database not found: "x"`)}},
			`{"results":[{"statement_id":0,"error":"database not found: \"x\""}]}`},
		{"time as text", RFC3339, []Result{{Series: []Series{cpu(i(at), f(1))}}},
			`{"results":[{"statement_id":0,"series":[{"name":"cpu","columns":["time","v"],"values":[["2026-01-01T00:00:00.123456789Z",1]]}]}]}`},
		{"time in a zone", RFC3339, []Result{{Series: []Series{local}}},
			`{"results":[{"statement_id":0,"series":[{"name":"cpu","columns":["time","v"],"values":[["2026-01-01T01:00:00.123456789+01:00",1]]}]}]}`},
		{"times of whole seconds, and of 1970 and the ends", RFC3339,
			[]Result{{Series: []Series{cpu(i(1767225600e9), null, i(0), null, i(math.MinInt64), null, i(math.MaxInt64), null)}}},
			`{"results":[{"statement_id":0,"series":[{"name":"cpu","columns":["time","v"],"values":[["2026-01-01T00:00:00Z",null],` +
				`["1970-01-01T00:00:00Z",null],["1677-09-21T00:12:43.145224192Z",null],["2262-04-11T23:47:16.854775807Z",null]]}]}]}`},
		{"times before 1970 are cut off towards it", Seconds, []Result{{Series: []Series{cpu(i(-1), i(-1), i(-1500e6), i(-1), i(1999e6), i(1))}}},
			`{"results":[{"statement_id":0,"series":[{"name":"cpu","columns":["time","v"],"values":[[0,-1],[-1,-1],[1,1]]}]}]}`},
		{"numbers", Nanoseconds, []Result{{Series: []Series{cpu(
			i(1), f(0), i(2), f(math.Copysign(0, -1)), i(3), f(0.1), i(4), f(1e20), i(5), f(1e21), i(6), f(1e-6), i(7), f(9.5e-7), i(8), f(1e-100),
			i(9), f(math.MaxFloat64), i(10), f(5e-324), i(11), i(math.MinInt64), i(12), points.UnsignedValue(math.MaxUint64), i(13), points.BooleanValue(true), i(14), points.BooleanValue(false))}}},
			`{"results":[{"statement_id":0,"series":[{"name":"cpu","columns":["time","v"],"values":[[1,0],[2,-0],[3,0.1],[4,100000000000000000000],[5,1e+21],[6,0.000001],[7,9.5e-7],[8,1e-100],` +
				`[9,1.7976931348623157e+308],[10,5e-324],[11,-9223372036854775808],[12,18446744073709551615],[13,true],[14,false]]}]}]}`},
		{"strings", Nanoseconds, []Result{{Series: []Series{cpu(i(1), str("a\"b\\c\n\t\r<&>é\u2028\x01"), i(2), str(""))}}},
			`{"results":[{"statement_id":0,"series":[{"name":"cpu","columns":["time","v"],"values":[[1,"a\"b\\c\n\t\r\u003c\u0026\u003eé\u2028\u0001"],[2,""]]}]}]}`},
		{"tags, two series, two statements", Nanoseconds, []Result{
			{Series: []Series{{Name: "m<", Tags: []points.Tag{{Name: "a", Value: ""}, {Name: "b", Value: "x y"}}, Columns: []string{"time", "v"}, Timed: true, Values: []points.Value{i(1), i(2)}},
				{Name: "m<", Tags: []points.Tag{{Name: "a", Value: "1"}, {Name: "b", Value: "x"}}, Columns: []string{"time", "v"}, Timed: true, Values: []points.Value{i(1), i(2)}}}},
			{Statement: 1, Series: []Series{{Columns: []string{"n"}, Values: []points.Value{i(5)}}}}},
			`{"results":[{"statement_id":0,"series":[{"name":"m\u003c","tags":{"a":"","b":"x y"},"columns":["time","v"],"values":[[1,2]]},` +
				`{"name":"m\u003c","tags":{"a":"1","b":"x"},"columns":["time","v"],"values":[[1,2]]}]},{"statement_id":1,"series":[{"columns":["n"],"values":[[5]]}]}]}`},
		{"parts of a series are one", Nanoseconds, []Result{{Series: []Series{more}, Partial: true}, {Series: []Series{cpu(i(2), f(2)), {Name: "mem", Columns: []string{"time", "v"}}}}},
			`{"results":[{"statement_id":0,"series":[{"name":"cpu","columns":["time","v"],"values":[[1,1],[2,2]]},{"name":"mem","columns":["time","v"]}]}]}`},
		{"an error behind a part", Nanoseconds, []Result{{Series: []Series{more}, Partial: true}, {Err: errors.New("timeout")}, {Statement: 1, Err: errors.New("not executed")}},
			`{"results":[{"statement_id":0,"series":[{"name":"cpu","columns":["time","v"],"values":[[1,1]],"partial":true}],"error":"timeout"},{"statement_id":1,"error":"not executed"}]}`},
		{"what does not go on is partial", Nanoseconds, []Result{{Series: []Series{more}, Partial: true}},
			`{"results":[{"statement_id":0,"series":[{"name":"cpu","columns":["time","v"],"values":[[1,1]],"partial":true}],"partial":true}]}`},
		{"messages", Nanoseconds, []Result{{Messages: []Message{{Warning, "deprecated"}}}},
			`{"results":[{"statement_id":0,"messages":[{"level":"warning","text":"deprecated"}]}]}`},
		{"no finite number", Nanoseconds, []Result{{Series: []Series{cpu(i(1), f(math.Inf(1)), i(2), f(math.NaN()))}}, {Statement: 1}},
			`{"results":[{"statement_id":0,"series":[{"name":"cpu","columns":["time","v"],"values":[[1,null],[2,null]]}],"messages":[{"level":"warning",` +
				`"text":"values written as null because JSON has no number for them (infinite, or not a number): 2; CSV has words for them"}]},{"statement_id":1}]}`},
		{"an integer that is no time", RFC3339, []Result{{Series: []Series{{Name: "cpu", Columns: []string{"count"}, Values: []points.Value{i(3)}}}}},
			`{"results":[{"statement_id":0,"series":[{"name":"cpu","columns":["count"],"values":[[3]]}]}]}`},
	} {
		if got := written(t, compact(c.epoch), c.results...); got != c.want+"\n" {
			t.Errorf("%s:\ngot  %swant %s", c.name, got, c.want)
		}
	}
}

// Each word that a request may name as its epoch, and one that it may not.
func TestEpochs(t *testing.T) {
	for word, want := range map[string]string{
		"": `"2026-01-01T00:00:00.123456789Z"`, "ns": "1767225600123456789", "n": "1767225600123456789", "u": "1767225600123456", "ms": "1767225600123",
		"s": "1767225600", "m": "29453760", "h": "490896", "fortnight": "1767225600123456789",
	} {
		got := written(t, compact(EpochOf(word)), Result{Series: []Series{cpu(i(at), i(1))}})
		if want = `{"results":[{"statement_id":0,"series":[{"name":"cpu","columns":["time","v"],"values":[[` + want + ",1]]}]}]}\n"; got != want {
			t.Errorf("epoch=%s: got %swant %s", word, got, want)
		}
	}
}

func TestPretty(t *testing.T) {
	got := written(t, func(w io.Writer) writer { return NewJSON(w, Pretty, Nanoseconds) }, Result{Series: []Series{
		{Name: "cpu", Tags: []points.Tag{{Name: "host", Value: "a"}}, Columns: []string{"time", "v"}, Timed: true, Values: []points.Value{i(1), null}}}})
	const want = `{
    "results": [
        {
            "statement_id": 0,
            "series": [
                {
                    "name": "cpu",
                    "tags": {
                        "host": "a"
                    },
                    "columns": [
                        "time",
                        "v"
                    ],
                    "values": [
                        [
                            1,
                            null
                        ]
                    ]
                }
            ]
        }
    ]
}
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := written(t, func(w io.Writer) writer { return NewJSON(w, Pretty, Nanoseconds) }); got != "{}\n" {
		t.Errorf("without statements: %s", got)
	}
}

// A client that reads chunks takes the flags for the only sign of the end: of a series that of the series, of the
// statement that of the result.
func TestChunkedJSON(t *testing.T) {
	var results []Result
	c := NewChunks(0, 2, func(r Result) error { results = append(results, r); return nil })
	part := cpu(i(0), i(0), i(1), i(1), i(2), i(2))
	part.Partial = true
	for _, s := range []Series{part, cpu(i(3), i(3), i(4), i(4)), {Name: "mem", Columns: []string{"time", "v"}, Timed: true, Values: []points.Value{i(1), i(1), i(2), i(2)}}} {
		if err := c.Add(s); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.End(nil, nil); err != nil {
		t.Fatal(err)
	}
	const want = `{"results":[{"statement_id":0,"series":[{"name":"cpu","columns":["time","v"],"values":[["1970-01-01T00:00:00Z",0],["1970-01-01T00:00:00.000000001Z",1]],"partial":true}],"partial":true}]}
{"results":[{"statement_id":0,"series":[{"name":"cpu","columns":["time","v"],"values":[["1970-01-01T00:00:00.000000002Z",2],["1970-01-01T00:00:00.000000003Z",3]],"partial":true}],"partial":true}]}
{"results":[{"statement_id":0,"series":[{"name":"cpu","columns":["time","v"],"values":[["1970-01-01T00:00:00.000000004Z",4]]}],"partial":true}]}
{"results":[{"statement_id":0,"series":[{"name":"mem","columns":["time","v"],"values":[["1970-01-01T00:00:00.000000001Z",1],["1970-01-01T00:00:00.000000002Z",2]]}]}]}
`
	if got := written(t, chunked, results...); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestCSV(t *testing.T) {
	group := func(host string, values ...points.Value) Series {
		return Series{Name: "cpu", Tags: []points.Tag{{Name: "host", Value: host}, {Name: "no", Value: ""}}, Columns: []string{"time", "v"}, Timed: true, Values: values}
	}
	part := group("a b", i(1e9), f(1e21))
	part.Partial = true
	for _, c := range []struct {
		name    string
		epoch   Epoch
		results []Result
		want    string
	}{
		{"nothing", RFC3339, []Result{{}}, ""},
		{"groups, and a part", RFC3339, []Result{{Series: []Series{part}, Partial: true}, {Series: []Series{group("a b", i(2e9), null), group("c,=", i(3e9), f(0.5))}}},
			"name,tags,time,v\ncpu,host=a\\ b,1000000000,1000000000000000000000\ncpu,host=a\\ b,2000000000,\ncpu,\"host=c\\,\\=\",3000000000,0.5\n"},
		{"epoch", Seconds, []Result{{Series: []Series{group("", i(2e9), i(-5))}}}, "name,tags,time,v\ncpu,,2,-5\n"},
		{"escapes", RFC3339, []Result{{Series: []Series{cpu(i(1), str("a,\"b\"\nc"), i(2), points.BooleanValue(true), i(3), points.UnsignedValue(math.MaxUint64), i(4), f(math.Inf(-1)))}}},
			"name,tags,time,v\ncpu,,1,\"a,\"\"b\"\"\nc\"\ncpu,,2,true\ncpu,,3,18446744073709551615\ncpu,,4,-Inf\n"},
		{"statements and columns", RFC3339, []Result{{Series: []Series{cpu(i(1), i(1)), {Name: "x", Columns: []string{"k"}, Values: []points.Value{str("v")}}}}, {Statement: 1}, {Statement: 2, Series: []Series{{Name: "x", Columns: []string{"k"}, Values: []points.Value{str("v")}}}}},
			"name,tags,time,v\ncpu,,1,1\n\nname,tags,k\nx,,v\n\nname,tags,k\nx,,v\n"},
		{"an error", RFC3339, []Result{{Series: []Series{cpu(i(1), i(1))}, Partial: true}, {Err: errors.New("timeout, after 10s")}, {Statement: 1, Series: []Series{cpu(i(1), i(1))}}},
			"name,tags,time,v\ncpu,,1,1\n\nerror\n\"timeout, after 10s\"\n\nname,tags,time,v\ncpu,,1,1\n"},
	} {
		if got := written(t, commas(c.epoch), c.results...); got != c.want {
			t.Errorf("%s:\ngot\n%swant\n%s", c.name, got, c.want)
		}
	}
}

// An executor and a writer that disagree about what belongs together must be found where they meet, not by a client
// that reads rows of one series under the name of another.
func TestBrokenOrder(t *testing.T) {
	part := cpu(i(1), i(1))
	part.Partial = true
	other := Series{Name: "mem", Columns: []string{"time", "v"}}
	for name, results := range map[string][]Result{
		"rules: statement 1 comes":        {{Partial: true}, {Statement: 1}},
		"series \"mem\" comes":            {{Series: []Series{part, other}}},
		"series \"mem\" comes later":      {{Series: []Series{part}, Partial: true}, {Series: []Series{other}}},
		"values that fill no row of rows": {{Series: []Series{{Name: "m", Columns: []string{"a", "b"}, Values: make([]points.Value, 3)}}}},
	} {
		for kind, make := range map[string]func(io.Writer) writer{"json": compact(RFC3339), "chunked": chunked, "csv": commas(RFC3339)} {
			func() {
				defer func() {
					if s, ok := recover().(string); !ok || !strings.HasPrefix(s, "rows: ") {
						t.Errorf("%s, %s: no panic of rows", kind, name)
					}
				}()
				w := make(io.Discard)
				for _, r := range results {
					w.Write(r)
				}
			}()
		}
	}
}
