package node

import (
	"fmt"
	"sync/atomic"
	"time"

	"muster/repl"
	"muster/repl/machine"
	"muster/repl/wire"
	"muster/shardmap"
)

// watching feeds the streams of clients that wait for what happens here.
type watching struct {
	// Set once.
	node *Node
	feed *machine.Feed
	wake chan struct{} // one token: a turn of feed has something to do. From many, to run; never closed

	// strays counts grants and cancellations for streams that a connection does not have.
	strays atomic.Uint64
}

// init readies w, before the first connection.
func (w *watching) init(n *Node) {
	w.node, w.wake = n, make(chan struct{}, 1)
	w.feed = machine.NewFeed(machine.FeedConfig{Due: w.due, Table: n.table.Load, Topology: w.topology})
}

// due wakes run.
func (w *watching) due() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// run turns the feed, until the node ends. Nothing of that is done by the loop: one event may
// be for ten thousand clients.
func (w *watching) run() {
	later := time.NewTimer(0)
	defer later.Stop()
	for {
		select {
		case <-w.wake:
		case <-later.C:
		case <-w.node.ctx.Done():
			return
		}
		now := w.node.running().Now()
		if next, waits := w.feed.Turn(now); waits {
			later.Reset(max(next-now, 0))
		} else {
			later.Stop()
		}
	}
}

// topology is the body of a [wire.TopologyAnswer] of a table; nil: the node stops.
func (w *watching) topology(t *shardmap.Table) []byte {
	v, ok := w.node.report.view(w.node.running(), t)
	if !ok {
		return nil
	}
	a := w.node.report.topology(t, &v)
	return a.Append(nil)
}

// answerTopology answers with which group owns which slot, at once, or when the node has a
// table of the index that is asked for.
func answerTopology(c *connection, h wire.Header, r repl.Reply, body []byte) {
	var q wire.Topology
	if err := q.Read(body); err != nil {
		c.refuse(r, wire.BadBody(h.Type, err))
		return
	}
	loop, table := c.ready(r)
	if loop == nil {
		return
	}
	if q.Index <= table.Index {
		if body := c.node.watching.topology(table); body != nil {
			c.answerNow(r, wire.TypeTopologyAnswer, body)
		} else {
			c.refuse(r, c.node.notReady())
		}
		return
	}
	wait := c.node.limits.wait
	if h.Deadline != 0 {
		wait = min(wait, time.Duration(h.Deadline)*time.Millisecond)
	}
	c.node.watching.feed.AwaitTable(q.Index, c.clock(loop).Host+wait, func(body []byte) {
		if body != nil {
			c.answerNow(r, wire.TypeTopologyAnswer, body)
			return
		}
		c.refuse(r, wire.Unavailable("table", fmt.Sprintf("this node did not get index %d in time", q.Index)))
	})
}
