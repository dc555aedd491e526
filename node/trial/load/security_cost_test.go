package load

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"muster/node/trial/clustertest"
	"muster/repl/client"
	"muster/repl/client/bench"
	"muster/repl/client/home"
)

var securityRounds = flag.Int("securitycost", 0, "in how many rounds of fresh clusters `N` TestSecurityCost compares this build with the one before TLS; the figures of docs/performance.md are of 12")

// withoutSecurity is the last commit before TLS, users and permissions.
const withoutSecurity = "1003f5a4fa66177edd26f55f733040abe353564b"

const (
	// securityRoundsMin is how many pairs say anything.
	securityRoundsMin = 10
	// securityRun is how long the nodes' processor time is measured at a stretch, after
	// securityWarm, and securityAlone the same for one client's p50.
	securityRun   = 1200 * time.Millisecond
	securityWarm  = 300 * time.Millisecond
	securityAlone = 600 * time.Millisecond
	securityValue = 128 // bytes
	securityKeys  = 10_000
	securityKey   = 16 // bytes, the default of bench
	// rightsFor is how long the nodes are sampled for the share of permission checks, under
	// each load and user, and rightsMost how large that may be.
	rightsFor  = 5 * time.Second
	rightsMost = 0.01
)

// costSide is a build and a way to run it.
type costSide struct {
	name string
	from func(t *testing.T) *clustertest.Cluster
}

// The sides: each is compared with the first.
var securitySides = []costSide{
	{"before", func(t *testing.T) *clustertest.Cluster {
		secret := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(secret, []byte("only this test knows it\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		c := clustertest.New(t, 3, "--secret-file", secret)
		c.Secret, c.Clear = secret, true
		for _, p := range c.Nodes {
			p.Binary = clustertest.OlderBinary(t, withoutSecurity)
		}
		return c
	}},
	{"--insecure", func(t *testing.T) *clustertest.Cluster { return clustertest.New(t, 3, "--insecure") }},
	{"TLS", func(t *testing.T) *clustertest.Cluster { return clustertest.New(t, 3) }},
}

// buildCost is one thing that is measured, of each side in each round.
type buildCost struct {
	name    string
	goal    float64 // of the last side to the first, at most; 0: none
	measure func(c *clustertest.Cluster, cl *client.Client) float64
	by      [][]float64 // in µs, by side and round
}

// loaded measures the nodes' processor time for an operation, with the side's own bench: in µs.
func loaded(op bench.Op) func(c *clustertest.Cluster, _ *client.Client) float64 {
	return func(c *clustertest.Cluster, _ *client.Client) float64 {
		args := []string{"bench", "-o", "json", "--endpoints", c.Endpoints(), "--op", string(op), "--in-flight", "1024", "--connections", "16",
			"--keys", strconv.Itoa(securityKeys), "--key-size", strconv.Itoa(securityKey), "--value-size", strconv.Itoa(securityValue), "--duration", securityRun.String(), "--warm-up", securityWarm.String()}
		if c.Secret != "" {
			args = append(args, "--secret-file", c.Secret)
		} else if c.Clear {
			args = append(args, "--insecure")
		}
		var r bench.Result
		benchOf(c, c.CommandOf(c.Nodes[0].Binary, args...), &r)
		return r.ServerCPU
	}
}

// benchOf runs a bench and reads its one result.
func benchOf(c *clustertest.Cluster, cmd *exec.Cmd, r *bench.Result) {
	c.T.Helper()
	var said bytes.Buffer
	cmd.Stderr = &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, r)
	}
	if err != nil || r.Errors > 0 || r.ServerCPU <= 0 {
		c.T.Fatalf("%v: %d errors, %v\n%s", cmd.Args, r.Errors, err, &said)
	}
}

// alone measures the p50 of one client that has one request under way, in µs. The client is this
// build's on all sides: the quantiles of bench are too coarse for a tenth.
func alone(do func(ctx context.Context, cl *client.Client, key []byte) error) func(c *clustertest.Cluster, cl *client.Client) float64 {
	return func(c *clustertest.Cluster, cl *client.Client) float64 {
		ctx, cancel := context.WithTimeout(context.Background(), clustertest.ReadyMax)
		defer cancel()
		var all []time.Duration
		for began, i := time.Now(), 0; time.Since(began) < securityWarm+securityAlone; i++ {
			key := fmt.Appendf(nil, "bench/%010d", i*7919%securityKeys)
			at := time.Now()
			if err := do(ctx, cl, key); err != nil {
				c.T.Fatal(err)
			}
			if at.Sub(began) > securityWarm {
				all = append(all, time.Since(at))
			}
		}
		return float64(quantileOf(0.5, all).Nanoseconds()) / 1000
	}
}

// TLS, users and permissions must cost little, or people leave them out. The build before
// them runs beside this one, and beside this one with --insecure, which tells TLS apart from the rest.
// In each round all three found fresh clusters, and each measurement goes through them forth and
// back, so that neither a drift of the machine nor a cluster that was lucky with its leaders counts
// for one side. What is judged is the 95 % interval of the mean ratio of a round.
func TestSecurityCost(t *testing.T) {
	clustertest.OnDemand(t, *securityRounds > 0, "./node/trial/load -run TestSecurityCost -securitycost 12 -timeout 20m")
	if *securityRounds < securityRoundsMin {
		t.Fatalf("-securitycost %d; want %d or more", *securityRounds, securityRoundsMin)
	}
	costs := newCosts(len(securitySides), 1.15, 1.20, 1.10, 1.10)
	var rights rightsShares
	for round := range *securityRounds {
		ok := t.Run(fmt.Sprintf("round %d", round+1), func(t *testing.T) {
			clusters, clients := costClusters(t, securitySides)
			for _, x := range costs {
				x.round(clusters, clients, round)
			}
			if round == *securityRounds-1 {
				rights = rightsCost(clusters[len(clusters)-1])
			}
		})
		if !ok {
			t.FailNow()
		}
	}
	t.Logf("\n%s", costTable(t, securitySides, costs))
	t.Logf("\n%s", rights.table(t))
}

// newCosts are what is measured of builds, for so many sides, with their goals.
func newCosts(sides int, write, read, set, get float64) []*buildCost {
	value := make([]byte, securityValue)
	costs := []*buildCost{
		{name: "nodes' CPU for a write, 1,024 in flight", goal: write, measure: loaded(bench.OpSet)},
		{name: "nodes' CPU for a read, 1,024 in flight", goal: read, measure: loaded(bench.OpGet)},
		{name: "p50 of one client's set", goal: set, measure: alone(func(ctx context.Context, cl *client.Client, key []byte) error {
			_, err := cl.Set(ctx, key, value, client.WriteOptions{})
			return err
		})},
		{name: "p50 of one client's get", goal: get, measure: alone(func(ctx context.Context, cl *client.Client, key []byte) error {
			_, _, err := cl.Get(ctx, [][]byte{key}, client.ReadOptions{})
			return err
		})},
	}
	for _, x := range costs {
		x.by = make([][]float64, sides)
	}
	return costs
}

// costClusters founds one cluster of each side, all at once.
func costClusters(t *testing.T, sides []costSide) (clusters []*clustertest.Cluster, clients []*client.Client) {
	t.Helper()
	for _, side := range sides {
		c := side.from(t)
		c.Plain = true
		for i := range c.Nodes {
			c.Start(i)
		}
		clusters = append(clusters, c)
	}
	for _, c := range clusters {
		c.Healthy()
		if !c.Clear {
			c.GoesByCertificates()
		}
		cl := c.Client()
		clients = append(clients, cl)
		plan := bench.Plan{Op: bench.OpSet, InFlight: 256, Keys: securityKeys, KeyBytes: securityKey, ValueBytes: securityValue, Duration: time.Second, Grace: clustertest.ReadyMax}
		if err := bench.Fill(t.Context(), cl, plan); err != nil {
			t.Fatal(err)
		}
	}
	return clusters, clients
}

// round measures all sides twice, forth and back; which one is first changes with the rounds.
func (x *buildCost) round(clusters []*clustertest.Cluster, clients []*client.Client, round int) {
	n := len(clusters)
	sums := make([]float64, n)
	for turn := range 2 * n {
		at := turn
		if turn >= n {
			at = 2*n - 1 - turn
		}
		i := (at + round) % n
		sums[i] += x.measure(clusters[i], clients[i])
	}
	for i, sum := range sums {
		x.by[i] = append(x.by[i], sum/2)
	}
}

// meanRatio is the geometric mean of the ratios of two series, b to a, and its 95 % interval by
// Student's t of their logarithms.
func meanRatio(a, b []float64) (mean, low, high float64) {
	n := float64(len(a))
	var sum, squares float64
	for i := range a {
		sum += math.Log(b[i] / a[i])
	}
	m := sum / n
	for i := range a {
		d := math.Log(b[i]/a[i]) - m
		squares += d * d
	}
	off := studentT(len(a)-1) * math.Sqrt(squares/(n-1)/n)
	return math.Exp(m), math.Exp(m - off), math.Exp(m + off)
}

// studentT is how many standard errors from the mean the middle 95 % reach, with so many degrees
// of freedom: rounded up between those of the table.
func studentT(freedom int) float64 {
	for _, row := range []struct {
		least int
		t     float64
	}{{60, 2.00}, {40, 2.02}, {30, 2.04}, {25, 2.06}, {20, 2.09}, {17, 2.11}, {15, 2.13}, {13, 2.16}, {12, 2.18}, {11, 2.20}, {10, 2.23}, {9, 2.26}, {8, 2.31}, {7, 2.36}, {6, 2.45}, {5, 2.57}, {4, 2.78}, {3, 3.18}, {2, 4.30}} {
		if freedom >= row.least {
			return row.t
		}
	}
	return 12.7
}

// The interval must be that of the textbook: ratios of 1.1 and 1.3 in turns have their mean at the
// square root of 1.43, and the more there are of them, the closer the interval is.
func TestMeanRatio(t *testing.T) {
	series := func(n int) (a, b []float64) {
		for i := range n {
			a = append(a, float64(10+i))
			b = append(b, a[i]*[]float64{1.1, 1.3}[i%2])
		}
		return a, b
	}
	for _, tt := range []struct {
		n         int
		low, high float64
	}{{10, 1.1229, 1.2735}, {20, 1.1484, 1.2452}} {
		a, b := series(tt.n)
		mean, low, high := meanRatio(a, b)
		if math.Abs(mean-math.Sqrt(1.43)) > 1e-9 || math.Abs(low-tt.low) > 0.001 || math.Abs(high-tt.high) > 0.001 {
			t.Errorf("of %d: got %.4f (%.4f to %.4f), want %.4f (%.4f to %.4f)", tt.n, mean, low, high, math.Sqrt(1.43), tt.low, tt.high)
		}
	}
}

// costTable is what was measured, as a table for docs/performance.md, and judges it.
func costTable(t *testing.T, sides []costSide, costs []*buildCost) string {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "%d rounds; µs, medians; ratios with their 95 %% intervals\n\n", len(costs[0].by[0]))
	b.WriteString("| |")
	for _, side := range sides {
		fmt.Fprintf(&b, " %s |", side.name)
	}
	for _, side := range sides[1:] {
		fmt.Fprintf(&b, " %s to %s |", side.name, sides[0].name)
	}
	last := sides[len(sides)-1].name
	fmt.Fprintf(&b, " goal of %s | |\n|%s\n", last, strings.Repeat("---|", 2*len(sides)+2))
	for _, x := range costs {
		fmt.Fprintf(&b, "| %s |", x.name)
		for _, all := range x.by {
			fmt.Fprintf(&b, " %.2f |", median(all))
		}
		var low, high float64
		for _, all := range x.by[1:] {
			var mean float64
			mean, low, high = meanRatio(x.by[0], all)
			fmt.Fprintf(&b, " %.3f (%.3f to %.3f) |", mean, low, high)
		}
		if x.goal == 0 {
			b.WriteString(" | |\n")
			continue
		}
		verdict := "reached"
		switch {
		case low > x.goal:
			verdict = "**short**"
		case high > x.goal:
			verdict = "**not shown**"
		}
		if verdict != "reached" {
			t.Errorf("%s: %s to %s is within %.3f to %.3f; want at most %.2f", x.name, last, sides[0].name, low, high, x.goal)
		}
		fmt.Fprintf(&b, " %.2f | %s |\n", x.goal, verdict)
	}
	return b.String()
}

// rightsShare is how many samples of the nodes were taken under a load, and in how many of them
// permissions were checked.
type rightsShare struct{ inside, all int }

// rightsShares are those by what is done: by an administrator, and by a user with one narrow role.
type rightsShares map[bench.Op][2]rightsShare

// rightsCost samples the nodes under sets and gets of both users; nil where there is no perf.
func rightsCost(c *clustertest.Cluster) rightsShares {
	c.T.Helper()
	if _, err := exec.LookPath("perf"); err != nil {
		return nil
	}
	narrow := filepath.Join(c.Dir, "narrow")
	for _, args := range [][]string{
		{"role", "create", "app"}, {"role", "grant", "app", "read,write", "bench/"},
		{"user", "create", "narrow"}, {"user", "grant", "narrow", "app"},
		{"user", "cert", "narrow", "--out", narrow},
	} {
		if r := c.Run(args...); r.Status != clustertest.ExitDone {
			c.T.Fatalf("%v: status %d: %s", args, r.Status, r.Stderr)
		}
	}
	shares := rightsShares{}
	for _, op := range []bench.Op{bench.OpSet, bench.OpGet} {
		shares[op] = [2]rightsShare{rightsSamples(c, op, ""), rightsSamples(c, op, narrow)}
	}
	return shares
}

// table is what was sampled, as a table, and judges it.
func (r rightsShares) table(t *testing.T) string {
	t.Helper()
	if r == nil {
		return "permission checks are not measured: there is no perf here to look at the nodes with"
	}
	var b strings.Builder
	b.WriteString("| permission checks, share of the nodes' time | administrator | user with one narrow role | goal |\n|---|---|---|---|\n")
	for _, op := range []bench.Op{bench.OpSet, bench.OpGet} {
		fmt.Fprintf(&b, "| %s, 1,024 in flight |", op)
		for i, x := range r[op] {
			share := float64(x.inside) / float64(x.all)
			off := 1.96 * math.Sqrt(share*(1-share)/float64(x.all))
			fmt.Fprintf(&b, " %.2f %% (%.2f to %.2f), %d of %d samples |", 100*share, 100*(share-off), 100*(share+off), x.inside, x.all)
			if share > rightsMost {
				t.Errorf("permission checks took %.2f %% of the nodes' time under %ss of %s; want at most %.0f %%", 100*share, op, []string{"an administrator", "a user with a narrow role"}[i], 100*rightsMost)
			}
		}
		fmt.Fprintf(&b, " %.0f %% |\n", 100*rightsMost)
	}
	return b.String()
}

// rightsSamples samples the nodes under a load by the user whose credential is in dir, or by this one if
// that is empty, and counts the samples in which permissions are checked.
func rightsSamples(c *clustertest.Cluster, op bench.Op, dir string) (x rightsShare) {
	c.T.Helper()
	load := c.Command("bench", "-o", "json", "--endpoints", c.Endpoints(), "--op", string(op), "--in-flight", "1024", "--connections", "16",
		"--keys", strconv.Itoa(securityKeys), "--duration", (rightsFor + time.Second).String(), "--warm-up", securityWarm.String())
	if dir != "" {
		load.Env = append(load.Env, home.Variable+"="+dir)
	}
	var pids []string
	for _, p := range c.Nodes {
		pids = append(pids, strconv.Itoa(p.Cmd.Process.Pid))
	}
	data := filepath.Join(c.T.TempDir(), "perf.data")
	record := exec.Command("perf", "record", "-o", data, "-e", "cpu-clock", "-c", strconv.Itoa(int(stagePeriod)), "--call-graph", "fp",
		"-p", strings.Join(pids, ","), "--", "sleep", fmt.Sprint(rightsFor.Seconds()))
	record.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var said bytes.Buffer
	record.Stdout, record.Stderr = &said, &said
	if err := record.Start(); err != nil {
		c.T.Fatal(err)
	}
	var r bench.Result
	benchOf(c, load, &r)
	if err := record.Wait(); err != nil {
		c.T.Fatalf("perf can't look at the nodes: %v\n%s", err, &said)
	}
	out, err := exec.Command("perf", "script", "-i", data, "--no-inline", "-F", "pid,ip,sym").Output()
	if err != nil {
		c.T.Fatalf("perf script: %v", err)
	}
	err = eachSample(bytes.NewReader(out), func(stack []string) {
		x.all++
		if slices.ContainsFunc(stack, func(frame string) bool { return isDoor(frame, "muster/node.authorize") }) {
			x.inside++
		}
	})
	if err != nil || x.all == 0 {
		c.T.Fatalf("%d samples, %v\n%s", x.all, err, &said)
	}
	return x
}
