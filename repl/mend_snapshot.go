package repl

import (
	"fmt"

	"muster/logstore"
	"muster/raft"
	"muster/repl/wire"
)

// askForSnapshot asks for a snapshot, where a round of questions brought nothing
// and one can be had that covers some of what is lost.
func (m *mend) askForSnapshot() {
	if m.group != nil || m.rounds == 0 || m.host.ticks < m.snapshotAt {
		return
	}
	if m.rounds < mendSnapshotAfter {
		for _, n := range m.others() {
			if !m.answered(n) {
				return // it may have the entries themselves
			}
		}
	}
	var best *asked
	for i := range m.asked {
		a := &m.asked[i]
		if a.answered && m.covered(a.snapshot) > 0 && (best == nil || a.snapshot > best.snapshot) {
			best = a
		}
	}
	if best == nil {
		return
	}
	best.gives = true
	m.snapshotAt = m.host.ticks + mendSnapshotPause
	m.host.mending.counts.Snapshots++
	m.host.cfg.Transport.SendSnapshotRequest(best.node, &wire.SnapshotRequest{
		Start: m.host.start, Number: m.host.mending.questionNumber(), Group: m.replica.Group, Incarnation: m.replica.Incarnation,
		Replica: m.replica.ID, Index: m.covered(best.snapshot),
	})
}

// covered returns the last index of what is lost that a snapshot of all up to an
// index would cover, or 0.
func (m *mend) covered(snapshot uint64) uint64 {
	index := uint64(0)
	if m.damage.State && snapshot >= m.outline.Base.ID.Index {
		index = m.outline.Base.ID.Index
	}
	for _, l := range m.damage.Lost {
		if l.First <= snapshot {
			index = max(index, min(l.Last, snapshot))
		}
	}
	return index
}

// arrived hands in that the store has a new snapshot of a replica that
// has no core, since its log is damaged. The log is to begin behind it.
func (l *mending) arrived(s logstore.Snapshot) {
	m := l.host.mending.of(s.Replica.Group)
	if m == nil || m.replica != s.Replica || m.group != nil || m.writing || !m.mendable() {
		return // it is found at the next start, or removed
	}
	if s.Base.ID.Index > m.outline.Base.ID.Index {
		base := s.Base
		w := logstore.Write{Base: &base, Commit: base.ID.Index}
		if m.outline.State.Term < base.ID.Term { // as with entries that take the place of others
			w.State, w.HasState = raft.HardState{Term: base.ID.Term, Commit: base.ID.Index}, true
		}
		m.write(w)
		l.host.gathering.bases = append(l.host.gathering.bases, based{m.replica, base.ID}) // the damaged one goes
		return
	}
	if !m.look() {
		m.healed()
	}
}

// ReceiveSnapshotRequest hands in another node's wish for a snapshot, which it
// has because its log lost entries that the log here has compacted.
func (h *Host) ReceiveSnapshotRequest(from raft.NodeID, q *wire.SnapshotRequest) {
	h.contacts.hear(from)
	if g := h.groups[q.Group]; g != nil && g.replica.Incarnation == q.Incarnation {
		g.snap.give(raft.Member{Replica: q.Replica, Node: from}, q.Index)
	}
}

// refusesState says why a snapshot that a node offers for the replica is not
// taken, or nothing.
func (m *mend) refusesState(from raft.NodeID, c *wire.Chunk) string {
	a := m.askedOf(from)
	switch {
	case a == nil || !a.gives:
		return "it was not asked for"
	case c.Base.Term > m.termMax():
		return fmt.Sprintf("it is of term %d, up to %d is believed here", c.Base.Term, m.termMax())
	case m.replica != logstore.Replica{Group: c.Group, Incarnation: c.Incarnation, ID: c.To}:
		return fmt.Sprintf("the replica here is %s", m.replica)
	case m.group == nil && m.mendable() && !m.writing && m.covered(c.Base.Index) > 0:
		return ""
	}
	return "it would mend nothing"
}
