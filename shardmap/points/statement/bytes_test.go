package statement

import (
	"reflect"
	"strings"
	"testing"

	"muster/shardmap/pack"
	"muster/shardmap/points/query/querytest"
)

// Bytes of a peer are a stranger's: those that no encoder makes are refused.
func TestBytesRefused(t *testing.T) {
	good := Request{What: TagValues, Measurements: []string{"a", "b"}, Expressions: []string{"^c"}, Condition: "host = 'a'", Keys: "_tagKey = 'x'"}
	b := good.Append(nil)
	for n := range b {
		if _, err := ReadRequest(b[:n]); err == nil {
			t.Errorf("a request that is cut at %d is read", n)
		}
	}
	if _, err := ReadRequest(append(b, 0)); err == nil {
		t.Error("a request with a byte behind it is read")
	}
	for what, r := range map[string]Request{
		"nothing asked for":      {},
		"what nobody knows":      {What: FieldKeys + 1},
		"measurements in order":  {What: SeriesKeys, Measurements: []string{"b", "a"}},
		"a measurement twice":    {What: SeriesKeys, Measurements: []string{"a", "a"}},
		"too many measurements":  {What: SeriesKeys, Expressions: make([]string, SourcesMax+1)},
		"a condition on a field": {What: SeriesKeys, Condition: "v > 5"},
		"a call":                 {What: SeriesKeys, Condition: "f(v) = 'a'"},
		"another way to write":   {What: SeriesKeys, Condition: "host='a'"},
		"a second statement":     {What: SeriesKeys, Condition: "host = 'a'; SELECT v FROM m"},
		"a deep condition":       {What: SeriesKeys, Condition: strings.Repeat("(", 10_000) + "host = 'a'" + strings.Repeat(")", 10_000)},
		"a long one":             {What: SeriesKeys, Condition: strings.Repeat("host = 'a' OR ", 50_000) + "host = 'a'"},
		"names of no condition":  {What: TagKeys, Keys: "_tagKey"},
	} {
		if _, err := ReadRequest(r.Append(nil)); err == nil {
			t.Errorf("%s: %+v is read", what, r.What)
		}
	}
	for what, a := range map[string]Answer{
		"measurements in order": {Groups: []Group{{Measurement: "b"}, {Measurement: "a"}}},
		"a measurement twice":   {Groups: []Group{{Measurement: "a"}, {Measurement: "a"}}},
		"pairs in order":        {Groups: []Group{{Measurement: "a", Pairs: []Pair{{"b", ""}, {"a", ""}}}}},
		"a pair twice":          {Groups: []Group{{Measurement: "a", Pairs: []Pair{{"a", "x"}, {"a", "x"}}}}},
		"hashes in order":       {Groups: []Group{{Measurement: "a", Hashes: []uint64{2, 1}}}},
	} {
		if _, err := ReadAnswer(a.Append(nil), 1<<20); err == nil {
			t.Errorf("%s: %+v is read", what, a)
		}
	}
	half := pack.AppendString(pack.AppendArray(pack.AppendArray(pack.AppendUint(pack.AppendArray(nil, 2), Version), 1), 3), "m")
	half = pack.AppendBytesHead(pack.AppendString(pack.AppendArray(half, 1), "a"), 0)
	if _, err := ReadAnswer(half, 1<<20); err == nil {
		t.Error("half a pair is read")
	}
	later := pack.AppendArray(pack.AppendUint(pack.AppendArray(nil, 2), Version+1), 0)
	if _, err := ReadAnswer(later, 1<<20); err == nil || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("an answer of a later version: %v", err)
	}
}

// A request that is read is one that a shard can carry out, and is written as it was.
func FuzzRequest(f *testing.F) {
	f.Add((&Request{What: SeriesKeys, Condition: "(host = 'a' AND x !~ /b|c/) OR y != ''"}).Append(nil))
	f.Add((&Request{What: TagValues, Measurements: []string{"a", "b"}, Expressions: []string{"^c"}, Keys: `_tagKey = 'x\'' OR _tagKey = 'y'`}).Append(nil))
	shard := querytest.New()
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ReadRequest(b)
		if err != nil {
			return
		}
		again, err := ReadRequest(r.Append(nil))
		if err != nil || !reflect.DeepEqual(again, r) {
			t.Fatalf("%+v is read as %+v: %v", r, again, err)
		}
		if _, err := Scan(shard, r, querytest.Budget()); err != nil && len(r.Expressions) == 0 {
			t.Fatal(err)
		}
	})
}

// An answer that was read takes no more memory than was given, and is written as it was.
func FuzzAnswer(f *testing.F) {
	f.Add((&Answer{Groups: []Group{{Measurement: "a", Pairs: []Pair{{"x", ""}, {"x", "y"}}}, {Measurement: "b", Hashes: []uint64{1, 1 << 60}}}}).Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := ReadAnswer(b, 1<<16)
		if err != nil {
			return
		}
		again, err := ReadAnswer(a.Append(nil), 1<<16)
		if err != nil || !reflect.DeepEqual(again, a) {
			t.Fatalf("%+v is read as %+v: %v", a, again, err)
		}
	})
}
