package load

import (
	"flag"
	"fmt"
	"testing"

	"muster/node/trial/clustertest"
)

var (
	sinceCommit = flag.String("since", "", "with which `COMMIT` TestCostSince compares this build")
	sinceRounds = flag.Int("sincecost", 12, "in how many rounds of fresh clusters `N` it does")
)

// sinceWrite is by how much a change may raise the nodes' processor time for a write.
const sinceWrite = 1.02

// What comes beside reads and writes must not make them dearer. A cluster of another commit's build runs beside
// one of this build, each as it comes, with TLS; how they are compared says TestSecurityCost.
func TestCostSince(t *testing.T) {
	clustertest.OnDemand(t, *sinceCommit != "", "./node/trial/load -run TestCostSince -since COMMIT -sincecost 12 -timeout 20m")
	if *sinceRounds < securityRoundsMin {
		t.Fatalf("-sincecost %d; want %d or more", *sinceRounds, securityRoundsMin)
	}
	sides := []costSide{
		{"before", func(t *testing.T) *clustertest.Cluster {
			c := clustertest.New(t, 3)
			for _, p := range c.Nodes {
				p.Binary = clustertest.OlderBinary(t, *sinceCommit)
			}
			return c
		}},
		{"this build", func(t *testing.T) *clustertest.Cluster { return clustertest.New(t, 3) }},
	}
	costs := newCosts(len(sides), sinceWrite, 0, 0, 0)
	for round := range *sinceRounds {
		ok := t.Run(fmt.Sprintf("round %d", round+1), func(t *testing.T) {
			clusters, clients := costClusters(t, sides)
			for _, x := range costs {
				x.round(clusters, clients, round)
			}
		})
		if !ok {
			t.FailNow()
		}
	}
	t.Logf("\n%s", costTable(t, sides, costs))
}
