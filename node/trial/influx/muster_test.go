package influx

import (
	"flag"
	"testing"
)

var (
	seedFlag    = flag.Uint64("seed", 0, "of the first data")
	queriesFlag = flag.Uint64("queries", 1200, "how many queries are put to both, over all data")
)

// Muster has to answer what InfluxDB answers: that is what a client that changes over expects, down to the empty window
// and the name of a column. Both are asked the same seeded queries about the same seeded points, which lie here in five
// windows of three shards, in files, frozen heads and heads. A difference must be of a kind that is known, and that
// docs/coming-from.md tells of.
func TestAnswersAreThoseOfInfluxDB(t *testing.T) {
	Compare(t, *seedFlag, *queriesFlag, func(_ uint64, d *Data) Answerer {
		m, err := Load(d)
		if err != nil {
			t.Fatal(err)
		}
		return m
	})
}
