package line

import (
	"testing"

	"muster/repl/puretest"
)

// The meaning of a line must follow from the line, and from the time that is handed in.
func TestImportsArePure(t *testing.T) {
	puretest.Check(t, []string{"bytes", "errors", "fmt", "strconv", "unicode/utf8", "github.com/influxdata/line-protocol/v2/lineprotocol", "muster/shardmap/points", "muster/shardmap/points/column"},
		map[string][]string{"time": {"Duration", "Nanosecond", "Microsecond", "Millisecond", "Second", "Minute", "Hour"}})
}
