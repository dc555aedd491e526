package node

import (
	"errors"
	"fmt"

	"muster/raft"
	"muster/repl"
	"muster/repl/wire"
	"muster/shardmap"
)

// bugRulesTold is planted to show that its test finds it: every user is told what all others may do, and
// by which prefixes.
const bugRulesTold = "rules told to any user"

// answerTable answers with the whole of the meta group's table, as it is here.
func answerTable(c *connection, r repl.Reply) {
	loop, table := c.ready(r)
	if loop == nil {
		return
	}
	lead, ok := metaLead(loop)
	if !ok {
		c.refuse(r, c.node.notReady())
		return
	}
	if c.standing == wire.SenderClient {
		shown := *table
		shown.Security = table.Security.Shown()
		if !bug(bugRulesTold) && c.node.laws.hides(c.who) {
			shown.Security = shown.Security.Bare()
			shown.Jobs = shardmap.BareJobs(table.Jobs)
			shown.Catalog = table.Catalog.Only(c.node.laws.sees(c.who))
		}
		table = &shown
	}
	a := wire.TableAnswer{Index: table.Index, Leader: lead.node, State: table.AppendTo(nil)}
	if n := len(a.State); n > wire.TableBytesMax {
		c.refuse(r, wire.TooLarge("table", fmt.Sprintf("%d bytes, the limit is %d", n, wire.TableBytesMax), "take labels off nodes"))
		return
	}
	c.answerNow(r, wire.TypeTableAnswer, a.Append(nil))
}

// metaLeading is who leads the meta group, as far as its replica here knows.
type metaLeading struct {
	node raft.NodeID // 0: nobody
	// own: it is this node, and it has applied an entry of its term, and is not fenced: its
	// table is right, and as new as any.
	own bool
}

// metaLead returns who leads the meta group. It is not ok if the loop has ended.
func metaLead(loop *repl.Loop) (m metaLeading, ok bool) {
	ok = loop.Ask(func(h *repl.Host) {
		for _, g := range h.View() {
			if g.Replica.Group != 0 {
				continue
			}
			s := &g.Status
			m = metaLeading{node: leader(&g), own: s.Role == raft.RoleLeader && g.Applied.Term == s.Term && g.Stopped == "" && g.Fenced == nil}
		}
	})
	return m, ok
}

// ledHere returns why this node can't answer for the meta group, or nil: another node
// leads it, or this one does not know yet what is committed.
func (n *Node) ledHere(loop *repl.Loop) *wire.Error {
	lead, ok := metaLead(loop)
	switch {
	case !ok:
		return n.notReady()
	case lead.node != n.self().Node:
		return wire.NotLeader(0, lead.node, n.addrOf(lead.node))
	case !lead.own:
		return wire.NotReady("group 0", "its leader does not know yet what is committed", "try again in a moment", wire.BusyRetry)
	}
	return nil
}

// readRequest reads the body of a request, or refuses it: it is broken, or this node has neither
// a loop nor a table yet.
func readRequest(c *connection, h wire.Header, r repl.Reply, body []byte, q wire.Body) bool {
	if err := q.Read(body); err != nil {
		c.refuse(r, wire.BadBody(h.Type, err))
		return false
	}
	loop, _ := c.ready(r)
	return loop != nil
}

// byMember returns the loop for a request of a member, or refuses: before it is known
// that the connection is that member's own, nothing is done in its name.
func byMember(c *connection, r repl.Reply) *repl.Loop {
	loop, _ := c.ready(r)
	if loop == nil {
		return nil
	}
	if !c.claim.counted(c.node.ctx) {
		c.refuse(r, c.uncounted())
		return nil
	}
	return loop
}

// answerReplicas answers with what this node alone knows of replicas.
func answerReplicas(c *connection, r repl.Reply) {
	loop := byMember(c, r)
	if loop == nil {
		return
	}
	report := c.node.orders.report.Load()
	if report == nil {
		c.refuse(r, wire.NotReady("node "+c.node.name, "it makes no reports yet", "try again in a moment", startedRetry))
		return
	}
	var a wire.ReplicasAnswer
	if !loop.Ask(func(h *repl.Host) { a = (*report)(h) }) {
		c.refuse(r, c.node.notReady())
		return
	}
	c.answerNow(r, wire.TypeReplicasAnswer, a.Append(nil))
}

// takeChange changes the membership of a group that is led here.
func takeChange(c *connection, h wire.Header, r repl.Reply, body []byte) {
	var q wire.Change
	if err := q.Read(body); err != nil {
		c.refuse(r, wire.BadBody(h.Type, err))
		return
	}
	loop := byMember(c, r)
	if loop == nil {
		return
	}
	var a wire.ChangeAnswer
	var e *wire.Error
	if !loop.Ask(func(h *repl.Host) { a, e = c.node.change(h, &q) }) {
		e = c.node.notReady()
	}
	if e != nil {
		c.refuse(r, e)
		return
	}
	c.answerNow(r, wire.TypeChangeAnswer, a.Append(nil))
}

// change carries out a [wire.Change] in a turn of the host.
func (n *Node) change(h *repl.Host, q *wire.Change) (a wire.ChangeAnswer, e *wire.Error) {
	lead := raft.NodeID(0)
	here := false
	for _, g := range h.View() {
		if g.Replica.Group == q.Group && g.Replica.Incarnation == q.Incarnation {
			lead, here = leader(&g), true
		}
	}
	// A group of another incarnation is another group: its entries have other ids.
	if !here {
		return a, wire.NotLeader(q.Group, 0, "")
	}
	changed, err := h.Change(q.Group, q.Raft())
	if err != nil {
		if lead == n.self().Node {
			lead = 0 // it does not, or another answer would have come
		}
		return a, changeError(q.Group, err, lead, n.addrOf(lead))
	}
	return wire.ChangeAnswer{At: changed.At}, nil
}

// changeError makes the typed refusal of a change that a group's core refused.
func changeError(group raft.GroupID, err error, lead raft.NodeID, addr string) *wire.Error {
	e := &wire.Error{Object: "group " + group.String(), Text: "its membership was not changed", State: err.Error()}
	switch {
	case errors.Is(err, raft.ErrNotLeader):
		return wire.NotLeader(group, lead, addr)
	case errors.Is(err, raft.ErrStopped):
		return wire.Damaged(e.Object, e.State, "keep the data directory; `muster status` shows the group")
	case errors.Is(err, raft.ErrStale):
		e.Code, e.Next = wire.CodeConflict, "look at the group again: what was to be changed may be so already"
	case errors.Is(err, raft.ErrChanging):
		e.Code, e.Next = wire.CodeConflict, "try again when the change that is under way is done"
	case errors.Is(err, raft.ErrLags):
		e.Code, e.Next = wire.CodeConflict, "try again when it has caught up"
	case errors.Is(err, raft.ErrChange):
		e.Code, e.Next = wire.CodeBadRequest, "look at the group's membership"
	case errors.Is(err, raft.ErrNoMajority):
		e.Code, e.Next = wire.CodeUnavailable, "start the missing nodes again; muster status shows which they are"
	default: // a transfer, or a full queue: they end by themselves
		e.Code, e.Next = wire.CodeUnavailable, "try again in a moment"
	}
	return e
}
