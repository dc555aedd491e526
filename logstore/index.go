package logstore

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"sync"

	"muster/raft"
)

// place is where a record stands.
type place struct {
	segment uint64
	offset  uint32
	size    uint32 // with its header; 0: there is none
}

// run says where some consecutive entries of one term are. The index has one for each
// record, not for each entry: 40 bytes for a batch's worth of one group.
type run struct {
	first   uint64
	term    uint64
	at      place
	count   uint32 // Invariant: > 0
	changes bool   // a membership entry is, or was, among them
	lost    bool   // they can't be read; at is where they stood, or where it is said that they are lost
	refused bool   // the disk refused them at the start: lost as far as is known, but not to be recorded as lost. Invariant: refused implies lost
}

func (r run) last() uint64 { return r.first + uint64(r.count) - 1 }

// index knows what is where in the log: which segments there are, and which of them
// hold what is needed of each replica. It is in memory only. A start builds it from the
// records, in the order in which they were written, and each durable batch adds to it:
// see [index.take].
//
// Only the goroutine of Append changes it, with mu held. So that goroutine may read it
// without mu, and any other goroutine with mu.
type index struct {
	dir     string        // of the segments
	dropped func(Replica) // is told of a replica that was removed, with mu held

	// Owned by the goroutine of Append.
	active *segment // the one that is written to
	needed int64    // sum of segment.live

	mu sync.Mutex // of the locks of a Store's parts only home.mu is taken before it; never held over a disk operation
	// Guarded by mu:
	segments []*segment // in order, without gaps in their numbers; from the first that is needed to the last that is prepared
	shown    uint64     // the number of the active segment, for Scrub
	replicas map[Replica]*replica
	graves   map[raft.GroupID]grave
	peers    peerNotes
	unknown  place // of the record that says that something unknown is lost
	// unknownIs is the damage behind unknown.
	unknownIs Damage
}

// segment returns a segment by its number, or nil if it is no longer needed.
func (x *index) segment(number uint64) *segment {
	if len(x.segments) == 0 || number < x.segments[0].number {
		return nil
	}
	if i := number - x.segments[0].number; i < uint64(len(x.segments)) {
		return x.segments[i]
	}
	return nil
}

// segmentNow does the same for any goroutine.
func (x *index) segmentNow(number uint64) *segment {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.segment(number)
}

func (x *index) segmentPath(number uint64) string { return path.Join(x.dir, segmentName(number)) }

// next returns the segment after the active one, if one is prepared.
func (x *index) next() *segment {
	if last := x.segments[len(x.segments)-1]; last != x.active {
		return x.segments[x.active.number-x.segments[0].number+1]
	}
	return nil
}

// goTo makes a segment the active one.
func (x *index) goTo(seg *segment) {
	x.active = seg
	x.mu.Lock()
	defer x.mu.Unlock()
	x.shown = seg.number
}

// tail is the first segment that is needed, or the active one. Only the segments before
// it are freed, whatever else is empty: see reclaim.go.
func (x *index) tail() uint64 {
	for _, seg := range x.segments {
		if seg.live > 0 || seg == x.active {
			return seg.number
		}
	}
	return x.active.number
}

// reclaimable reports whether the next batch could free a segment.
func (x *index) reclaimable() bool { return x.tail() > x.segments[0].number }

// add makes an entry for a replica. It is visible only once its base is on disk.
func (x *index) add(id Replica) *replica {
	p := &replica{id: id, seed: raft.EntrySeed(id.Group, id.Incarnation)}
	x.mu.Lock()
	x.replicas[id] = p
	x.mu.Unlock()
	return p
}

// ids returns what [Store.Replicas] does.
func (x *index) ids() []Replica {
	x.mu.Lock()
	defer x.mu.Unlock()
	var ids []Replica
	for id, p := range x.replicas {
		if p.base != nil {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, compareReplicas)
	return ids
}

// removed returns what [Store.Tombstones] does.
func (x *index) removed() []Replica {
	var all []Replica
	for _, g := range slices.Sorted(maps.Keys(x.graves)) {
		all = append(all, x.graves[g].replica)
	}
	return all
}

// bounds returns what [Store.Bounds] does.
func (x *index) bounds(id Replica) (base, last raft.LogID, commit uint64, ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	p := x.replicas[id]
	if p == nil || p.base == nil {
		return raft.LogID{}, raft.LogID{}, 0, false
	}
	return p.base.ID, p.last(), p.state.Commit, true
}

// notes returns what [Store.Notes] does.
func (x *index) notes() []Note {
	x.mu.Lock()
	defer x.mu.Unlock()
	all := make([]Note, 0, len(x.peers.all))
	for _, n := range x.peers.all {
		all = append(all, n.Note)
	}
	return all
}

// has reports whether the log holds a replica.
func (x *index) has(id Replica) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	p := x.replicas[id]
	return p != nil && p.base != nil
}

// fitsLog returns why a replica can't have a state of its own at an id, or nil.
func (x *index) fitsLog(id Replica, at raft.LogID) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	p := x.replicas[id]
	switch {
	case p == nil || p.base == nil:
		return ErrUnknown
	case at.Index < p.base.ID.Index:
		return fmt.Errorf("%w: the log begins after %s", ErrCompacted, p.base.ID)
	case at.Index == 0 || at.Index > p.last().Index:
		return fmt.Errorf("%w: its last entry is %s", ErrRange, p.last())
	}
	if term, ok := p.term(at.Index); ok && term != at.Term {
		return fmt.Errorf("%w: entry %d is of term %d", ErrWrite, at.Index, term)
	}
	return nil
}

// fitsBase returns why a snapshot at b is of no use to a replica, or nil.
func (x *index) fitsBase(id Replica, b Base) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	p := x.replicas[id]
	switch {
	case p == nil || p.base == nil:
		return ErrUnknown
	case b.ID.Index == 0 || b.ID.Index < p.base.ID.Index:
		return fmt.Errorf("%w: it is at %s, the log begins after %s", ErrCompacted, b.ID, p.base.ID)
	}
	return nil
}
