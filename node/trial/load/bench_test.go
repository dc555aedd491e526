package load

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"

	"muster/node/trial/clustertest"
	"muster/repl/client/bench"
)

// The figures that are published come from here, so a run against three real
// nodes must count what was done, at each node what it cost, and nothing that
// failed. A node that can't be asked for its cost must not go unsaid: the sum
// is too small without it.
func TestBench(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, 3)
	type row struct {
		Op          string  `json:"op"`
		InFlight    int     `json:"in_flight"`
		Connections int     `json:"connections"`
		OpsPerS     float64 `json:"ops_per_s"`
		P50         float64 `json:"p50_us"`
		P99         float64 `json:"p99_us"`
		P999        float64 `json:"p999_us"`
		ServerCPU   float64 `json:"server_cpu_us_per_op"`
		ClientCPU   float64 `json:"client_cpu_us_per_op"`
		Errors      *uint64 `json:"errors"`
	}
	rows := func(out string) (all []row) {
		for line := range strings.Lines(out) {
			var r row
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			if r.Errors == nil || *r.Errors != 0 || r.OpsPerS <= 0 || r.ServerCPU <= 0 || r.ClientCPU <= 0 ||
				r.P50 <= 0 || r.P99 < r.P50 || r.P999 < r.P99 {
				t.Errorf("figures that can't be: %s", line)
			}
			all = append(all, r)
		}
		return all
	}
	args := strings.Fields("bench --op set,get --in-flight 1,16 --connections 2 --keys 500 --duration 300ms --warm-up 50ms -o json")
	got := rows(c.Run(args...).Done(t))
	want := []row{{Op: "set", InFlight: 1}, {Op: "set", InFlight: 16}, {Op: "get", InFlight: 1}, {Op: "get", InFlight: 16}}
	if len(got) != len(want) {
		t.Fatalf("got %d runs, want %d", len(got), len(want))
	}
	for i, r := range got {
		if r.Op != want[i].Op || r.InFlight != want[i].InFlight || r.Connections != 2 {
			t.Errorf("run %d is %s with %d in flight over %d connections; want %s with %d over 2", i, r.Op, r.InFlight, r.Connections, want[i].Op, want[i].InFlight)
		}
	}
	// All keys that are got were set, and none beside them.
	if n := strings.Count(c.Run("kv", "list", "bench/", "--keys", "-o", "json").Done(t), "\n"); n != 500 {
		t.Errorf("%d keys are there after the runs, want 500", n)
	}

	// Connections and requests in flight go with each other.
	var pairs []string
	for _, r := range rows(c.Run(strings.Fields("bench --op set --in-flight 1,2 --connections 1,3 --duration 20ms --warm-up 0s -o json")...).Done(t)) {
		pairs = append(pairs, fmt.Sprintf("%d over %d", r.InFlight, r.Connections))
	}
	if got := strings.Join(pairs, ", "); got != "1 over 1, 2 over 1, 1 over 3, 2 over 3" {
		t.Errorf("got runs of %s", got)
	}

	c.Kill(2)
	r := c.Run(strings.Fields("bench --op get --in-flight 4 --keys 500 --duration 300ms -o json")...)
	if r.Status != clustertest.ExitDone || len(rows(r.Stdout)) != 1 || !strings.Contains(r.Stderr, c.Nodes[2].Addr) {
		t.Errorf("with n3 dead: status %d, standard error %q, want it to name %s", r.Status, r.Stderr, c.Nodes[2].Addr)
	}
}

// The other ways to ask must reach a real cluster, too: each operation, callers
// that wait and one that does not, an open loop; and what is counted must add up.
func TestBenchModes(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, 3)
	for _, tt := range []struct {
		args string
		op   bench.Op
	}{
		{"--op set --pipelined --in-flight 100 --every 50ms", bench.OpSet},
		{"--op get --pipelined --in-flight 100 --read local --distribution zipf:1.1", bench.OpGet},
		{"--op get --in-flight 4 --read local", bench.OpGet},
		{"--op mixed --reads 80 --in-flight 8 --rate 1000 --every 50ms", bench.OpMixed},
		{"--op mixed --in-flight 100 --pipelined --rate 1000", bench.OpMixed},
		{"--op list --rows 7 --in-flight 4", bench.OpList},
	} {
		out := c.Run(strings.Fields("bench --keys 200 --duration 200ms --warm-up 20ms -o json " + tt.args)...).Done(t)
		var r bench.Result
		if err := json.Unmarshal([]byte(out), &r); err != nil {
			t.Fatalf("%s: %s: %v", tt.args, out, err)
		}
		counted := uint64(0)
		for _, b := range r.Buckets {
			counted += b.Count
		}
		want := r.Done
		if r.Open != nil {
			want += r.Open.Missed
		}
		if r.Op != tt.op || r.Errors != 0 || r.Done == 0 || counted != want || r.Max < r.P999 || r.P90 < r.P50 {
			t.Errorf("%s: %d in buckets, want %d: %s", tt.args, counted, want, out)
		}
		sliced := uint64(0)
		for i, s := range r.Slices {
			if sliced += s.Done; math.Abs(s.From-float64(i)*0.05) > 1e-9 || s.Done > 0 && (s.P50 <= 0 || s.P99 < s.P50 || s.Max > r.Max) {
				t.Errorf("%s: slice %d can't be: %s", tt.args, i, out)
			}
		}
		if strings.Contains(tt.args, "--every") && sliced != r.Done {
			t.Errorf("%s: %d of %d in %d slices, want all", tt.args, sliced, r.Done, len(r.Slices))
		}
		if strings.Contains(tt.args, "--rate") && (r.Open == nil || r.Open.Due != 200 || r.Open.Due != r.Done+r.Open.Missed) {
			t.Errorf("%s: want 200 due: %s", tt.args, out)
		}
		if r.Op == bench.OpMixed && (r.Gets.Done == 0 || r.Sets.Done+r.Gets.Done != r.Done) {
			t.Errorf("%s: sets and gets are not all: %s", tt.args, out)
		}
		if r.Op == bench.OpList && (r.Rows == nil || *r.Rows <= 0 || *r.Rows > 7) {
			t.Errorf("%s: want up to 7 rows each: %s", tt.args, out)
		}
	}
}

// A comparison must run both sides in turns, in every round, and say one thing
// for each pair of runs: with two clusters, and with two settings.
func TestBenchVersus(t *testing.T) {
	t.Parallel()
	one, two := clustertest.Start(t, 1), clustertest.Start(t, 1)
	for _, tt := range []struct{ args, versus string }{
		{"--in-flight 1,4", "--endpoints " + two.Nodes[0].Addr},
		{"--in-flight 4", "--pipelined --in-flight 16"},
	} {
		args := append(strings.Fields("bench --op set --keys 50 --duration 20ms --warm-up 0s -o json "+tt.args), "--versus", tt.versus)
		out := one.Run(args...).Done(t)
		runs, sides, compared := 0, "", 0
		pairs := 1 + strings.Count(tt.args, ",")
		for line := range strings.Lines(out) {
			if strings.HasPrefix(line, `{"compared"`) {
				var x bench.Comparison
				if err := json.Unmarshal([]byte(line), &x); err != nil {
					t.Fatal(err)
				}
				compared++
				if x.Run != compared || x.Rounds != 5 || len(x.Figures) != 6 || x.Figures[0].Ratio <= 0 || x.Figures[0].Low > x.Figures[0].High || x.ErrorsA+x.ErrorsB > 0 {
					t.Errorf("got %+v", x)
				}
				continue
			}
			var r bench.Result
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatal(err)
			}
			if want := 1 + runs/(2*pairs); r.Round != want || compared > 0 {
				t.Errorf("run %d is of round %d, want %d, and none after a comparison", runs, r.Round, want)
			}
			sides += r.Side
			runs++
		}
		if want := strings.Repeat("ab", pairs) + strings.Repeat("ba", pairs); runs != 10*pairs || compared != pairs || !strings.HasPrefix(sides, want) {
			t.Errorf("%s: got %d runs, %d comparisons, sides %s; want %d, %d and %s…", tt.args, runs, compared, sides, 10*pairs, pairs, want)
		}
	}
	if n := strings.Count(two.Run("kv", "list", "bench/", "--keys", "-o", "json").Done(t), "\n"); n == 0 {
		t.Error("the other cluster was not asked")
	}
	table := one.Run("bench", "--op", "set", "--duration", "10ms", "--warm-up", "0s", "--rate", "1000", "--versus", "--in-flight 2").Done(t)
	for _, want := range []string{"SIDE  OP ", "MISSED\n", "b to a, medians of 5 rounds", "RUN  FIGURE ", "\n1    ops_per_s "} {
		if !strings.Contains(table, want) {
			t.Errorf("no %q in\n%s", want, table)
		}
	}
}
