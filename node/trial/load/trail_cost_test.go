package load

import (
	"flag"
	"fmt"
	"math"
	"strings"
	"testing"

	"muster/node/trial/clustertest"
)

var trailRounds = flag.Int("trailcost", 0, "over how many `ROUNDS` TestTrailCost compares the policies of the trail; the figures of docs/performance.md are of 12")

// trailRoundsMin is how many rounds there must be for an interval to mean something.
const trailRoundsMin = 3

// Nobody can choose a policy of the trail without knowing what it adds to the nodes' cost of reads and
// writes. The policies take turns on one cluster, in another order each round, and are compared within a
// round: what else the machine does meanwhile hits all of them.
func TestTrailCost(t *testing.T) {
	clustertest.OnDemand(t, *trailRounds > 0, "./node/trial/load -run TestTrailCost -trailcost 12 -timeout 20m")
	if *trailRounds < trailRoundsMin {
		t.Fatalf("-trailcost %d; want %d or more", *trailRounds, trailRoundsMin)
	}
	c := clustertest.Start(t, 3)
	policies := []string{"none", "metadata", "request"}
	type measured struct{ op, policy string }
	cost, ratios := make(map[measured][]float64), make(map[measured][]float64)
	for round := range *trailRounds {
		for i := range policies {
			policy := policies[(round+i)%len(policies)]
			c.Run("setting", "set", "trail-policy", policy).Done(t)
			for _, op := range []string{"set", "get"} {
				r := runBench(c, "--op %s --connections 16 --in-flight 64 --keys 10000 --duration 2s", op)
				cost[measured{op, policy}] = append(cost[measured{op, policy}], r.ServerCPU)
			}
		}
		for _, op := range []string{"set", "get"} {
			for _, policy := range policies {
				all, none := cost[measured{op, policy}], cost[measured{op, policies[0]}]
				ratios[measured{op, policy}] = append(ratios[measured{op, policy}], all[round]/none[round])
			}
		}
	}
	var b strings.Builder
	for _, op := range []string{"set", "get"} {
		for _, policy := range policies {
			m := measured{op, policy}
			mean, low, high := geometric(ratios[m])
			middle, _, _ := geometric(cost[m])
			fmt.Fprintf(&b, "| %s | `%s` | %.1f µs | %.2f (%.2f to %.2f) |\n", op, policy, middle, mean, low, high)
		}
	}
	t.Logf("nodes' processor time of an operation, and its ratio to none, with 95 %%:\n%s", b.String())
	for _, p := range c.Nodes {
		t.Logf("%s", c.Run("audit", "verify", p.Data).Stdout)
	}
}

// geometric returns the geometric mean of some figures, and its interval of 95 %.
func geometric(figures []float64) (mean, low, high float64) {
	var sum, squares float64
	n := float64(len(figures))
	for _, f := range figures {
		sum += math.Log(f)
	}
	for _, f := range figures {
		squares += (math.Log(f) - sum/n) * (math.Log(f) - sum/n)
	}
	const t95 = 2.2 // Student's t of 11 degrees of freedom
	half := t95 * math.Sqrt(squares/(n-1)/n)
	return math.Exp(sum / n), math.Exp(sum/n - half), math.Exp(sum/n + half)
}
