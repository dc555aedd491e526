package statement

import (
	"testing"

	"muster/repl/puretest"
)

// The meaning of a statement must follow from its text, the catalog and the shards.
func TestImportsArePure(t *testing.T) {
	puretest.Check(t, []string{"cmp", "encoding/binary", "errors", "fmt", "math", "regexp", "slices", "strings", "github.com/influxdata/influxql",
		"muster/raft", "muster/shardmap", "muster/shardmap/pack", "muster/shardmap/points", "muster/shardmap/points/query", "muster/shardmap/points/rows"},
		map[string][]string{"time": {"Time", "Duration", "Unix", "RFC3339"}})
}
