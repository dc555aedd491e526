package rows

import (
	"testing"

	"muster/repl/puretest"
)

// An answer must follow from the results alone: two nodes write the same bytes.
func TestImportsArePure(t *testing.T) {
	puretest.Check(t, []string{"encoding/csv", "encoding/json", "fmt", "io", "math", "slices", "strconv", "strings", "unicode/utf8",
		"muster/shardmap/points", "muster/shardmap/points/column"},
		map[string][]string{"time": {"Location", "UTC", "Unix", "RFC3339Nano", "Nanosecond", "Microsecond", "Millisecond", "Second", "Minute", "Hour"}})
}
