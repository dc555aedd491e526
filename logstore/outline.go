package logstore

import "muster/raft"

// Outline is what the index knows of a replica's log without reading any of it.
// It includes lost entries: the index knows their ids.
type Outline struct {
	State raft.HardState
	Base  Base
	Terms []raft.TermRun // of the entries after Base
	Last  raft.LogID     // Base.ID, if there are no entries
	// Changes are ranges of indexes that hold all membership entries, among others.
	Changes []Range
}

// Range is the indexes First to Last.
type Range struct{ First, Last uint64 }

// outline returns what [Store.Outline] does.
func (x *index) outline(id Replica) (Outline, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	p := x.replicas[id]
	if p == nil || p.base == nil {
		return Outline{}, false
	}
	o := Outline{State: p.state, Base: *p.base, Last: p.last()}
	for i, n := range p.runs {
		if i == 0 || p.runs[i-1].term != n.term {
			o.Terms = append(o.Terms, raft.TermRun{First: n.first, Term: n.term})
		}
		if n.changes {
			o.Changes = append(o.Changes, Range{First: n.first, Last: n.last()})
		}
	}
	return o, true
}

// TermAt returns the term of the entry at an index, or of the base; false if
// the log holds neither there.
func (o *Outline) TermAt(index uint64) (uint64, bool) {
	if index == o.Base.ID.Index {
		return o.Base.ID.Term, true
	}
	if index < o.Base.ID.Index || index > o.Last.Index {
		return 0, false
	}
	term := o.Base.ID.Term
	for _, t := range o.Terms {
		if t.First > index {
			break
		}
		term = t.Term
	}
	return term, true
}
