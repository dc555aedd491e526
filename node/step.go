package node

import (
	"muster/repl"
	"muster/repl/wire"
)

// takeStep takes a step of a move, which comes over a connection that a member has made for
// steps. Package machine says which steps the core refuses.
func takeStep(c *connection, h wire.Header, r repl.Reply, body []byte) {
	if byMember(c, r) == nil {
		return
	}
	if loop, table := c.ready(r); loop != nil {
		c.requests.Step(h, body, r, wire.SenderMember, table, c.clock(loop))
	}
}
