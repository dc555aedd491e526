package node

import (
	"bytes"
	"fmt"

	"muster/repl"
	"muster/repl/machine"
	"muster/repl/wire"
	"muster/shardmap"
)

// dispatch handles one frame. An error ends the connection.
func (c *connection) dispatch(h wire.Header, body []byte) error {
	// First of all, by what the connection proved when it was admitted: no field of a
	// frame is read unless its sender may send it at all.
	if sendersOf(h.Type)&c.standing == 0 {
		e := mayNotSend(c.standing, h.Type)
		c.refuse(c.accept(h), e)
		c.node.trail.refused(c, h.Type, "", e)
		return nil
	}
	to := handlerOf(h.Type)
	// A word about a stream is of whoever opened that: it ends with his right to it.
	if to.stream == nil {
		if e := authorize(c, h, body); e != nil {
			deny(c, h, body, e)
			return nil
		}
	}
	switch {
	case to.word != nil:
		return c.dispatchWord(to, h, body)
	case to.stream != nil && h.Flags != 0:
		refuseStream(c, h, unknownFlags(h))
		return nil
	case to.stream != nil:
		to.stream(c, h, body)
		return nil
	}
	r := c.accept(h)
	if h.Flags&^to.flags != 0 {
		c.refuse(r, wire.BadRequest(h.Type.String(), fmt.Sprintf("flags %#x, it may have %#x", h.Flags, to.flags), "send it without the others"))
		return nil
	}
	to.request(c, h, r, body)
	return nil
}

// deny refuses a request that is not allowed; at once, if nothing that happens elsewhere could change that.
func deny(c *connection, h wire.Header, body []byte, e *wire.Error) {
	r := c.accept(h)
	if c.judge.Appealable() && c.node.appeals.take(appeal{c, h, r, bytes.Clone(body), e}) {
		return
	}
	c.refuse(r, e)
	c.node.trail.denied(c, h.Type, body, e)
}

// dispatchWord handles a frame that counts only if it is the word of the member in whose
// name it came. It has no answer that could refuse it, so flags that this version does
// not know end the connection.
func (c *connection) dispatchWord(to *handler, h wire.Header, body []byte) error {
	if c.claim != nil && !bug(bugUnattested) {
		if done, err := c.unsettled(h, body); done || err != nil {
			return err
		}
	}
	if h.Flags != 0 {
		return unknownFlags(h)
	}
	return to.word(c, h, body)
}

// unknownFlags is the error about flags of a frame that may have none.
func unknownFlags(h wire.Header) error { return fmt.Errorf("flags %#x, want 0", h.Flags) }

// ready returns the loop and the table, or refuses: before its founding a node
// has neither.
func (c *connection) ready(r repl.Reply) (*repl.Loop, *shardmap.Table) {
	loop, table := c.node.running(), c.node.table.Load()
	if loop == nil || table == nil || table.ClusterID == 0 {
		c.refuse(r, c.node.unready(loop))
		return nil, nil
	}
	return loop, table
}

// take hands a write, a get, a listing or a scan to the core of the connection.
func (c *connection) take(h wire.Header, r repl.Reply, body []byte) {
	loop, table := c.ready(r)
	if loop == nil {
		return
	}
	c.node.trail.asked(c, h.Type, body)
	c.requests.Take(h, body, r, table, c.clock(loop))
	// If the rules changed since they were asked, a review may have come before the stream.
	if !c.who.Open && machine.Opens(h.Type) && c.node.laws.now.Load().Epoch != c.judge.Epoch() {
		c.node.laws.reviewStreams(c)
	}
}

// announce puts a node's announcement into the meta group's log.
func (c *connection) announce(h wire.Header, r repl.Reply, body []byte) {
	loop := c.node.running()
	if loop == nil {
		c.refuse(r, c.node.notReady())
		return
	}
	var a wire.Announce
	if err := a.Read(body); err != nil {
		c.refuse(r, wire.BadBody(h.Type, err))
		return
	}
	anybody := bug(bugClientAnnounces)
	if c.peer != a.Node && !anybody {
		c.refuse(r, wire.Unauthorized("announcement", fmt.Sprintf("node %s speaks for node %s", c.peer, a.Node), "a node announces itself"))
		return
	}
	if err := checkAnnouncement(&a); err != nil {
		c.refuse(r, wire.BadRequest("announcement of node "+a.Node.String(), err.Error(), "start that node with a name, labels and an address that are right"))
		return
	}
	table := c.node.table.Load()
	if table == nil || !table.Founded() {
		c.refuse(r, c.node.notReady()) // before the log: there is no table yet to put it in
		return
	}
	if !anybody && !c.claim.counted(c.node.ctx) {
		c.refuse(r, c.uncounted())
		return
	}
	c.requests.Announce(h, &a, r, table, c.clock(loop))
}
