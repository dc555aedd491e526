package machine

import (
	"time"

	"muster/raft"
	"muster/repl"
	"muster/repl/wire"
	"muster/shardmap"
)

// bugRulesOfTable is planted to show that its test finds it: what an entry does follows from the table
// at the moment at which a replica applies it.
const bugRulesOfTable = "rules from the table at apply"

// history reads the versions of a key from the group that the request names.
func (q *Requests) history(h wire.Header, body []byte, r repl.Reply, table *shardmap.Table, now Now) {
	x := &historyQuery{of: q, security: table.Security, wall: now.Wall}
	if !q.newer(shardmap.RangesLevel, h.Type, &x.request, body, r, table) { // which keeps nothing of body
		return
	}
	mode := x.request.Mode
	q.ofGroup(h, body, repl.Read{Group: x.request.Group, Local: mode == wire.ReadLocal, AnyReplica: anyReplica(h, mode), Reply: r, Query: x}, table, now)
}

// historyQuery reads the versions of one key.
type historyQuery struct {
	of       *Requests
	request  wire.History
	security shardmap.Security // as the node has it, for the names of users
	wall     uint64            // when the request came, in ms since 1970
}

// Run implements [repl.Query]. A page has so few bytes that it is made between two entries.
func (x *historyQuery) Run(state repl.StateMachine, at raft.LogID, r repl.Reply) (first bool) {
	q, ask := x.of, &x.request
	slot := shardmap.SlotOf(ask.Key)
	m, refused := q.slotsOf(state, []shardmap.SlotRange{{From: slot, To: slot}})
	if refused != nil {
		return q.deny(r, refused)
	}
	a := &wire.HistoryAnswer{Group: ask.Group, At: at}
	if rule := shardmap.VersionRulesOf(m.State).Of(ask.Key); rule != nil {
		a.Versions, a.Age = uint32(rule.Most), uint32(rule.Age/time.Second)
	}
	a.More, _ = shardmap.VersionsOf(m.State, ask.Key, ask.Before, q.groupTime(m, ask.Group), int(ask.Limit), int(ask.MaxBytes), func(v *shardmap.KeptVersion) {
		a.Rows = append(a.Rows, x.row(v))
	})
	return q.answer(r, wire.TypeHistoryAnswer, a.Append(nil))
}

// row describes one version.
func (x *historyQuery) row(v *shardmap.KeptVersion) wire.HistoryRow {
	row := wire.HistoryRow{Version: v.Version, How: v.How, Group: v.Group, ID: v.ID, Principal: v.Principal, AtMs: v.Wall}
	if v.Value != nil {
		row.Value = append([]byte{}, v.Value...)
	}
	if user, ok := x.security.User(v.Principal); ok && v.Principal != 0 {
		row.User = user.Name
	}
	if v.Wall == 0 && v.Group != 0 {
		row.AtMs = x.wall - min(x.wall, v.Ago)
	}
	return row
}

// rulesOf are the rules for versions that a table has for its groups; none below their level.
func rulesOf(t *shardmap.Table) shardmap.VersionRules {
	if t.Level < shardmap.RangesLevel {
		return nil
	}
	return t.VersionRules()
}
