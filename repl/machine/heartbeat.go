package machine

import (
	"muster/raft"
	"muster/repl"
	"muster/repl/wire"
	"muster/shardmap"
)

// heartbeat makes the report of an instance a read of the group that has its service: no entry
// follows from it, and only the group's leader may take it, once it is sure that it still leads.
func (q *Requests) heartbeat(h wire.Header, body []byte, r repl.Reply, table *shardmap.Table, now Now) {
	b := &heartbeatQuery{of: q}
	if q.newer(shardmap.ServicesLevel, h.Type, &b.said, body, r, table) {
		q.ofGroup(h, body, repl.Read{Group: b.said.Group, Reply: r, Query: b}, table, now)
	}
}

// heartbeatQuery hands a heartbeat to the assigner of the group's services.
type heartbeatQuery struct {
	of   *Requests
	said wire.Heartbeat
}

// Run implements [repl.Query].
func (b *heartbeatQuery) Run(state repl.StateMachine, _ raft.LogID, r repl.Reply) (first bool) {
	m, ok := state.(*Map)
	if !ok {
		return b.of.deny(r, metaHasNoKeys())
	}
	slot := shardmap.SlotOf([]byte(b.said.Name))
	if _, is := m.State.OwnsAll([]shardmap.SlotRange{{From: slot, To: slot}}); is != shardmap.Present {
		return b.of.deny(r, m.notServed(slot))
	}
	if m.Heartbeats == nil {
		return b.of.deny(r, wire.NotReady("heartbeat", "this node assigns no checks", "send it to another node", 0))
	}
	m.Heartbeats(&b.said, func(e *wire.Error) {
		// Another goroutine than that which applies calls this, so nobody flushes after it.
		if e != nil {
			b.of.refuse(r, e)
			return
		}
		b.of.asker.Answer(r, wire.TypeHeartbeatAnswer, new(wire.Empty).Append(nil))
		b.of.asker.Flush()
	})
	return false
}
