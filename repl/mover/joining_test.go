package mover

import (
	"testing"
	"time"

	"muster/shardmap"
)

// A host that was taken in, and has not said anything to the leader yet, is as new as it
// is: that the leader has led for longer than dead-after says nothing about it.
func TestNewNodeIsNotLost(t *testing.T) {
	w := calmWorld(t, 3, 4)
	w.run(w.table.DeadAfter() + time.Minute)
	w.join(4)
	n := w.nodes[4]
	n.up, n.upAt = false, w.now+5*time.Second
	w.until("it is there", time.Minute, func() bool { return n.up })
	w.until("it has its copy of the table", time.Minute, w.idle)
	for _, j := range w.table.Jobs {
		if j.Kind == shardmap.JobJoin && j.State != shardmap.JobDone {
			t.Errorf("the join ends as %v: %s", j.State, j.Why)
		}
	}
}
