package machine

import (
	"muster/raft"
	"muster/repl"
	"muster/repl/wire"
	"muster/shardmap"
)

// leases makes the question which leases live in some slots a read of the group that it names.
func (q *Requests) leases(h wire.Header, body []byte, r repl.Reply, table *shardmap.Table, now Now) {
	l := &leasesQuery{of: q}
	if !q.newer(shardmap.LeasesLevel, h.Type, &l.request, body, r, table) {
		return
	}
	q.ofGroup(h, body, repl.Read{Group: l.request.Group, AnyReplica: anyReplica(h, wire.ReadLinearizable), Reply: r, Query: l}, table, now)
}

// leasesQuery reads the leases of some slots of one group.
type leasesQuery struct {
	of      *Requests
	request wire.Leases
}

// Run implements [repl.Query]. A page has so few rows that it is made between two entries.
func (l *leasesQuery) Run(state repl.StateMachine, at raft.LogID, r repl.Reply) (first bool) {
	q, x := l.of, l.request
	m, refused := q.slotsOf(state, x.Slots)
	if refused != nil {
		return q.deny(r, refused)
	}
	rows, more := m.State.Leases(q.groupTime(m, x.Group), x.Slots, x.After, int(x.Limit))
	a := &wire.LeasesAnswer{Group: x.Group, At: at, More: more}
	for _, row := range rows {
		a.Rows = append(a.Rows, wire.LeaseRow{Lease: row.ID, TTL: row.TTL, Remaining: row.Remaining, Keys: uint64(row.Keys)})
	}
	return q.answer(r, wire.TypeLeasesAnswer, a.Append(nil))
}
