package query

import (
	"testing"

	"muster/repl/puretest"
)

// The answer to a query must follow from the points, and from the time that is handed in. The parser loads the zone that
// tz() names, which is the one thing that comes from the host; shards get its rules with the request.
func TestImportsArePure(t *testing.T) {
	puretest.Check(t, []string{"cmp", "encoding/binary", "errors", "fmt", "iter", "math", "regexp", "slices", "sort", "strconv", "strings",
		"github.com/influxdata/influxql", "muster/shardmap/points", "muster/shardmap/points/column", "muster/shardmap/points/rows"},
		map[string][]string{"time": {"Date", "Duration", "Hour", "Location", "Month", "Second", "Time", "UTC", "Unix"}})
}
