package main

import (
	"encoding/json"
	"strings"
	"testing"
)

// The figures that are published come from here, so a run against three real
// nodes must count what was done, at each node what it cost, and nothing that
// failed. A node that can't be asked for its cost must not go unsaid: the sum
// is too small without it.
func TestBench(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
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
			d := json.NewDecoder(strings.NewReader(line))
			d.DisallowUnknownFields()
			var r row
			if err := d.Decode(&r); err != nil {
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
	got := rows(c.run(args...).done(t))
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
	if n := strings.Count(c.run("kv", "list", "bench/", "--keys", "-o", "json").done(t), "\n"); n != 500 {
		t.Errorf("%d keys are there after the runs, want 500", n)
	}

	c.kill(2)
	r := c.run(strings.Fields("bench --op get --in-flight 4 --keys 500 --duration 300ms -o json")...)
	if r.status != exitDone || len(rows(r.stdout)) != 1 || !strings.Contains(r.stderr, c.nodes[2].addr) {
		t.Errorf("with n3 dead: status %d, standard error %q, want it to name %s", r.status, r.stderr, c.nodes[2].addr)
	}
}
