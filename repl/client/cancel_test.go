package client

import (
	"testing"
	"time"

	"muster/repl/wire"
)

// The context of a write ends just as the answer maybe-applied has been taken
// off its connection: the caller must still be told that it may be applied.
func TestCancelledAsItIsRefused(t *testing.T) {
	f := newFake(t, 1, 1)
	c := f.open(Options{})
	if _, err := c.Set(within(t, 10*time.Second), []byte("a"), nil, WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	x := newCall(wire.TypeWrite)
	x.Write, x.Deadline = true, c.now()+time.Minute
	x.cancelled.Store(true) // do: <-ctx.Done(), c.cancel(x): not on the link any more, not in the core yet
	c.refused(x, 0, wire.MaybeApplied("group 1", "its leader changed").Append(nil))
	<-x.done
	if codeOf(x.err) != wire.CodeMaybeApplied {
		t.Errorf("got %v, want maybe-applied", x.err)
	}
}
