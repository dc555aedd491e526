package trial

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"muster/repl/client/bench"
)

// What the tests that put a load on real nodes for some time have in common. They
// run on demand: what they judge needs a machine that does nothing else.

// onDemand skips a test that was not asked for, and says how to ask.
func onDemand(t *testing.T, asked bool, how string) {
	t.Helper()
	if !asked {
		t.Skipf("takes long and wants a machine that does nothing else; to run it: go test -v ./node/trial -run %s", how)
	}
}

// bench runs muster bench once, in a process of its own, and for as long as it
// takes.
func (c *cluster) bench(args string, values ...any) (r bench.Result) {
	c.t.Helper()
	cmd := command(strings.Fields(fmt.Sprintf("bench --warm-up 1s -o json --endpoints "+c.endpoints()+" "+args, values...))...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, &r)
	}
	if err != nil {
		c.t.Errorf("%v: %v", cmd.Args, err)
		r.Open = new(bench.Open)
	}
	return r
}

// maxRuns is how many runs the maximum is the median of.
const maxRuns = 3

// maximum is how many sets a second the cluster does at most: what 1,024 callers
// get over 16 connections.
func (c *cluster) maximum(keys int) float64 {
	c.t.Helper()
	var all []float64
	for range maxRuns {
		r := c.bench("--op set --connections 16 --in-flight 1024 --duration 3s --keys %d", keys)
		if r.Errors > 0 {
			c.t.Errorf("%d errors while the maximum was measured", r.Errors)
		}
		all = append(all, r.OpsPerS)
	}
	c.t.Logf("maximum: %.0f sets/s, the median of %.0f; 1,024 in flight, 16 connections", median(all), all)
	return median(all)
}

func median[T cmp.Ordered](all []T) T {
	sorted := slices.Clone(all)
	slices.Sort(sorted)
	return sorted[len(sorted)/2]
}

// quantileOf is that of some times.
func quantileOf(q float64, all []time.Duration) time.Duration {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Clone(all)
	slices.Sort(sorted)
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

// leadership says who leads each group, in which term: what no load may change.
func (c *cluster) leadership() string {
	c.t.Helper()
	var status struct {
		Groups []groupRow `json:"groups"`
	}
	c.json(&status, "status")
	var b strings.Builder
	for _, g := range status.Groups {
		fmt.Fprintf(&b, "g%v: %v in term %v; ", g.ID, g.Leader, g.Term)
	}
	return b.String()
}

// sameLeaders checks that no group has had another leader, or another term.
func (c *cluster) sameLeaders(before string) {
	c.t.Helper()
	if after := c.leadership(); after != before {
		c.t.Errorf("leaders or terms changed:\nbefore: %s\nafter:  %s", before, after)
	}
}

// resident is what each node has in memory, in megabytes.
func (c *cluster) resident() (all []float64) {
	c.t.Helper()
	for _, p := range c.nodes {
		now, _ := p.memory(c.t)
		all = append(all, float64(now)/1e6)
	}
	return all
}

// logOf is what a node has logged up to now.
func (c *cluster) logOf(i int) string {
	c.t.Helper()
	text, err := os.ReadFile(c.nodes[i].log)
	if err != nil {
		c.t.Fatal(err)
	}
	return string(text)
}
