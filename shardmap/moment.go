package shardmap

import (
	"slices"
	"sync"
	"sync/atomic"
)

// Moment is a map as it was between two entries, for one reader that goes
// through it while further entries are applied. Taking one costs the
// goroutine that applies O(1), however many slots there are. A slot is copied
// only when the reader comes to it, or when an entry is about to change it,
// whichever is first.
//
//	apply         7 │ 8: a   9: b   10: a           entries, and the slots they change
//	moment          └ taken here: all slots as of 7
//	slot a           is kept as of 7 by entry 8; the reader finds it there
//	slot b           is kept as of 7 by entry 9
//	slot c           the reader copies it when it gets there: nothing changed it
//
// A copy of all 4,096 slots, which is what a snapshot takes, costs 0.8 ms; with
// one for each page of a listing every group of the node would wait for it.
type Moment struct {
	m      *Map
	slots  *slotPages  // that the group served
	runs   []SlotRange // of these, what is shown; nil: all
	number uint64      // Invariant: a slot's first kept records with this number or a larger one are those of this moment

	// one is the copy of the only slot that can hold keys with the reader's prefix;
	// nil if any slot can.
	one  *keptSlot
	over bool // guarded by moments.mu
}

// keptSlot is the keys of a slot as they were at all moments from some number
// up to upto.
type keptSlot struct {
	st   *slotState
	upto uint64
	view view
}

// moments are the open moments of a map.
type moments struct {
	// newest is the number of the newest one while any is open, else 0. Before
	// an entry changes a slot it compares this with slotState.kept; while nobody
	// lists, a write pays for that alone. Set under mu.
	newest atomic.Uint64

	mu   sync.Mutex  // may be taken under a slot's; no other is taken under it
	last uint64      // the number that was given last
	open []*Moment   // by number; the first is not over
	kept []*keptSlot // by upto: what open moments may need
}

// Moment returns the map as it is now, for a reader of keys with a prefix in some runs of
// slots, which are in order and are not changed afterwards. The goroutine that applies
// calls it, between two entries. The reader must call [Moment.End], on any goroutine. The
// moment does not show what becomes of the slots afterwards, not even a seal or a drop.
//
// owned is false, and there is no moment, unless the group serves all slots of the runs
// now ([Map.OwnsAll] says which one it does not). So readers who ask each group for slots
// that together are all see each slot once, whatever moves meanwhile.
//
// Without runs the moment shows all slots that the group serves. Whoever asks all groups
// like that must know that no slot comes or goes in between: nobody shows one that is
// sealed. Then owned is false only if all keys with the prefix are of one slot, which the
// group does not serve.
func (m *Map) Moment(prefix []byte, runs []SlotRange) (t *Moment, owned bool) {
	if _, is := m.OwnsAll(runs); is != Present {
		return nil, false
	}
	t = &Moment{m: m, slots: m.slots.Load(), runs: runs}
	if s, ok := SlotOfPrefix(prefix); ok {
		if runs != nil && !slices.ContainsFunc(runs, func(r SlotRange) bool { return r.Has(s) }) {
			return t, true // which shows nothing
		}
		st := m.slot(s)
		if st == nil {
			return nil, false
		}
		st.mu.Lock()
		t.one = &keptSlot{st: st, view: st.records.copyView()}
		st.mu.Unlock()
		return t, true
	}
	x := &m.moments
	x.mu.Lock()
	defer x.mu.Unlock()
	x.last++
	t.number = x.last
	x.open = append(x.open, t)
	x.newest.Store(t.number)
	return t, true
}

// shown returns the runs of slots that the moment shows, as far as the group served them.
func (t *Moment) shown() []SlotRange {
	if t.runs == nil {
		return []SlotRange{{0, Slots - 1}}
	}
	return t.runs
}

// End gives the moment up; nothing that it handed out may be read after it. A
// second End does nothing.
func (t *Moment) End() {
	if t.number == 0 {
		if t.one != nil {
			t.one.release()
			t.one = nil
		}
		return
	}
	x := &t.m.moments
	x.mu.Lock()
	t.over = true
	n := 0
	// A moment that ended before an older one stays in the list until that one
	// ends: kept records serve every open moment up to their number, so only the
	// oldest open one decides what may go.
	for n < len(x.open) && x.open[n].over {
		n++
	}
	x.open = slices.Delete(x.open, 0, n)
	free := len(x.kept)
	if len(x.open) > 0 {
		oldest := x.open[0].number
		free = 0
		for free < len(x.kept) && x.kept[free].upto < oldest {
			free++
		}
	} else {
		x.newest.Store(0)
	}
	done := slices.Clone(x.kept[:free])
	x.kept = slices.Delete(x.kept, 0, free)
	x.mu.Unlock()
	for _, k := range done { // without mu: a slot's lock is taken before it
		k.release()
	}
}

// release lets the slot's writer change in place what the copy saw.
func (k *keptSlot) release() {
	k.st.mu.Lock()
	defer k.st.mu.Unlock()
	if i := slices.Index(k.st.kept, k); i >= 0 {
		k.st.kept = slices.Delete(k.st.kept, i, i+1)
	}
	k.st.records.releaseView()
}

// keep keeps the records of a slot that is about to change, for the open moments.
// st.mu is held.
func (m *Map) keep(st *slotState) {
	newest := m.moments.newest.Load()
	if newest <= st.keptUpto || bug("listing of two moments") {
		return
	}
	x := &m.moments
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.open) == 0 {
		return // the last ended just now
	}
	// The slot has not changed since the moment for which it was last kept, so
	// one copy serves all moments after that one.
	k := &keptSlot{st: st, upto: x.last, view: st.records.copyView()}
	st.kept, st.keptUpto = append(st.kept, k), k.upto
	x.kept = append(x.kept, k)
}

// slot returns the keys of a slot at this moment, if want finds one that is to be
// read. The caller releases a copy of its own.
func (t *Moment) slot(s Slot, want func(v *view) (cursor, record)) (found listed) {
	st := t.slots.at(s)
	if st == nil {
		return listed{}
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, k := range st.kept {
		// The first that was kept at this moment or later: the slot did not
		// change between the two, or it would have been kept before.
		if k.upto >= t.number {
			c, rec := want(&k.view)
			return listed{record: rec, cursor: c}
		}
	}
	c, rec := want(&st.records.view)
	if rec == nil {
		return listed{}
	}
	own := &keptSlot{st: st, view: st.records.copyView()}
	c.v = &own.view
	return listed{record: rec, cursor: c, own: own}
}
