package repl

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"

	"muster/logstore"
	"muster/raft"
	"muster/repl/wire"
)

// ReceiveRepairAnswer hands in the answer to a question of this host.
func (h *Host) ReceiveRepairAnswer(from raft.NodeID, a *wire.RepairAnswer) {
	h.contacts.hear(from)
	m := h.mending.of(a.Group)
	if m == nil || m.replica.Incarnation != a.Incarnation || a.Start != h.start {
		return // of an earlier life, or of what is mended by now
	}
	k := m.askedOf(from)
	if k == nil || k.number == 0 || k.number != a.Number {
		return // late, or a second time
	}
	k.number = 0
	if why, err := m.implausible(a); err != nil {
		h.refused.repair(why, from, a.Group, err)
		return
	}
	k.commit, k.snapshot = a.Commit, a.Snapshot
	switch {
	case !m.mendable():
	case m.writing:
		k.again = true // what it has may be there by now
	case m.use(from, a):
		k.again = true
		if !m.writing {
			m.ask(from)
		}
	case !k.probed && m.probes(a.Commit):
		m.ask(from)
	default:
		k.answered, k.known = true, m.host.ticks >= m.knownAt()
	}
}

// questionNumbers returns where the numbers of questions come from.
func questionNumbers(chance uint64) *rand.Rand {
	seed := [32]byte{0: 'q'}
	binary.LittleEndian.PutUint64(seed[24:], chance)
	return rand.New(rand.NewChaCha8(seed))
}

// questionNumber returns a number that nobody guesses; it is not 0.
func (l *mending) questionNumber() uint64 { return l.questions.Uint64() | 1 }

// termMax is the last term that is believed of others: the replica has no core
// that would ask, and takes the term of entries for its own.
func (m *mend) termMax() uint64 { return m.outline.State.Term + raft.TermReach }

// implausible says what in an answer no log can have, and how it is counted.
func (m *mend) implausible(a *wire.RepairAnswer) (refusal, error) {
	switch {
	case max(a.Base.Index, a.Commit) > a.Last.Index || max(a.Last.Index, a.Snapshot) >= raft.IndexLimit:
		return refusedBad, fmt.Errorf("a log from %s to %s, committed up to %d, applied up to %d", a.Base, a.Last, a.Commit, a.Snapshot)
	case max(a.Base.Term, a.Last.Term) >= raft.TermLimit:
		return refusedBad, fmt.Errorf("a log from %s to %s", a.Base, a.Last)
	}
	for i := range a.Entries {
		switch e := &a.Entries[i]; {
		case e.ID.Index > a.Last.Index || e.Time >= raft.TimeLimit:
			return refusedBad, fmt.Errorf("entry %s of time %d in a log that ends at %s", e.ID, e.Time, a.Last)
		case e.ID.Term > m.termMax() && !bug("forged term accepted"):
			return refusedFar, fmt.Errorf("entry %s, and up to term %d is believed", e.ID, m.termMax())
		}
	}
	return 0, nil
}

// probes reports whether a node that has committed all up to an index may show
// where its log and this one part: some of what is lost is above what both are
// known to share. A core that runs finds that out by itself.
func (m *mend) probes(commit uint64) bool {
	n := len(m.damage.Lost)
	return m.group == nil && n > 0 && m.damage.Lost[n-1].Last > m.commit && commit > m.commit
}

// use does what an answer allows, and reports whether there was anything.
func (m *mend) use(from raft.NodeID, a *wire.RepairAnswer) bool {
	known := m.commit
	var back []raft.Entry
	for _, e := range a.Entries {
		term, here := m.termAt(e.ID.Index)
		switch {
		case !here:
		case term == e.ID.Term:
			if e.ID.Index <= a.Commit {
				// The id is in both logs, so they are the same up to it
				// (the paper, 5.3), and the other's is committed.
				m.commit = max(m.commit, e.ID.Index)
			}
			if m.lost(e.ID) {
				back = append(back, e)
			}
		case e.ID.Index <= min(known, a.Commit):
			m.contradict(from, raft.LogID{Term: term, Index: e.ID.Index}, e.ID)
			return false
		}
	}
	if len(back) > 0 {
		m.host.mending.counts.Mended += uint64(len(back))
		m.write(logstore.Write{Mended: back, Commit: m.commit})
		return true
	}
	if m.group == nil {
		if committed := m.parting(a); len(committed) > 0 {
			m.replace(committed)
			return true
		}
	}
	return m.commit > known
}

// contradict notes that two logs have committed different entries at one index:
// the worst that there is, and nothing that mending could mend.
func (m *mend) contradict(from raft.NodeID, ours, theirs raft.LogID) {
	g := m.replica.Group
	m.broken = fmt.Errorf("%s is committed here, node %s has committed %s", raft.FormatLogID(g, ours), from, raft.FormatLogID(g, theirs))
	m.host.cfg.Log.Error("replica can't be mended", "group", g, "replica", m.replica.ID, "err", m.broken)
	if m.group != nil && m.group.stopped == nil {
		m.group.stop(m.broken)
	}
}

// termAt returns the term that the replica's log has at an index. Of one that
// runs the core knows it best: what is in its memory may be on its way to disk.
func (m *mend) termAt(index uint64) (uint64, bool) {
	if m.group != nil {
		return m.group.core.TermAt(index)
	}
	return m.outline.TermAt(index)
}

// lost reports whether an entry is among those that are lost.
func (m *mend) lost(id raft.LogID) bool {
	for _, l := range m.damage.Lost {
		if l.First <= id.Index && id.Index <= l.Last {
			return l.Term == id.Term
		}
	}
	return false
}

// parting returns the committed entries of an answer from the index on where the
// logs part, if it shows that: all before is known to be shared.
func (m *mend) parting(a *wire.RepairAnswer) []raft.Entry {
	for i, e := range a.Entries {
		if e.ID.Index <= m.commit {
			continue
		}
		term, here := m.outline.TermAt(e.ID.Index)
		if e.ID.Index != m.commit+1 || e.ID.Index > a.Commit || !here || term == e.ID.Term {
			return nil
		}
		end := i + 1
		for end < len(a.Entries) && a.Entries[end].ID.Index == a.Entries[end-1].ID.Index+1 && a.Entries[end].ID.Index <= a.Commit {
			end++
		}
		return a.Entries[i:end]
	}
	return nil
}

// replace truncates the log, which was never committed from there on, and
// appends committed entries. See the second way at the top of mend.go.
func (m *mend) replace(committed []raft.Entry) {
	last := committed[len(committed)-1].ID
	w := logstore.Write{Entries: committed, Commit: last.Index}
	if s := m.outline.State; s.Term < last.Term {
		w.State, w.HasState = raft.HardState{Term: last.Term, Commit: last.Index}, true
	}
	m.host.mending.counts.Replaced += uint64(len(committed))
	m.host.cfg.Log.Info("damaged log gives way to what is committed", "group", m.replica.Group, "replica", m.replica.ID,
		"from", committed[0].ID, "to", last, "instead", m.outline.Last)
	m.write(w)
}
