package node

import (
	"fmt"

	"muster/raft"
	"muster/repl"
	"muster/repl/wire"
)

// notYet answers a request that has a meaning, and that this node does not carry
// out.
func notYet[T any, P interface {
	*T
	wire.Body
}](c *connection, h wire.Header, r repl.Reply, body []byte) {
	if err := P(new(T)).Read(body); err != nil {
		c.refuse(r, wire.BadBody(h.Type, err))
		return
	}
	c.refuse(r, wire.NotReady("node "+c.node.name, "it does not take "+h.Type.String()+" yet", "try again in a moment", startedRetry))
}

// answerTable answers with the whole of the meta group's table, as it is here.
func answerTable(c *connection, r repl.Reply) {
	loop, table := c.ready(r)
	if loop == nil {
		return
	}
	a := wire.TableAnswer{Index: table.Index, State: table.AppendTo(nil)}
	if n := len(a.State); n > wire.TableBytesMax {
		c.refuse(r, wire.TooLarge("table", fmt.Sprintf("%d bytes, the limit is %d", n, wire.TableBytesMax), "take labels off nodes"))
		return
	}
	lead, ok := metaLeader(loop)
	if !ok {
		c.refuse(r, c.node.notReady())
		return
	}
	a.Leader = lead
	c.answerNow(r, wire.TypeTableAnswer, a.Append(nil))
}

// metaLeader returns the node that leads the meta group, as far as its replica here
// knows, or 0. It is not ok if the loop has ended.
func metaLeader(loop *repl.Loop) (lead raft.NodeID, ok bool) {
	ok = loop.Ask(func(h *repl.Host) {
		for _, g := range h.View() {
			if g.Replica.Group == 0 {
				lead = leader(&g)
			}
		}
	})
	return lead, ok
}
