package load

import (
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"muster/node/trial/clustertest"
	"muster/repl/client"
	"muster/repl/client/bench"
)

var (
	curvesDir = flag.String("curves", "", "measure in TestCurves what an operation costs by groups, keys and bytes of a value, and write the points into `DIR`")
	curveOnly = flag.String("curve", "", "of TestCurves only `groups`, keys or values")
	// curveRounds is odd by default, so that a median is a round that was.
	curveRounds  = flag.Int("curves-rounds", 3, "how often TestCurves goes through all points")
	curveKeysMax = flag.Int("curves-keys", 10_000_000, "the most keys in TestCurves; ten million take 8 GB of memory and 15 GB of disk")
)

const (
	// bendMax is by how much a point may cost more than the cheapest one
	// before it.
	bendMax = 0.20
	// curveTime is how long a point is measured in a round, curveWarmup how
	// long it is under way before.
	curveTime, curveWarmup = 2 * time.Second, 300 * time.Millisecond
	curveConnections       = 16
	curveKeys, curveBytes  = 10_000, 128 // where the curve is over something else
	curveKeyBytes          = 16
	// restMin is the state, of one node, whose snapshots are waited for: those
	// of less are written within two seconds.
	restMin = 64 << 20
)

// curve is a cost over one quantity; the form of the files that TestCurves
// writes, and TestCurvesAreShown draws.
type curve struct {
	Name   string        `json:"curve"`
	X      string        `json:"x"` // what the points differ in
	Series []curveSeries `json:"series"`
	// PerByte says that what is to stay flat is the cost per byte of key and
	// value, not per operation.
	PerByte bool `json:"per_byte,omitempty"`

	clusters []*curveCluster
}

// curveSeries is one line: an operation at one load.
type curveSeries struct {
	Name     string       `json:"series"`
	Op       bench.Op     `json:"op"`
	InFlight int          `json:"in_flight"`
	Points   []curvePoint `json:"points"` // by growing X
}

// curvePoint is one place of it. Invariant: all points have as many rounds.
type curvePoint struct {
	X          int        `json:"x"`
	Groups     int        `json:"groups"`
	Keys       int        `json:"keys"`
	ValueBytes int        `json:"value_bytes"`
	Median     curveRun   `json:"median"` // column by column
	Rounds     []curveRun `json:"rounds"`
}

// curveRun is what one run came to; the names are those of muster bench.
type curveRun struct {
	ServerCPU float64 `json:"server_cpu_us_per_op"`
	ClientCPU float64 `json:"client_cpu_us_per_op"`
	OpsPerS   float64 `json:"ops_per_s"`
	P50       float64 `json:"p50_us"`
	P99       float64 `json:"p99_us"`
	Errors    uint64  `json:"errors"`
	// RestCPU is the nodes' time from the end of the run until they were at
	// rest, for each key that there is: their snapshots, which a run of two
	// seconds over many keys doesn't see. Only where they were waited for.
	RestCPU float64 `json:"rest_cpu_us_per_key,omitempty"`
}

// curveCluster is the cluster of one X. Those of a curve are up beside each
// other, for what one costs that is idle is little beside what an hour changes.
type curveCluster struct {
	*clustertest.Cluster
	client                *client.Client
	x, groups, keys, size int
}

// What an operation costs must not grow with the groups, keys and bytes (for
// each byte) that there are. One would doubt it: groups share a log but not
// their batches; keys share caches that hold some thousand of them; long values
// are copied, summed up and written on three nodes. All points are measured in
// turns, and the judgement is over ratios of rounds, so that what the machine
// does meanwhile falls on all.
func TestCurves(t *testing.T) {
	clustertest.OnDemand(t, *curvesDir != "", "./node/trial/load -run TestCurves -curves DIR -timeout 60m")
	if err := os.MkdirAll(*curvesDir, 0o755); err != nil {
		t.Fatal(err)
	}
	full := []curveSeries{
		{Name: "get, 1,024 in flight", Op: bench.OpGet, InFlight: 1024},
		{Name: "set, 1,024 in flight", Op: bench.OpSet, InFlight: 1024},
	}
	sets := []curveSeries{full[1], {Name: "set, 64 in flight", Op: bench.OpSet, InFlight: 64}}
	for _, c := range []*curve{
		{Name: "groups", X: "groups", Series: slices.Clone(full)},
		{Name: "keys", X: "keys", Series: slices.Clone(full)},
		{Name: "values", X: "bytes of a value", PerByte: true, Series: sets},
	} {
		if *curveOnly != "" && *curveOnly != c.Name {
			continue
		}
		measured := t.Run(c.Name, func(t *testing.T) {
			began := time.Now()
			c.found(t)
			t.Logf("%s: %d clusters are up and filled after %v", c.Name, len(c.clusters), time.Since(began).Round(time.Second))
			for round := range *curveRounds {
				c.round(t, round)
			}
			c.medians()
			c.write(t)
			t.Logf("%s: %d rounds took %v, with the filling\n%s", c.Name, *curveRounds, time.Since(began).Round(time.Second), c)
		})
		if measured {
			c.judge(t) // outside: what the nodes logged says nothing about a bend
		}
	}
}

// found starts and fills the clusters of all points.
func (c *curve) found(t *testing.T) {
	add := func(x, groups, keys, size int) {
		k := &curveCluster{x: x, groups: groups, keys: keys, size: size}
		k.Cluster = clustertest.Start(t, 3, "--groups", fmt.Sprint(groups))
		cl, err := client.Open(client.Options{Endpoints: strings.Split(k.Endpoints(), ","), ConnectionsPerNode: curveConnections})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cl.Close() })
		k.client = cl
		if err := bench.Fill(t.Context(), cl, k.plan(bench.OpGet, 1)); err != nil {
			t.Fatalf("%s %d: %v", c.Name, x, err)
		}
		k.rest(t)
		c.clusters = append(c.clusters, k)
		for i := range c.Series {
			c.Series[i].Points = append(c.Series[i].Points, curvePoint{X: x, Groups: groups, Keys: keys, ValueBytes: size})
		}
	}
	const usualGroups = 8
	switch c.Name {
	case "groups":
		for n := 1; n <= 64; n *= 2 {
			add(n, n, curveKeys, curveBytes)
		}
	case "keys":
		for n := 1000; n <= *curveKeysMax; n *= 10 {
			add(n, usualGroups, n, curveBytes)
		}
	case "values":
		for n := 16; n <= 4096; n *= 4 {
			add(n, usualGroups, curveKeys, n)
		}
	}
}

func (k *curveCluster) plan(op bench.Op, inFlight int) bench.Plan {
	return bench.Plan{
		Op: op, InFlight: inFlight, Connections: curveConnections,
		Keys: k.keys, KeyBytes: curveKeyBytes, ValueBytes: k.size,
		Duration: curveTime, Warmup: curveWarmup, Grace: clustertest.ReadyMax, Seed: 1,
	}
}

// round measures each point once, from the left and from the right by turns.
func (c *curve) round(t *testing.T, round int) {
	for n := range c.clusters {
		i := n
		if round%2 == 1 {
			i = len(c.clusters) - 1 - n
		}
		k := c.clusters[i]
		for s := range c.Series {
			p := k.plan(c.Series[s].Op, c.Series[s].InFlight)
			p.Seed = uint64(round + 1)
			r, err := bench.Run(t.Context(), k.client, p)
			if err != nil {
				t.Fatalf("%s %d: %v", c.Name, k.x, err)
			}
			if r.Errors > 0 || len(r.Unasked) > 0 {
				t.Fatalf("%s %d: %d errors, one of them %v; nodes that did not say what they used: %v", c.Name, k.x, r.Errors, r.First, r.Unasked)
			}
			run := curveRun{ServerCPU: r.ServerCPU, ClientCPU: r.ClientCPU, OpsPerS: r.OpsPerS, P50: r.P50, P99: r.P99, Errors: r.Errors}
			if r.Op == bench.OpSet {
				run.RestCPU = hundredths(k.rest(t) / float64(k.keys))
			}
			c.Series[s].Points[i].Rounds = append(c.Series[s].Points[i].Rounds, run)
		}
	}
}

// rest waits, where there is much to write, until the nodes have written the
// snapshots of what rests, and returns the microseconds of processor time that
// they took: the next point is not to pay for them.
func (k *curveCluster) rest(t *testing.T) (micros float64) {
	t.Helper()
	if k.keys*(k.size+curveKeyBytes) < restMin {
		return 0
	}
	first := k.used(t)
	restful(k.Cluster)
	return k.used(t) - first
}

// used is the processor time of the three nodes, in microseconds.
func (k *curveCluster) used(t *testing.T) (micros float64) {
	t.Helper()
	for _, p := range k.Nodes {
		a, err := k.client.Status(t.Context(), p.Addr)
		if err != nil {
			t.Fatal(err)
		}
		micros += float64(a.CPUMicros)
	}
	return micros
}

func (c *curve) medians() {
	for s := range c.Series {
		for i := range c.Series[s].Points {
			p := &c.Series[s].Points[i]
			of := func(f func(curveRun) float64) float64 {
				var all []float64
				for _, r := range p.Rounds {
					all = append(all, f(r))
				}
				return median(all)
			}
			p.Median = curveRun{
				ServerCPU: of(func(r curveRun) float64 { return r.ServerCPU }),
				ClientCPU: of(func(r curveRun) float64 { return r.ClientCPU }),
				OpsPerS:   of(func(r curveRun) float64 { return r.OpsPerS }),
				P50:       of(func(r curveRun) float64 { return r.P50 }),
				P99:       of(func(r curveRun) float64 { return r.P99 }),
				RestCPU:   of(func(r curveRun) float64 { return r.RestCPU }),
			}
		}
	}
}

func (c *curve) write(t *testing.T) {
	b, err := json.MarshalIndent(c, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(*curvesDir, c.Name+".json"), append(b, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}

// String is the table of the medians.
func (c *curve) String() string {
	var b strings.Builder
	for _, s := range c.Series {
		fmt.Fprintf(&b, "%s\n%18s %12s %12s %12s %12s %14s\n", s.Name, c.X, "nodes us/op", "client us/op", "ops/s", "p99 ms", "rest us/key")
		for _, p := range s.Points {
			m := p.Median
			fmt.Fprintf(&b, "%18d %12.2f %12.2f %12.0f %12.2f %14.2f\n", p.X, m.ServerCPU, m.ClientCPU, m.OpsPerS, m.P99/1000, m.RestCPU)
		}
	}
	return b.String()
}

// judge fails the test for each point that bends, with its figures.
func (c *curve) judge(t *testing.T) {
	t.Helper()
	for _, s := range c.Series {
		for _, cost := range []struct {
			of   string
			from func(curveRun) float64
		}{
			{"the nodes", func(r curveRun) float64 { return r.ServerCPU }},
			{"the client", func(r curveRun) float64 { return r.ClientCPU }},
		} {
			of := func(p curvePoint) (rounds []float64) {
				for _, r := range p.Rounds {
					rounds = append(rounds, c.cost(p, cost.from(r)))
				}
				return rounds
			}
			best := s.Points[0]
			for _, p := range s.Points[1:] {
				ratio := ratioOfRounds(of(p), of(best))
				if ratio > 1+bendMax {
					t.Errorf("%s: a %s at %d costs %s %.2f times that at %d: %.2f us in the median, and %.2f", c.Name, s.Name, p.X, cost.of, ratio, best.X, cost.from(p.Median), cost.from(best.Median))
				}
				if median(of(p)) < median(of(best)) {
					best = p
				}
			}
		}
	}
}

// cost is what is judged and drawn of the microseconds of an operation: these, or
// the nanoseconds of a byte.
func (c *curve) cost(p curvePoint, micros float64) float64 {
	if c.PerByte {
		return micros * 1000 / float64(curveKeyBytes+p.ValueBytes)
	}
	return micros
}

// ratioOfRounds is the median of what a is of b, round by round.
func ratioOfRounds(a, b []float64) float64 {
	var all []float64
	for i := range a {
		all = append(all, a[i]/b[i])
	}
	return median(all)
}

func hundredths(f float64) float64 { return math.Round(f*100) / 100 }
