package node

import (
	"muster/repl/wire"
	"muster/shardmap"
)

// bugLeavingServed is planted to show that its test finds it: a connection that is about to end takes requests, and leaves
// its client without a word of those that come too late.
const bugLeavingServed = "requests admitted on a connection that ends"

// authorize says why a request must not be carried out, or returns nil. It is the one place that
// does, for whatever comes over a connection, and nothing else of a request is looked at before. What a
// member says is held to its standing alone, but for requests that it passes on: they are held to what
// the user may do who made them.
func authorize(c *connection, h wire.Header, body []byte) *wire.Error {
	l := &c.node.laws
	switch {
	case h.Type == wire.TypeForward:
		return c.judge.AllowsForwarded(body, l.now.Load(), l.known())
	case c.standing != wire.SenderClient:
		return nil
	}
	if e := c.leaving.Load(); e != nil && !bug(bugLeavingServed) {
		return e
	}
	if c.who.Open {
		return nil
	}
	return c.judge.Allows(c.who, h.Type, body, l.now.Load(), l.known())
}

// epochOf returns the epoch of the rules by which a principal's requests are let in.
func epochOf(p shardmap.Principal, t *shardmap.Table) uint64 {
	if p == 0 {
		return 0 // by none
	}
	return t.Security.Rules
}
