package node

import (
	"fmt"
	"runtime"
	"time"

	"muster/repl"
	"muster/repl/wire"
	"muster/shardmap"
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

// Ask implements [machine.Asker].
func (c *connection) Ask(r repl.Read, within time.Duration) *wire.Error {
	loop := c.node.running()
	if loop == nil {
		return c.node.notReady()
	}
	r.Deadline = loop.Now() + within
	loop.Read([]repl.Read{r})
	return nil
}

// Table implements [machine.Asker].
func (c *connection) Table() *shardmap.Table { return c.node.table.Load() }

// hearGrant takes more window for a stream. If the stream ended while the grant was on
// its way, the grant is counted and dropped.
func hearGrant(c *connection, h wire.Header, body []byte) {
	var g wire.StreamGrant
	if err := g.Read(body); err != nil {
		refuseStream(c, h, err)
	} else if !c.requests.Streams.Grant(h.Request, g.Limit) {
		c.node.watching.strays.Add(1)
	}
}

// hearCancel ends a stream.
func hearCancel(c *connection, h wire.Header, body []byte) {
	if err := new(wire.Empty).Read(body); err != nil {
		refuseStream(c, h, err)
	} else if !c.requests.Streams.Cancel(h.Request) {
		c.node.watching.strays.Add(1)
	}
}

// refuseStream refuses a malformed word about a stream, and ends the stream if there is
// one.
func refuseStream(c *connection, h wire.Header, err error) {
	refusal := wire.BadBody(h.Type, err)
	if !c.requests.Streams.Refuse(h.Request, refusal) {
		c.refuse(repl.Reply{To: c, Request: h.Request}, refusal)
	}
}

// lister reads pages and long gets until the node ends.
func (n *Node) lister() {
	for {
		select {
		case read := <-n.reads:
			read()
			// A long read takes a millisecond, and many may wait: the goroutines
			// of short requests come first.
			runtime.Gosched()
		case <-n.ctx.Done():
			return
		}
	}
}
