package sim

import (
	"testing"
	"time"
)

// A node knows soon that its disk has room again, though nobody writes to it. The
// log asks the disk when it prepares a segment; if that was in a bad moment and
// what is prepared lasts for long, a host that goes by the answer drops every
// append that is larger than what is prepared, for ever.
func TestRoomIsSeenAtRest(t *testing.T) {
	c := &cluster{options: Options{Groups: 1, Nodes: 3}, chance: 1}
	c.chaos.c = c
	defer func() {
		if f, ok := recover().(*Failure); ok {
			t.Fatal(f)
		}
	}()
	defer c.close()
	c.found()
	n := c.nodes[0]
	n.files.fill(time.Hour)
	c.until("the node sees that its disk is full", 2*roomPause, func() bool { return n.store.Space().Free < 1<<20 })
	if n.store.Space().Short {
		t.Fatalf("nothing is left prepared: %+v", n.store.Space())
	}
	n.files.makeRoom()
	c.until("the node sees that its disk has room", 2*roomPause, func() bool { return n.store.Space().Free > 1<<30 })
}
