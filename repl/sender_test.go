package repl

import (
	"testing"

	"muster/repl/wire"
)

// A node that is sent a snapshot loses what it had of it, and says so. The sender ends
// the stream, so that the next one begins anew: what it would send from here on would
// never follow what is there, and each answer would have it sent again at once.
func TestSnapshotLostOnTheWay(t *testing.T) {
	c := written(t, 23, 5)
	n := c.nodes[0]
	c.snapshot(n)
	s := n.store.Snapshots(n.replica().replica)[0]
	o, err := OpenSender(n.store, &SnapshotStream{Number: 1, Snapshot: s})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	piece := max(1, int(s.Size)/20)
	o.Limit(piece)
	send := func() (chunks int) {
		for {
			var chunk wire.Chunk
			more, err := o.Next(&chunk)
			if err != nil {
				t.Fatal(err)
			}
			if !more {
				return chunks
			}
			chunks++
		}
	}
	answer := func(offset int) {
		o.Answered(&wire.ChunkAnswer{Number: 1, State: wire.ChunkTaken, Offset: uint64(offset)})
	}
	if n := send(); n != 1 {
		t.Fatalf("%d chunks before the first answer, want the question alone", n)
	}
	answer(0)
	sent := send()
	for i := range sent {
		answer((i + 1) * piece)
	}
	send()
	answer(0)
	if n := send(); n > 0 {
		t.Errorf("the other side has lost all, and is sent %d chunks behind that", n)
	}
	if over, err := o.Ended(); !over || err == nil {
		t.Errorf("the other side has lost all: the stream is over: %v, with %v; want an error", over, err)
	}
}
