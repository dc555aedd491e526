//go:build plantedbugs

package query_test

import (
	"testing"

	"muster/shardmap/points/query"
)

// Each bug must be found by the script, whose data lies in several shards.
func TestPlantedBugs(t *testing.T) {
	for _, bug := range []string{"selection of a later shard lost", "mean of means", "window cut in two"} {
		query.SetBug(bug)
		if selectWrong(t) == "" {
			t.Errorf("%s: not found", bug)
		}
		query.SetBug("")
	}
}
