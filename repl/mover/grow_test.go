package mover

import (
	"testing"
	"time"

	"muster/raft"
)

// Nodes that join get their share, and what is sent to them is of use: the plan is made
// anew after each step, with others half done, and must still want what it began.
func TestGrowWastesNothing(t *testing.T) {
	for seed := range uint64(12) {
		w := newWorld(t, seed, 3, 3+int(seed)*5)
		w.calm = true
		w.until("the new cluster rests", time.Minute, w.idle)
		for n := range 3 {
			w.join(4 + raft.NodeID(n))
			w.run(time.Duration(w.rnd.IntN(8000)) * time.Millisecond)
		}
		w.until("the nodes have their share", time.Hour, w.idle)
		w.asSet()
		if w.wasted > 0 {
			t.Errorf("%d groups: %d replicas added, %d for nothing", len(w.table.Groups), w.adds, w.wasted)
		}
	}
}
