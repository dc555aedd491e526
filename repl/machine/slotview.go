package machine

import (
	"muster/raft"
	"muster/repl"
	"muster/repl/wire"
	"muster/shardmap"
)

// slotView makes the question what a group has of some slots a read of that group. It is
// linearizable: a move is carried on by what the answer says. A client that can't reach the leader gets it of the replica
// that it asks, by which it follows the group too.
func (q *Requests) slotView(h wire.Header, body []byte, r repl.Reply, table *shardmap.Table, now Now) {
	v := &slotViewQuery{of: q, bare: q.principal != 0 && q.Counts != nil && !q.Counts(q.principal) && !bug(bugCountsTold)}
	if err := v.request.Read(body); err != nil {
		q.refuse(r, wire.BadBody(h.Type, err))
		return
	}
	q.ofGroup(h, body, repl.Read{Group: v.request.Group, AnyReplica: anyReplica(h, wire.ReadLinearizable) && !bug(bugViewOfLeader), Reply: r, Query: v}, table, now)
}

// bugViewOfLeader is planted to show that its test finds it: the leader alone tells what it has of slots, also a client
// that can't reach it.
const bugViewOfLeader = "slot view of the leader alone"

// bugCountsTold is planted to show that its test finds it: every user is told how many keys each slot has.
const bugCountsTold = "slots' counts told to any user"

// SlotViewRead makes the same question a read for a node that asks it for itself.
func SlotViewRead(v *wire.SlotView) repl.Read {
	return repl.Read{Group: v.Group, Query: &slotViewQuery{request: *v}}
}

// slotViewQuery reads what a group has of some slots.
type slotViewQuery struct {
	of      *Requests // nil: the node itself asks
	bare    bool      // without what tells of the keys
	request wire.SlotView
}

// Run implements [repl.Query]. All that a view says is kept as it changes, so a thousand of
// them are made between two entries.
func (v *slotViewQuery) Run(state repl.StateMachine, at raft.LogID, r repl.Reply) (first bool) {
	m, ok := state.(*Map)
	if !ok {
		return r.To.Answer(r, wire.TypeError, metaHasNoKeys().Append(nil))
	}
	a := &wire.SlotViewAnswer{Group: v.request.Group, At: at, Time: m.State.Time()}
	for _, run := range v.request.Slots {
		for s := run.From; s <= run.To; s++ {
			row := m.State.View(s)
			if v.bare {
				row = row.Bare()
			}
			a.Rows = append(a.Rows, row)
		}
	}
	body := a.Append(nil)
	if v.of != nil && (v.of.asker.Deaf() || !v.of.asker.Reserve(&r, wire.HeaderSize+len(body))) {
		return v.of.deny(r, Crowded())
	}
	return r.To.Answer(r, wire.TypeSlotViewAnswer, body)
}
