package bench

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"muster/repl/client"
)

// The fields are part of the contract with those who read them.
func TestResultFields(t *testing.T) {
	b, err := json.Marshal(Result{Op: OpSet})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"op":"set","in_flight":0,"connections":0,"ops_per_s":0,"p50_us":0,"p99_us":0,"p999_us":0,"server_cpu_us_per_op":0,"client_cpu_us_per_op":0,"errors":0,` +
		`"done":0,"seconds":0,"mean_us":0,"p90_us":0,"max_us":0,"pipelined":false,"keys":0,"key_bytes":0,"value_bytes":0,"distribution":"","seed":0,"buckets":null}`
	if string(b) != want {
		t.Errorf("got %s, want %s", b, want)
	}
}

// A plan that would measure something else than it says must be refused.
func TestPlanCheck(t *testing.T) {
	good := Plan{Op: OpSet, InFlight: 1, KeyBytes: 16, Keys: 1000, Duration: time.Second, Grace: time.Second}
	for _, x := range []struct {
		change func(*Plan)
		says   string
	}{
		{func(p *Plan) {}, ""},
		{func(p *Plan) { p.Op = "del" }, "op"},
		{func(p *Plan) { p.InFlight = 0 }, "in flight"},
		{func(p *Plan) { p.InFlight = InFlightMax + 1 }, "in flight"},
		{func(p *Plan) { p.Keys = 0 }, "keys"},
		{func(p *Plan) { p.KeyBytes = 9 }, ""},
		{func(p *Plan) { p.KeyBytes = 8 }, "key size"},
		{func(p *Plan) { p.KeyBytes = 4097 }, "key size"},
		{func(p *Plan) { p.ValueBytes = -1 }, "value size"},
		{func(p *Plan) { p.ValueBytes = 16<<20 + 1 }, "value size"},
		{func(p *Plan) { p.Duration = 0 }, "duration"},
		{func(p *Plan) { p.Warmup = -1 }, "warm-up"},
		{func(p *Plan) { p.Grace = 0 }, "grace"},
		{func(p *Plan) { p.Op, p.Rows = OpList, 1 }, ""},
		{func(p *Plan) { p.Op = OpList }, "rows"},
		{func(p *Plan) { p.Op, p.Rows = OpList, RowsMax+1 }, "rows"},
		{func(p *Plan) { p.Op, p.Rows, p.Pipelined = OpList, 1, true }, "pipelined"},
		{func(p *Plan) { p.Op, p.ReadPercent = OpMixed, 100 }, ""},
		{func(p *Plan) { p.Op, p.ReadPercent = OpMixed, 101 }, "percent"},
		{func(p *Plan) { p.ReadPercent = -1 }, "percent"},
		{func(p *Plan) { p.Rate = RateMax }, ""},
		{func(p *Plan) { p.Rate = RateMax + 1 }, "rate"},
		{func(p *Plan) { p.Rate = -1 }, "rate"},
		{func(p *Plan) { p.Rate = RateMin }, ""},
		{func(p *Plan) { p.Rate = 1e-300 }, "rate"},
		{func(p *Plan) { p.Rate = math.NaN() }, "rate"},
		{func(p *Plan) { p.Exponent = ExponentMax }, ""},
		{func(p *Plan) { p.Exponent = ExponentMax + 0.1 }, "exponent"},
		{func(p *Plan) { p.Exponent = -0.1 }, "exponent"},
		{func(p *Plan) { p.Exponent = math.NaN() }, "exponent"},
	} {
		p := good
		x.change(&p)
		err := p.Check()
		if (err == nil) != (x.says == "") || err != nil && !strings.Contains(err.Error(), x.says) {
			t.Errorf("%+v: got %v, want %q", p, err, x.says)
		}
	}
}

// All keys of a plan must differ, and have its size.
func TestKeys(t *testing.T) {
	seen := map[string]bool{}
	for n := range 1000 {
		key := make([]byte, KeyBytesMin(1000))
		writeKey(key, n)
		seen[string(key)] = true
	}
	if len(seen) != 1000 || !seen["bench/007"] {
		t.Errorf("got %d different keys, want 1000, with bench/007", len(seen))
	}
}

// The nodes' processor time must leave out a node that was started again or did
// not answer, for its difference would be nonsense; and must say so, for the
// sum is then too small.
func TestCPUSince(t *testing.T) {
	before := cpuTimes{"a": 5, "b": 7, "c": 9, "e": -1, "f": 3}
	after := cpuTimes{"a": 15, "b": 3, "c": -1, "d": 100, "e": 7, "f": 4}
	got, unasked := after.since(before)
	if want := []string{"b", "c", "d", "e"}; got != 11 || !slices.Equal(unasked, want) {
		t.Errorf("got %d without %v, want 11 without %v", got, unasked, want)
	}
}

// A run against nobody must end with the client's error, and so must the keys
// that can't be set, at the first.
func TestRunWithoutCluster(t *testing.T) {
	c, err := client.Open(client.Options{Insecure: true, Endpoints: []string{"127.0.0.1:1"}, Patience: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p := Plan{Op: OpSet, InFlight: 1, KeyBytes: 16, Keys: 10, Duration: time.Second, Grace: time.Second}
	_, err = Run(t.Context(), c, p)
	if err == nil || !strings.Contains(err.Error(), "no endpoint") {
		t.Errorf("got %v", err)
	}
	if err := Fill(t.Context(), c, p); err == nil || !strings.Contains(err.Error(), "no endpoint") {
		t.Errorf("got %v", err)
	}
}
