package repl

import (
	"muster/logstore"
	"muster/raft"
	"muster/repl/wire"
)

// ReceiveRepair hands in another node's question for entries that its log lost.
// The answer goes through [Transport.AnswerRepair], if a replica of the group is
// here, whatever its own state.
func (h *Host) ReceiveRepair(from raft.NodeID, q *wire.Repair) {
	h.contacts.hear(from)
	a := wire.RepairAnswer{Start: q.Start, Number: q.Number, Group: q.Group, Incarnation: q.Incarnation}
	r, ok := h.mending.vouch(&a)
	if !ok {
		return
	}
	var wanted []wire.RepairSpan
	for _, w := range q.Wanted {
		w.First, w.Last = max(w.First, a.Base.Index+1), min(w.Last, a.Last.Index)
		if w.First <= w.Last {
			wanted = append(wanted, w)
		}
	}
	h.mending.counts.Answered++
	h.cfg.Transport.AnswerRepair(from, &a, r, wanted)
}

// vouch fills in what the replica here can say of its log, and returns the
// replica; false if none of that group and incarnation is here.
//
// What it reports as committed must be on its disk, since the
// entries are read from there, and later than the report. A core may have
// truncated entries that are still on disk, and know that their replacements are
// committed. So it reports only what is both committed and, in the
// core's view, synced: that no longer changes.
func (l *mending) vouch(a *wire.RepairAnswer) (logstore.Replica, bool) {
	g, m := l.host.groups[a.Group], l.of(a.Group)
	var r logstore.Replica
	switch {
	case g != nil:
		r = g.replica
	case m != nil:
		r = m.replica
	}
	if r.Incarnation != a.Incarnation || r.ID == 0 {
		return r, false
	}
	o, ok := l.host.cfg.Store.Outline(r)
	if !ok {
		return r, g == nil // only the entries that verify are known
	}
	a.Base, a.Last = o.Base.ID, o.Last
	switch {
	case g != nil && g.stopped == nil:
		s := g.core.Status()
		a.Commit = min(s.Commit, s.Durable, o.Last.Index)
		if g.fence.gives() {
			a.Snapshot = g.applied.Index
		}
	case g == nil && m.damage.Promises:
		// A replica that lost its promises may have lost a truncation too, so what
		// looks like the committed entry may be one of an earlier term.
		a.Base, a.Last = raft.LogID{}, raft.LogID{Index: o.Last.Index}
	case g == nil && m.broken == nil:
		a.Commit = m.commit
	}
	return r, true
}
