package logstore

import (
	"slices"
	"sort"

	"muster/raft"
)

// place is where a record stands.
type place struct {
	segment uint64
	offset  uint32
	size    uint32 // with its header; 0: there is none
}

// run says where some entries of one term stand that follow each other. The
// index has one for each record, not for each entry: 40 bytes for a batch's
// worth of one group.
type run struct {
	first   uint64
	term    uint64
	at      place
	count   uint32 // Invariant: > 0
	changes bool   // a membership entry is, or was, among them
	lost    bool   // they can't be read; at is where they stood, or where it is said that they are lost
	refused bool   // the disk refused them at the start: lost as far as is known, and not to be written down as that. Invariant: refused implies lost
}

func (r run) last() uint64 { return r.first + uint64(r.count) - 1 }

// replica is what the store knows of one replica.
type replica struct {
	id   Replica
	seed raft.Seed

	// Owned by the goroutine of Append: how it will be once the batch that is
	// being made is on disk.
	ahead struct {
		base   raft.LogID
		last   raft.LogID
		state  raft.HardState // Commit is the largest known, not clamped to the end of the log
		kept   uint64         // the largest commit in a record
		late   bool           // in Store.late
		has    bool           // a base
		gone   bool           // removed
		queued int            // records in the batch
	}

	// Guarded by Store.mu; only the goroutine of Append changes it.
	base    *Base
	baseAt  place
	state   raft.HardState // Commit is that of the newest record
	stateAt place
	runs    []run   // by first, none overlapping. Invariant, save during recovery and where promises are lost: from base.ID.Index+1 to the end without a gap
	lost    int     // of runs
	lostAt  place   // where it is said, or seen, that what the replica promised is lost
	where   *Damage // the first that was found, nil if nothing is lost

	row struct { // owned by whoever makes a directory
		round       uint64
		first, last int32
	}
}

// grave is the newest removal of a group. It covers all replicas of the group
// that were allotted before: ids and incarnations only grow.
type grave struct {
	replica Replica
	at      place
}

// covers says whether r was removed, or is older than one that was.
func (g grave) covers(r Replica) bool {
	if g.at.size == 0 {
		return false
	}
	if r.Incarnation != g.replica.Incarnation {
		return r.Incarnation < g.replica.Incarnation
	}
	return r.ID <= g.replica.ID
}

// last returns the id of the last entry, or of the base.
func (r *replica) last() raft.LogID {
	if n := len(r.runs); n > 0 {
		return raft.LogID{Term: r.runs[n-1].term, Index: r.runs[n-1].last()}
	}
	if r.base == nil {
		return raft.LogID{}
	}
	return r.base.ID
}

// find returns the place in runs of the first that ends at index or after.
func (r *replica) find(index uint64) int {
	return sort.Search(len(r.runs), func(i int) bool { return r.runs[i].last() >= index })
}

// term returns the term of an entry, or of the base.
func (r *replica) term(index uint64) (uint64, bool) {
	if r.base != nil && index == r.base.ID.Index {
		return r.base.ID.Term, true
	}
	if i := r.find(index); i < len(r.runs) && r.runs[i].first <= index {
		return r.runs[i].term, true
	}
	return 0, false
}

// take lets a record that is on disk take effect. The same code runs after
// each sync and at recovery, where the records come in the same order, save
// that those of reclaimed segments are missing. What they said that still
// counts comes later, moved.
func (s *Store) take(r *record, at place) {
	p := r.replica
	switch r.kind {
	case kindState:
		s.occupy(&p.stateAt, at)
		p.state.Term, p.state.Vote = r.state.Term, r.state.Vote
	case kindBase:
		s.occupy(&p.baseAt, at)
		p.base = r.base
		s.cut(p, 0, r.base.ID.Index)
		s.cut(p, r.end+1, ^uint64(0))
	case kindEntries:
		s.cut(p, r.first, ^uint64(0))
		s.insert(p, r, at)
	case kindMoved:
		if !s.relocate(p, r, at) {
			s.cut(p, r.first, r.last())
			s.insert(p, r, at)
		}
	case kindLost:
		s.lose(r, at)
		if r.count == 0 {
			return
		}
	case kindNote:
		s.peers.take(s, r.note, at)
		return
	case kindDirectory:
		return
	case kindRemove:
		s.drop(p)
		g := s.graves[p.id.Group]
		if !g.covers(p.id) || g.replica == p.id {
			s.occupy(&g.at, at)
			g.replica = p.id
			s.graves[p.id.Group] = g
		}
		return
	}
	p.state.Commit = max(p.state.Commit, r.commit)
}

// occupy moves what is at one place to another.
func (s *Store) occupy(old *place, at place) {
	s.release(*old)
	*old = at
	s.hold(at)
}

// hold counts a record as needed.
func (s *Store) hold(at place) {
	s.segment(at.segment).live += int64(at.size)
	s.needed += int64(at.size)
}

// release ends what hold began.
func (s *Store) release(at place) {
	if at.size > 0 {
		s.segment(at.segment).live -= int64(at.size)
		s.needed -= int64(at.size)
	}
}

// segment returns a segment by its number, or nil if it is not needed any
// more.
func (s *Store) segment(number uint64) *segment {
	if len(s.segments) == 0 || number < s.segments[0].number {
		return nil
	}
	if i := number - s.segments[0].number; i < uint64(len(s.segments)) {
		return s.segments[i]
	}
	return nil
}

// relocate leads a run to where its entries stand now, if the record has just
// these. Where batches are small an index has a hundred thousand runs: to cut
// one out and put it in again, for each that is moved, kept the log busy with
// nothing else for seconds.
func (s *Store) relocate(p *replica, r *record, at place) bool {
	i := p.find(r.first)
	if i == len(p.runs) || p.runs[i].first != r.first || p.runs[i].count != r.count {
		return false
	}
	old := &p.runs[i]
	s.release(old.at)
	s.hold(at)
	if old.lost {
		p.lost--
	}
	*old = run{first: r.first, term: r.term, at: at, count: r.count, changes: r.changes}
	return true
}

func (s *Store) insert(p *replica, r *record, at place) {
	s.hold(at)
	s.insertRun(p, run{first: r.first, term: r.term, at: at, count: r.count, changes: r.changes})
}

func (s *Store) insertRun(p *replica, n run) {
	if n.lost {
		p.lost++
	}
	p.runs = slices.Insert(p.runs, p.find(n.first), n)
}

// cut takes the entries from first to last out of the index. A record counts
// as needed as long as a part of it is; one that is cut in two, which only
// recovery meets, counts twice.
func (s *Store) cut(p *replica, first, last uint64) {
	i := p.find(first)
	j := i
	var rest [2]run
	keep := rest[:0]
	for ; j < len(p.runs) && p.runs[j].first <= last; j++ {
		old := p.runs[j]
		before := len(keep)
		if old.first < first {
			head := old
			head.count = uint32(first - old.first)
			keep = append(keep, head)
		}
		if old.last() > last {
			tail := old
			tail.first = last + 1
			tail.count = uint32(old.last() - last)
			keep = append(keep, tail)
		}
		left := len(keep) - before
		switch left {
		case 0:
			s.release(old.at)
		case 2:
			s.hold(old.at)
		}
		if old.lost {
			p.lost += left - 1
		}
	}
	switch {
	case i == j:
	case i == 0 && len(keep) == 0 && j < len(p.runs) && j > 64:
		// Compaction of a long log: begin anew rather than shift what is left
		// and keep the old array alive.
		p.runs = append([]run(nil), p.runs[j:]...)
	default:
		p.runs = slices.Replace(p.runs, i, j, keep...)
	}
}

// drop takes a removed replica out of the index.
func (s *Store) drop(p *replica) {
	s.cut(p, 0, ^uint64(0))
	s.release(p.baseAt)
	s.release(p.stateAt)
	s.release(p.lostAt)
	p.base, p.baseAt, p.stateAt, p.lostAt = nil, place{}, place{}, place{}
	delete(s.replicas, p.id)
	s.forgetSnapshots(p.id)
}
