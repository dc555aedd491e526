package node

import (
	"fmt"
	"runtime"
)

// Later implements [machine.Asker]: a lister calls read.
func (c *connection) Later(read func()) (found string) {
	if c.long.Add(1) > readQueueShare {
		c.long.Add(-1)
		return fmt.Sprintf("%d long ones of this connection wait, as many as this node keeps", readQueueShare)
	}
	select {
	case c.node.reads <- func() { read(); c.long.Add(-1) }:
		return ""
	default:
		c.long.Add(-1)
		return fmt.Sprintf("%d long ones wait, as many as this node keeps", readQueueMax)
	}
}

// lister reads pages and long gets until the node ends.
func (n *Node) lister() {
	defer n.ended.Done()
	for {
		select {
		case read := <-n.reads:
			read()
			// A long one takes a millisecond, and many may wait: the
			// goroutines that a short request passes through come first.
			runtime.Gosched()
		case <-n.ctx.Done():
			return
		}
	}
}
