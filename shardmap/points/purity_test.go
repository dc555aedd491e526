package points

import (
	"testing"

	"muster/repl/puretest"
)

// Where a point goes must follow from the point. Chance comes in for the places of names in a
// table, which decide nothing (dictionary.go); no clock does.
func TestImportsArePure(t *testing.T) {
	puretest.Check(t, []string{"bytes", "cmp", "encoding/binary", "errors", "fmt", "hash/maphash", "iter", "math", "slices", "strconv", "strings", "unicode/utf8", "github.com/cespare/xxhash/v2", "muster/shardmap/points/column"},
		map[string][]string{"time": {"Duration"}})
}
