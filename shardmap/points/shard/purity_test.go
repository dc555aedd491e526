package shard

import (
	"testing"

	"muster/repl/puretest"
)

// A shard must follow from its entries. Chance comes in for the places of names in tables, which decide nothing;
// a lock, because views are read by other goroutines.
func TestImportsArePure(t *testing.T) {
	puretest.Check(t, []string{"bytes", "cmp", "encoding/binary", "errors", "fmt", "hash/maphash", "io", "iter", "maps", "math", "slices", "sort", "sync", "sync/atomic", "unsafe", "github.com/cespare/xxhash/v2",
		"muster/shardmap/points", "muster/shardmap/points/block", "muster/shardmap/points/column"}, nil)
}
