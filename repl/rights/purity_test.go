package rights

import (
	"testing"

	"muster/repl/puretest"
)

// Rights must follow from nothing but what the owner says. A clock, a socket or
// chance would come in by an import; the list is short so that a new one is looked at.
func TestRightsArePure(t *testing.T) {
	puretest.Check(t, []string{"fmt",
		"muster/raft", "muster/repl/wire", "muster/shardmap", "muster/shardmap/access"}, map[string][]string{"time": {"Duration", "Millisecond", "Minute"}})
}
