package node

import (
	"muster/raft"
	"muster/repl"
	"muster/repl/machine"
	"muster/repl/wire"
)

// One node passes requests on to another, for clients that asked for it. The host keeps
// track of them and of how they end ([repl.Passage]).

// memberSlack is how much a member may have in flight before nothing more is read from
// it, in multiples of a client's limit. The requests that it passes on are refused at
// one such limit already: what its cores say comes behind them on the connection, and
// must not wait.
const memberSlack = 2

// over reports whether the connection has so much in flight that nothing more is read
// from it. c.mu is held.
func (c *connection) over() bool {
	if c.standing == wire.SenderMember {
		return c.inflight > memberSlack*c.node.limits.inflightBytes
	}
	l := &c.node.limits
	return l.over(c.inflight, c.node.held.Load()) || c.inflight > l.inflightBytesShare && c.node.door.shedding.waiting.Load() > l.waitingBytes
}

// takeForward takes a request that a member passes on. The member says for which client,
// so it counts only on a connection that is known to be the member's.
func takeForward(c *connection, h wire.Header, r repl.Reply, body []byte) {
	c.mu.Lock()
	crowded := c.node.limits.over(c.inflight, c.node.held.Load())
	c.mu.Unlock()
	if crowded {
		c.refuse(r, machine.Crowded())
		return
	}
	if own, settled := c.claim.state(); !settled || !own {
		c.refuse(r, c.uncounted())
		return
	}
	if loop, table := c.ready(r); loop != nil {
		c.requests.TakeForward(h, body, r, table, c.clock(loop))
	}
}

// forwarded hands the loop a node's answers to requests that were passed on to it.
func (n *Node) forwarded(from raft.NodeID, answers []repl.ForwardAnswer) {
	if loop := n.running(); loop != nil {
		loop.ReceiveForwardAnswers(from, answers)
	}
}

// forwardsLost tells the loop that the connection to a node has ended.
func (n *Node) forwardsLost(to raft.NodeID, left, queued uint64) {
	if loop := n.running(); loop != nil {
		loop.ForwardsLost(to, left, queued)
	}
}
