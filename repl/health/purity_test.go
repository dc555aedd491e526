package health

import (
	"testing"

	"muster/repl/puretest"
)

// What is up must depend on nothing but what the cores are told. A clock, a socket or chance
// would come in by an import; the list is short so that a new one is looked at.
func TestCoresArePure(t *testing.T) {
	puretest.Check(t, []string{"cmp", "container/heap", "errors", "fmt", "maps", "slices", "strconv", "unicode/utf8",
		"muster/raft", "muster/repl/wire", "muster/shardmap", "muster/shardmap/registry"}, map[string][]string{"time": {"Duration", "Time", "Millisecond", "Second", "Minute", "Hour"}})
}
