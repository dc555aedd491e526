package notary

import (
	"testing"

	"muster/repl/puretest"
)

// The cores must decide about certificates by nothing but what they are told. A clock, a socket or
// chance would come in by an import; the list is short so that a new one is looked at.
func TestCoresArePure(t *testing.T) {
	puretest.Check(t, []string{"errors", "fmt", "slices",
		"muster/raft", "muster/repl/trust", "muster/repl/wire", "muster/shardmap", "muster/shardmap/access"}, map[string][]string{"time": {"Duration", "Millisecond", "Second", "Minute", "Hour", "Unix", "RFC3339"}})
}
