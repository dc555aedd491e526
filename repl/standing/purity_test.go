package standing

import (
	"testing"

	"muster/repl/puretest"
)

// The rules must follow from what is given: a clock, a file or chance would come in by an import.
func TestPure(t *testing.T) {
	puretest.Check(t, []string{"errors", "fmt", "muster/raft", "muster/repl/trust", "muster/shardmap"}, nil)
}
