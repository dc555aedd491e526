package node

import (
	"fmt"
	"testing"

	"muster/repl/client"
	"muster/repl/wire"
)

// The counters have rows for the latency of the writes and reads that a node has just answered, and
// of its log: a person sees them live.
func TestLatencyRows(t *testing.T) {
	r := serving(t, defaultLimits())
	lib := r.library()
	defer lib.Close()
	const each = 20
	for i := range each {
		k := fmt.Appendf(nil, "k%d", i)
		if _, err := lib.Set(t.Context(), k, []byte("v"), client.WriteOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, _, err := lib.Get(t.Context(), [][]byte{k}, client.ReadOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	cl := r.client()
	defer cl.Close()
	_, body, err := cl.ask(wire.TypeCounters, 0, new(wire.Empty).Append(nil))
	if err != nil {
		t.Fatal(err)
	}
	var a wire.CountersAnswer
	if err := a.Read(body); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{wire.LatencyWrites, wire.LatencyReads, wire.LatencySyncs} {
		if l := wire.LatencyIn(a.Rows, name); l.Count < each || l.P50 <= 0 || l.P99 < l.P50 {
			t.Errorf("%s: %+v, want %d or more, and times", name, l, each)
		}
	}
}
