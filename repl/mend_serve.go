package repl

import (
	"muster/logstore"
	"muster/raft"
	"muster/repl/wire"
)

// ReceiveRepair hands in another node's question for entries that its log lost.
// It is answered through [Transport.AnswerRepair], if a replica of the group is
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

// vouch fills in what the replica here can say of its log, and returns which it
// is; false if none of that group and incarnation is here.
//
// What it says to be committed must be what its log holds on disk, since the
// entries are read from there, and later than this is said. A core may have
// truncated entries that are still on disk, and know of commits of those that
// take their place. So no more is said than what is both committed and, in the
// core's view, synced: that stands, and does not change any more.
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
		return r, g == nil // nothing is known but the entries that verify
	}
	a.Base, a.Last = o.Base.ID, o.Last
	switch {
	case g != nil && g.stopped == nil:
		s := g.core.Status()
		a.Commit = min(s.Commit, s.Durable, o.Last.Index)
		a.Snapshot = g.applied.Index
	case g == nil && m.damage.Promises:
		// It may not know of a truncation, so that what it takes for the
		// committed entry may be one of an earlier term.
		a.Base, a.Last = raft.LogID{}, raft.LogID{Index: o.Last.Index}
	case g == nil && m.broken == nil:
		a.Commit = m.commit
	}
	return r, true
}
