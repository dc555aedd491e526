package node

import (
	"fmt"

	"muster/repl"
	"muster/repl/wire"
	"muster/shardmap"
)

// bugTrailOfAnother is planted to show that its test finds it: a member tells how far another one's
// trail is.
const bugTrailOfAnother = "trail told by another"

// takeStep takes a step of a move, or the word of a node that a replica of its own differs, or how
// far its trail is. It comes over a connection that a member has made for steps. Package machine says which steps the
// core refuses.
func takeStep(c *connection, h wire.Header, r repl.Reply, body []byte) {
	if byMember(c, r) == nil {
		return
	}
	// Only a replica's own node knows what it holds.
	var s wire.Step
	if s.Read(body) == nil && s.Group == 0 {
		if said, ok := shardmap.ReadNoteTrail(s.Command); ok && said.Head.Node != c.peer && !bug(bugTrailOfAnother) {
			c.refuse(r, wire.Unauthorized("trail", fmt.Sprintf("node %s tells of the trail of node %s", c.peer, said.Head.Node), "a node tells of its own trail"))
			return
		}
		if said, ok := shardmap.ReadNoteIncident(s.Command); ok && said.Incident.Node != c.peer {
			c.refuse(r, wire.Unauthorized("incident", fmt.Sprintf("node %s tells of a replica on node %s", c.peer, said.Incident.Node), "a node tells of its own replicas"))
			return
		}
	}
	if loop, table := c.ready(r); loop != nil {
		c.requests.Step(h, body, r, wire.SenderMember, table, c.clock(loop))
	}
}
