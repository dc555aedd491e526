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
	q, m := l.of, l.request
	s, ok := state.(*Map)
	if !ok {
		return q.deny(r, metaHasNoKeys())
	}
	if q.asker.Deaf() {
		return q.deny(r, Crowded())
	}
	if slot, is := s.State.OwnsAll(m.Slots); is != shardmap.Present {
		return q.deny(r, s.notServed(slot))
	}
	rows, more := s.State.Leases(m.Slots, m.After, int(m.Limit))
	a := &wire.LeasesAnswer{Group: m.Group, At: at, More: more}
	for _, row := range rows {
		a.Rows = append(a.Rows, wire.LeaseRow{Lease: row.ID, TTL: row.TTL, Remaining: row.Remaining, Keys: uint64(row.Keys)})
	}
	body := a.Append(nil)
	if !q.asker.Reserve(&r, wire.HeaderSize+len(body)) {
		return q.deny(r, Crowded())
	}
	return q.asker.Answer(r, wire.TypeLeasesAnswer, body)
}
