package logstore

import (
	"math"
	"slices"
)

// lastIndex is after each entry that a log can have.
const lastIndex = math.MaxUint64

// take lets a record that is on disk take effect. The same code runs after
// each sync and at recovery, where the records come in the same order, except
// that those of reclaimed segments are missing: what still counts of them was moved,
// and comes later.
func (x *index) take(r *record, at place) {
	p := r.replica
	switch r.kind {
	case kindState:
		x.occupy(&p.stateAt, at)
		p.state.Term, p.state.Vote = r.state.Term, r.state.Vote
	case kindBase:
		// Both ends are cut: entries up to the base are in a snapshot, and those after
		// the end were dropped when this was written.
		x.occupy(&p.baseAt, at)
		p.base = r.base
		x.cut(p, 0, r.base.ID.Index)
		x.cut(p, r.end+1, lastIndex)
	case kindEntries:
		// All entries from the first on are truncated, whatever their term: the leader
		// that sent these has other entries there, or none.
		x.cut(p, r.first, lastIndex)
		x.insert(p, r, at)
	case kindMoved:
		if !x.relocate(p, r, at) {
			x.cut(p, r.first, r.last())
			x.insert(p, r, at)
		}
	case kindLost:
		x.lose(r, at)
		if r.count == 0 {
			return
		}
	case kindNote:
		x.peers.take(x, r.note, at)
		return
	case kindDirectory:
		return
	case kindRemove:
		// At recovery an older removal may come last, because it was moved. The newest
		// one stays: it covers all before it.
		x.drop(p)
		g := x.graves[p.id.Group]
		if !g.covers(p.id) || g.replica == p.id {
			x.occupy(&g.at, at)
			g.replica = p.id
			x.graves[p.id.Group] = g
		}
		return
	}
	p.state.Commit = max(p.state.Commit, r.commit)
}

// lose applies a record that says what is lost.
func (x *index) lose(r *record, at place) {
	d := Damage{File: x.segment(at.segment).name, Offset: int64(at.offset), Record: "loss", Reason: "it was lost before this was written"}
	p := r.replica
	switch {
	case p.id == (Replica{}):
		if x.unknown.size == 0 {
			x.unknownIs = d
		}
		x.occupy(&x.unknown, at)
	case r.count == 0:
		p.hurt(d)
		x.occupy(&p.lostAt, at)
	case p.holds(r):
		// The entries can be read again: somebody put them back after this was
		// written. Their checksums prove them.
	default:
		before := p.where
		still := p.lost > 0
		x.cut(p, r.first, r.last())
		x.hold(at)
		x.insertRun(p, run{first: r.first, term: r.term, at: at, count: r.count, changes: true, lost: true})
		if p.where = before; !still && p.lostAt.size == 0 {
			p.where = &d
		}
	}
}

// occupy moves what is at one place to another.
func (x *index) occupy(old *place, at place) {
	x.release(*old)
	*old = at
	x.hold(at)
}

// hold counts a record as needed.
func (x *index) hold(at place) {
	x.segment(at.segment).live += int64(at.size)
	x.needed += int64(at.size)
}

// release ends what hold began.
func (x *index) release(at place) {
	if at.size > 0 {
		x.segment(at.segment).live -= int64(at.size)
		x.needed -= int64(at.size)
	}
}

// relocate points a run to the new place of its entries, if the record holds exactly
// these. With small batches an index has a hundred thousand runs: cutting each moved
// run out and inserting it again kept the log busy for seconds.
func (x *index) relocate(p *replica, r *record, at place) bool {
	i := p.find(r.first)
	if i == len(p.runs) || p.runs[i].first != r.first || p.runs[i].count != r.count {
		return false
	}
	old := &p.runs[i]
	x.release(old.at)
	x.hold(at)
	if old.lost {
		p.lost--
	}
	*old = run{first: r.first, term: r.term, at: at, count: r.count, changes: r.changes}
	return true
}

func (x *index) insert(p *replica, r *record, at place) {
	x.hold(at)
	x.insertRun(p, run{first: r.first, term: r.term, at: at, count: r.count, changes: r.changes})
}

func (x *index) insertRun(p *replica, n run) {
	if n.lost {
		p.lost++
	}
	p.runs = slices.Insert(p.runs, p.find(n.first), n)
}

// cut takes the entries from first to last out of the index. A record counts
// as needed as long as a part of it is; one that is cut in two, which only
// recovery meets, counts twice.
func (x *index) cut(p *replica, first, last uint64) {
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
			x.release(old.at)
		case 2:
			x.hold(old.at)
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
func (x *index) drop(p *replica) {
	x.cut(p, 0, lastIndex)
	x.release(p.baseAt)
	x.release(p.stateAt)
	x.release(p.lostAt)
	p.base, p.baseAt, p.stateAt, p.lostAt = nil, place{}, place{}, place{}
	delete(x.replicas, p.id)
	x.dropped(p.id)
}
