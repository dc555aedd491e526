package mover

import (
	"testing"
	"time"

	"muster/raft"
	"muster/shardmap"
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

// Nodes that join soon after one another are filled once: what the first could take alone
// is not moved to it while the next is on its way.
func TestJoiningTogetherMovesOnce(t *testing.T) {
	for seed := range uint64(60) {
		w := newWorld(t, seed, 3, 8)
		w.calm = true
		w.until("the new cluster rests", time.Minute, w.idle)
		w.join(4)
		w.until("it is to have its share", time.Minute, func() bool { return w.made[shardmap.JobBalance] > 0 })
		w.join(5)
		w.join(6)
		w.until("the nodes have their share", time.Hour, w.idle)
		w.asSet()
		const share = 8 * 3 / 6
		for n := raft.NodeID(4); n <= 6; n++ {
			if w.addsOn[n] != share {
				t.Errorf("seed %d: %d replicas added on n%d, want %d", seed, w.addsOn[n], n, share)
			}
		}
	}
}
