package node

import (
	"muster/repl"
	"muster/repl/machine"
	"muster/repl/wire"
)

// takeStep takes a step of a move. It is a member's word, so the connection must count as
// that member's own; what the core refuses beyond that package machine says.
func takeStep(c *connection, h wire.Header, r repl.Reply, body []byte) {
	if own, settled := c.claim.state(); !settled || !own {
		c.refuse(r, c.uncounted())
		return
	}
	c.mu.Lock()
	crowded := c.node.limits.over(c.inflight, c.node.held.Load())
	c.mu.Unlock()
	if crowded {
		c.refuse(r, machine.Crowded())
		return
	}
	if loop, table := c.ready(r); loop != nil {
		c.requests.Step(h, body, r, wire.SenderMember, table, c.clock(loop))
	}
}
