package sim

import (
	"slices"

	"muster/logstore"
	"muster/raft"
	"muster/repl/wire"
)

// ledger is what must be found on the disk of a node. It outlives the processes.
type ledger struct {
	n        *node
	shadows  map[logstore.Replica]*shadow
	pending  []logstore.Write                // under way at the crash: they may be there or not
	newest   map[logstore.Replica]raft.LogID // the last entry that was applied in this process
	forgets  bool                            // the next start finds an older directory
	doubtful bool                            // the node may have to hear all others before it promises anything
	// forgotten are the shadows before the newest older directory was found, while
	// doubtful.
	forgotten map[logstore.Replica]*shadow
}

// shadow is what a replica must find on its disk: what the synced batches add up to.
type shadow struct {
	replica logstore.Replica
	there   bool
	base    raft.LogID
	state   raft.HardState
	terms   []uint64  // of the entries after the base
	changes []*config // the memberships among them
	removed bool      // for good
}

func (s *shadow) last() raft.LogID {
	if n := len(s.terms); n > 0 {
		return raft.LogID{Term: s.terms[n-1], Index: s.base.Index + uint64(n)}
	}
	return s.base
}

func (s *shadow) termAt(index uint64) (uint64, bool) {
	switch {
	case index == s.base.Index:
		return s.base.Term, true
	case index < s.base.Index || index > s.base.Index+uint64(len(s.terms)):
		return 0, false
	}
	return s.terms[index-s.base.Index-1], true
}

// holds reports whether the replica has an entry, or had it before its log was
// compacted.
func (s *shadow) holds(t *truth, id raft.LogID) bool {
	if id.Index < s.base.Index {
		return id.Index <= uint64(len(t.entries)) && (id.Index == 0 || t.entries[id.Index-1].term == id.Term)
	}
	term, ok := s.termAt(id.Index)
	return ok && term == id.Term
}

// of returns the shadow of a replica.
func (l *ledger) of(r logstore.Replica) *shadow {
	s := l.shadows[r]
	if s == nil {
		s = &shadow{replica: r}
		l.shadows[r] = s
	}
	return s
}

// wrote records that writes are durable.
func (l *ledger) wrote(writes []logstore.Write) {
	for i := range writes {
		w := &writes[i]
		l.of(w.Replica).write(l.n, w, len(w.Entries))
	}
}

// write records a write with the first few of its entries, and checks that it is
// allowed.
func (s *shadow) write(n *node, w *logstore.Write, entries int) {
	t := n.c.truth[s.replica.Group]
	if w.Remove {
		if !t.removed(s.replica.ID) {
			n.c.fail("n%d removes replica %d of group %d, which is a member (%s)", n.index, s.replica.ID, s.replica.Group, describe(t.committed()))
		}
		*s = shadow{replica: s.replica, removed: true}
		return
	}
	if s.removed {
		n.c.fail("n%d writes to replica %d of group %d, which was removed", n.index, s.replica.ID, s.replica.Group)
	}
	if b := w.Base; b != nil {
		t.isBase(n, b.ID, b.Time, &b.Membership)
		if b.ID.Index < s.base.Index {
			n.c.fail("I5: n%d: the log of group %d goes back from %s to %s", n.index, s.replica.Group, s.base, b.ID)
		}
		if term, ok := s.termAt(b.ID.Index); s.there && ok && term == b.ID.Term {
			s.terms = s.terms[b.ID.Index-s.base.Index:]
		} else {
			// The snapshot replaces the log. An entry after it that is committed must
			// not go with it: a quorum may have counted this copy.
			for i, term := range s.terms {
				if at := s.base.Index + uint64(i) + 1; at > b.ID.Index && at <= uint64(len(t.entries)) && t.entries[at-1].term == term {
					n.c.fail("I3: n%d: group %d drops %d.%d, which is committed, for a snapshot at %s", n.index, s.replica.Group, term, at, b.ID)
				}
			}
			s.terms, s.changes = nil, nil
		}
		for len(s.changes) > 0 && s.changes[0].id.Index <= b.ID.Index {
			s.changes = s.changes[1:]
		}
		s.there, s.base = true, b.ID
		s.state.Commit = max(s.state.Commit, b.ID.Index)
	}
	if w.HasState {
		if w.State.Term < s.state.Term || w.State.Term == s.state.Term && s.state.Vote != 0 && w.State.Vote != s.state.Vote {
			n.c.fail("I5: n%d: replica %d of group %d goes from term %d, vote %d to term %d, vote %d", n.index, s.replica.ID, s.replica.Group,
				s.state.Term, s.state.Vote, w.State.Term, w.State.Vote)
		}
		s.state.Term, s.state.Vote = w.State.Term, w.State.Vote
	}
	if len(w.Mended) > 0 {
		s.gaveBack(n, w.Mended)
	}
	if entries > 0 {
		first := w.Entries[0].ID.Index
		if last := s.last(); first > last.Index+1 || first <= s.base.Index {
			n.c.fail("n%d: group %d writes %s into a log from %s to %s", n.index, s.replica.Group, w.Entries[0].ID, s.base, last)
		}
		// Entries may be written again, or replace others, but a committed one must be
		// among those that replace it.
		keep := int(first - s.base.Index - 1)
		for i, term := range s.terms[keep:] {
			if at := first + uint64(i); at <= uint64(len(t.entries)) && t.entries[at-1].term == term {
				if i >= len(w.Entries) || w.Entries[i].ID.Term != term {
					n.c.fail("I3: n%d: group %d truncates %d.%d, which is committed", n.index, s.replica.Group, term, at)
				}
			}
		}
		s.terms = s.terms[:keep]
		for len(s.changes) > 0 && s.changes[len(s.changes)-1].id.Index >= first {
			s.changes = s.changes[:len(s.changes)-1]
		}
		for i := range w.Entries[:entries] {
			e := &w.Entries[i]
			before, _ := s.termAt(e.ID.Index - 1)
			t.wrote(n, e, before)
			if e.Kind == raft.EntryMembership {
				last := &config{members: *t.inForce(s.base.Index)}
				if k := len(s.changes); k > 0 {
					last = s.changes[k-1]
				}
				t.wroteConfig(n, e, last)
				s.changes = append(s.changes, t.configAt[e.ID])
			}
			s.terms = append(s.terms, e.ID.Term)
		}
	}
	// Without a record to carry it, the commit waits for the next write.
	if entries > 0 || w.HasState {
		s.state.Commit = max(s.state.Commit, min(w.Commit, s.last().Index))
	}
}

// matches reports whether a replica was found on disk as the shadow has it.
func (s *shadow) matches(r *raft.Restored) bool {
	if s.removed || r.Last != s.last() || r.State.Term != s.state.Term || r.State.Vote != s.state.Vote || r.Base != s.base {
		return false
	}
	for i, run := range r.Terms {
		end := r.Last.Index
		if i+1 < len(r.Terms) {
			end = r.Terms[i+1].First - 1
		}
		for at := run.First; at <= end; at++ {
			if term, ok := s.termAt(at); !ok || term != run.Term {
				return false
			}
		}
	}
	return true
}

func (s *shadow) clone() *shadow {
	c := *s
	c.terms = append([]uint64(nil), s.terms...)
	c.changes = append([]*config(nil), s.changes...)
	return &c
}

// checkRestored compares what the log found on disk with the shadows: all that was synced
// must be there (I5), and of what was under way at the crash any beginning may be.
func (l *ledger) checkRestored() error {
	for _, r := range l.n.store.Replicas() {
		if l.n.decay.wounded[r] {
			continue
		}
		resume := l.n.refusals.suspend()
		restored, err := l.n.store.Restore(r)
		resume()
		if err != nil {
			if refused(err) {
				return err
			}
			l.n.c.fail("n%d: restore %s: %v", l.n.index, r, err)
		}
		l.checkReplica(r, &restored)
	}
	here := l.n.store.Replicas()
	for r, s := range l.shadows {
		switch {
		case !s.there || slices.Contains(here, r) || l.n.decay.wounded[r]:
		case slices.ContainsFunc(l.pending, func(w logstore.Write) bool { return w.Remove && w.Replica == r }):
			*s = shadow{replica: r, removed: true}
		default:
			l.n.c.fail("I5: n%d: the log has lost %s", l.n.index, r)
		}
	}
	// Writes to a damaged replica are checked once it is whole.
	l.pending = slices.DeleteFunc(l.pending, func(w logstore.Write) bool { return !l.n.decay.wounded[w.Replica] })
	return nil
}

func (l *ledger) checkReplica(r logstore.Replica, restored *raft.Restored) {
	s := l.of(r).clone()
	found := s.there && s.matches(restored)
	commit := s.state.Commit
	for i := range l.pending {
		w := &l.pending[i]
		if found || w.Replica != r {
			continue
		}
		// A write that was cut short leaves its first few entries. Each number of them
		// is tried until one matches.
		bare := *w
		bare.Entries = nil
		before := s.clone()
		for k := 0; k <= len(w.Entries) && !found; k++ {
			s = before.clone()
			s.write(l.n, w, k)
			found = s.matches(restored)
		}
	}
	if !found {
		was := l.of(r)
		l.n.c.fail("I5: n%d: %s was synced up to %s in term %d with vote %d (after %s); found is a log up to %s, term %d, vote %d (after %s); %d writes were under way",
			l.n.index, r, was.last(), was.state.Term, was.state.Vote, was.base, restored.Last, restored.State.Term, restored.State.Vote, restored.Base, len(l.pending))
	}
	if restored.State.Commit < commit {
		l.n.c.fail("I5: n%d: %s had commit %d on disk, found is %d", l.n.index, r, commit, restored.State.Commit)
	}
	// A write that was cut short may have left term and vote without the commit, whose
	// record comes last.
	s.state.Commit = restored.State.Commit
	l.shadows[r] = s
}

// promised checks I5 at its root: when a replica promises something to another, it is
// synced already.
func (l *ledger) promised(e *wire.Envelope) {
	m := &e.Message
	var vote raft.ReplicaID
	switch {
	case m.Type == raft.MsgVote || m.Type == raft.MsgTransferVote:
		vote = m.From
	case m.Type == raft.MsgVoteAnswer && !m.Reject:
		vote = m.To
	case m.Type == raft.MsgAppendAnswer && !m.Reject:
	default:
		return
	}
	// The shadow knows only batches whose sync has returned, so a promise that leaves
	// before its sync finds no match here.
	s := l.of(logstore.Replica{Group: e.Group, Incarnation: e.Incarnation, ID: m.From})
	if l.n.decay.wounded[s.replica] {
		l.n.c.fail("I15: n%d sends a %s of group %d, whose log here is damaged", l.n.index, m.Type, e.Group)
	}
	if s.state.Term > m.Term {
		return // it has promised more since, in the same batch, and the term of this is over
	}
	if vote != 0 && (s.state.Term != m.Term || s.state.Vote != vote) {
		l.n.c.fail("I5: n%d sends a %s of group %d in term %d for replica %d; synced is term %d, vote %d", l.n.index, m.Type, e.Group, m.Term, vote, s.state.Term, s.state.Vote)
	}
	if vote == 0 {
		if s.state.Term != m.Term || !s.holds(l.n.c.truth[e.Group], m.Log) {
			l.n.c.fail("I5: n%d acknowledges %s of group %d in term %d; synced is a log up to %s, in term %d", l.n.index, m.Log, e.Group, m.Term, s.last(), s.state.Term)
		}
	}
}
