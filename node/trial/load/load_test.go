package load

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"muster/node/trial/clustertest"
	"muster/repl/client/bench"
)

// The tests that put a load on real nodes for some time share this. They run on
// demand: what they judge needs a machine that does nothing else.

// runBench runs muster bench once, in a process of its own, and for as long as it
// takes.
func runBench(c *clustertest.Cluster, args string, values ...any) (r bench.Result) {
	c.T.Helper()
	cmd := clustertest.Command(strings.Fields(fmt.Sprintf("bench --warm-up 1s -o json --endpoints "+c.Endpoints()+" "+args, values...))...)
	cmd.Stderr = os.Stderr
	if c.Clear {
		cmd.Env = append(cmd.Environ(), "MUSTER_INSECURE=true")
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, &r)
	}
	if err != nil {
		c.T.Errorf("%v: %v", cmd.Args, err)
		r.Open = new(bench.Open)
	}
	return r
}

// maxRuns is how many runs the maximum is the median of.
const maxRuns = 3

// maximumOf is how many sets a second the cluster does at most: what 1,024 callers
// get over 16 connections.
func maximumOf(c *clustertest.Cluster, keys int) float64 {
	c.T.Helper()
	var all []float64
	for range maxRuns {
		r := runBench(c, "--op set --connections 16 --in-flight 1024 --duration 3s --keys %d", keys)
		if r.Errors > 0 {
			c.T.Errorf("%d errors while the maximum was measured", r.Errors)
		}
		all = append(all, r.OpsPerS)
	}
	c.T.Logf("maximum: %.0f sets/s, the median of %.0f; 1,024 in flight, 16 connections", median(all), all)
	return median(all)
}

func median[T cmp.Ordered](all []T) T {
	sorted := slices.Clone(all)
	slices.Sort(sorted)
	return sorted[len(sorted)/2]
}

// quantileOf returns a quantile of some times.
func quantileOf(q float64, all []time.Duration) time.Duration {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Clone(all)
	slices.Sort(sorted)
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

// leadershipOf says who leads each group, in which term: what no load may change.
func leadershipOf(c *clustertest.Cluster) string {
	c.T.Helper()
	var status struct {
		Groups []clustertest.GroupRow `json:"groups"`
	}
	c.JSON(&status, "status")
	var b strings.Builder
	for _, g := range status.Groups {
		fmt.Fprintf(&b, "g%v: %v in term %v; ", g.ID, g.Leader, g.Term)
	}
	return b.String()
}

// sameLeaders checks that no group has had another leader, or another term.
func sameLeaders(c *clustertest.Cluster, before string) {
	c.T.Helper()
	if after := leadershipOf(c); after != before {
		c.T.Errorf("leaders or terms changed:\nbefore: %s\nafter:  %s", before, after)
	}
}

// residentOf is what each node has in memory, in megabytes.
func residentOf(c *clustertest.Cluster) (all []float64) {
	c.T.Helper()
	for _, p := range c.Nodes {
		now, _ := p.Memory(c.T)
		all = append(all, float64(now)/1e6)
	}
	return all
}
