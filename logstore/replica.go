package logstore

import (
	"sort"

	"muster/raft"
)

// replica is what the index knows of one replica.
type replica struct {
	id   Replica
	seed raft.Seed

	// Owned by the goroutine of Append: the replica as it will be once the present
	// batch is on disk.
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

	// Guarded by index.mu; only the goroutine of Append changes it.
	base    *Base
	baseAt  place
	state   raft.HardState // Commit is that of the newest record
	stateAt place
	runs    []run   // by first, none overlapping. Invariant, save during recovery and where promises are lost: from base.ID.Index+1 to the end without a gap
	lost    int     // of runs
	lostAt  place   // of the record, or the damage, by which the replica's promises are lost
	where   *Damage // the first that was found, nil if nothing is lost

	row struct { // owned by whoever makes a directory
		round       uint64
		first, last int32
	}
}

// grave is the newest removal of a group. It covers all replicas of the group that
// were allotted earlier, because ids and incarnations only grow.
type grave struct {
	replica Replica
	at      place
}

// covers reports whether r was removed, or is older than one that was.
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

// holds reports whether the index has all entries that r says are lost, and they can be
// read.
func (p *replica) holds(r *record) bool {
	for next := r.first; next <= r.last(); {
		i := p.find(next)
		if i == len(p.runs) || p.runs[i].first > next || p.runs[i].term != r.term || p.runs[i].lost {
			return false
		}
		next = p.runs[i].last() + 1
	}
	return true
}

// hurt records the first place at which the replica lost something.
func (r *replica) hurt(d Damage) {
	if r.where == nil || r.lost == 0 && r.lostAt.size == 0 {
		r.where = &d
	}
}
