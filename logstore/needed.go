package logstore

import (
	"maps"
	"slices"
)

// neededIn lists the records in a segment that are needed, in a fixed order.
// It looks at every run of every replica, once per segment: some milliseconds
// for a million runs; with a hundred million it would need an index of its own.
func (x *index) neededIn(segment uint64) []piece {
	var work []piece
	if x.unknown.segment == segment {
		work = append(work, piece{kind: kindLost, replica: &replica{}, at: x.unknown})
	}
	for _, g := range slices.Sorted(maps.Keys(x.graves)) {
		if grave := x.graves[g]; grave.at.segment == segment {
			work = append(work, piece{kind: kindRemove, replica: &replica{id: grave.replica}, at: grave.at})
		}
	}
	for i := range x.peers.all {
		if n := &x.peers.all[i]; n.at.segment == segment {
			work = append(work, piece{kind: kindNote, replica: &x.peers.nobody, first: uint64(n.Node), at: n.at})
		}
	}
	for _, id := range slices.SortedFunc(maps.Keys(x.replicas), compareReplicas) {
		p := x.replicas[id]
		if p.baseAt.segment == segment {
			work = append(work, piece{kind: kindBase, replica: p, at: p.baseAt})
		}
		if p.stateAt.segment == segment {
			work = append(work, piece{kind: kindState, replica: p, at: p.stateAt})
		}
		if p.lostAt.segment == segment {
			work = append(work, piece{kind: kindLost, replica: p, at: p.lostAt})
		}
		for _, n := range p.runs {
			if n.at.segment == segment {
				work = append(work, piece{kind: kindMoved, replica: p, first: n.first, at: n.at})
			}
		}
	}
	return work
}

// neededWithin lists the records that are needed and begin in a range of a
// segment.
func (x *index) neededWithin(segment uint64, from, to int64) []finding {
	x.mu.Lock()
	defer x.mu.Unlock()
	within := func(p place) bool {
		return p.size > 0 && p.segment == segment && int64(p.offset) >= from && int64(p.offset) < to
	}
	var all []finding
	for _, g := range slices.Sorted(maps.Keys(x.graves)) {
		if grave := x.graves[g]; within(grave.at) {
			all = append(all, finding{replica: grave.replica, kind: kindRemove, at: grave.at})
		}
	}
	for i := range x.peers.all {
		if n := &x.peers.all[i]; within(n.at) {
			all = append(all, finding{kind: kindNote, node: n.Node, at: n.at})
		}
	}
	for _, id := range slices.SortedFunc(maps.Keys(x.replicas), compareReplicas) {
		p := x.replicas[id]
		if within(p.baseAt) {
			all = append(all, finding{replica: id, kind: kindBase, at: p.baseAt})
		}
		if within(p.stateAt) {
			all = append(all, finding{replica: id, kind: kindState, at: p.stateAt})
		}
		for _, n := range p.runs {
			if within(n.at) && !n.lost {
				all = append(all, finding{replica: id, kind: kindEntries, run: n, at: n.at})
			}
		}
	}
	return all
}
