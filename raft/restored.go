package raft

import "fmt"

// TermRun says that the entries from First on, up to the next run, are of Term.
type TermRun struct {
	First uint64
	Term  uint64
}

// Restored is what the owner found on disk. The zero Restored with a
// Membership is that of a group just founded.
type Restored struct {
	State HardState
	// Base is where the log begins: the id of the last entry before it, 0.0
	// at founding. Membership is the one in force there.
	Base       LogID
	Membership Membership
	Changes    []Entry // the membership entries after Base, in order
	Terms      []TermRun
	Last       LogID // Base, if there are no entries
	// Applied: the owner's state machine holds all up to here.
	// Base.Index <= Applied <= the larger of State.Commit and Base.Index.
	Applied uint64
	Tail    []Entry   // the entries from Applied+1 to Last.Index
	Time    GroupTime // the largest in the log
}

// check returns why replica self can't have left r on its disk, or nil.
func (r *Restored) check(self ReplicaID) error {
	bad := func(format string, a ...any) error { return fmt.Errorf("restored: "+format, a...) }
	if err := r.Membership.Check(); err != nil {
		return bad("%w", err)
	}
	commit := max(r.State.Commit, r.Base.Index)
	if _, founder := r.Membership.Member(self); r.Base.Index == 0 && !r.Membership.Blank() && !founder {
		// Its log is empty, so nothing can have told it of this membership.
		return bad("replica %d is none of the founders, so it begins with the blank membership", self)
	}
	switch {
	case r.State.Term >= TermLimit:
		return bad("term %d is not below %d", r.State.Term, TermLimit)
	case r.Last.Index < r.Base.Index:
		return bad("the log ends at %s, before its beginning %s", r.Last, r.Base)
	case r.State.Term < r.Last.Term:
		return bad("term %d is before that of the last entry %s", r.State.Term, r.Last)
	case commit > r.Last.Index:
		return bad("%d is committed, but the log ends at %s", commit, r.Last)
	case r.Applied < r.Base.Index || r.Applied > commit:
		return bad("%d is applied, which is not between the beginning %s and the commit %d", r.Applied, r.Base, commit)
	case uint64(len(r.Tail)) != r.Last.Index-r.Applied:
		return bad("%d entries of the tail, want %d to %d", len(r.Tail), r.Applied+1, r.Last.Index)
	case r.Last.Index == r.Base.Index && (len(r.Terms) != 0 || r.Last != r.Base):
		return bad("an empty log with %d terms ends at %s, not at its beginning %s", len(r.Terms), r.Last, r.Base)
	case r.Last.Index > r.Base.Index && len(r.Terms) == 0:
		return bad("no terms for the entries up to %s", r.Last)
	}
	before := TermRun{First: r.Base.Index, Term: r.Base.Term}
	for i, run := range r.Terms {
		if run.First <= before.First || run.First > r.Last.Index || run.Term < before.Term ||
			(i == 0) != (run.First == r.Base.Index+1) || i > 0 && run.Term == before.Term {
			return bad("entries of term %d from %d on after those of term %d from %d on", run.Term, run.First, before.Term, before.First)
		}
		before = run
	}
	if before.Term != r.Last.Term {
		return bad("the last entry is %s, but the last term is %d", r.Last, before.Term)
	}
	for i, e := range r.Tail {
		if e.ID.Index != r.Applied+1+uint64(i) || len(e.Raw) < EntryHeaderSize {
			return bad("entry %s of the tail stands where %d should", e.ID, r.Applied+1+uint64(i))
		}
	}
	at := r.Base.Index
	for _, e := range r.Changes {
		if e.ID.Index <= at || e.ID.Index > r.Last.Index || e.Kind != EntryMembership || len(e.Raw) < EntryHeaderSize {
			return bad("entry %s (%s) is no change of the membership after %d", e.ID, e.Kind, at)
		}
		at = e.ID.Index
	}
	return nil
}
