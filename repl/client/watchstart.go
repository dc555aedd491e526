package client

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// watchStart settles where a watch begins, before anything is given out.
type watchStart struct {
	// Set once.
	of      *Watching
	fromNow bool

	opening   *followed // from now: the group that is being opened; one at a time
	questions int       // that have no answer yet
	confirmed [shardmap.Slots / 64]uint64
	others    map[raft.GroupID]*watchOther
	planned   *Routes // by which the first group was opened
	moved     bool    // a slot has moved since, as far as was seen
	tried     bool    // from positions: the groups that have slots were looked at
	cause     error   // why it is not settled yet
	fails     int
	retryAt   time.Duration
}

// watchOther is a group of which something is of before a watch of many slots that begins now.
type watchOther struct {
	slots  []shardmap.SlotRange // that it is asked about
	views  int                  // that it was asked for, and has not answered
	failed bool                 // one of them was not answered
	had    bool                 // it has such things
	at     raft.LogID           // all of them are before this
}

// begin takes a step towards the start.
func (s *watchStart) begin() {
	w := s.of
	if needs := w.ask.Level(); w.table.routes.Level < needs {
		w.fail(wire.OverLevel("watch", needs, w.table.routes.Level))
		return
	}
	if s.fromNow {
		s.beginNow()
	} else {
		s.beginAt()
	}
}

// Cause returns why a watch has not begun yet; nil if nothing is known to be in its way.
func (w *Watching) Cause() error { return w.start.cause }

// pause puts off the next look at the table.
func (s *watchStart) pause(now time.Duration) {
	s.retryAt = now + watchPause(s.fails)
	s.fails++
}

// beginNow settles a start from now, in three steps.
//
//  1. The groups that have slots are opened, one after the other.
//  2. Each slot must be confirmed by the group that serves it: a table may be behind. All that
//     happens to it from then on will be told.
//  3. Of many slots, the other groups that had some before are followed too, so that the watch
//     has a position of each: else one that is begun anew from its positions could not tell
//     what they keep of before it from what is of its time. What they tell up to now is passed
//     over. So is what the first ones tell, if slots have moved while they were opened: such a
//     slot may be behind its takeover in one group and before its seal in another.
func (s *watchStart) beginNow() {
	w := s.of
	if s.opening != nil && !s.openedNow() {
		return
	}
	if w.now < s.retryAt {
		w.at(s.retryAt)
		return
	}
	if s.others == nil && !s.beginSlots() {
		return
	}
	w.opened = w.single || s.beginOthers()
}

// beginSlots takes the first two steps, and reports whether they are made.
func (s *watchStart) beginSlots() bool {
	w := s.of
	if s.planned == nil {
		s.planned = w.table.routes
	}
	s.moved = s.moved || s.planned != w.table.routes && s.planned.Group != w.table.routes.Group
	if s.questions > 0 {
		return false
	}
	missing := s.unconfirmed()
	groups, slots := byGroup(w.table.routes, missing)
	for _, g := range groups {
		if w.groups[g] == nil {
			f := w.follow(g)
			w.alone(f, f) // one slot is in one group
			s.openNow(f)
			return false
		}
	}
	switch {
	case len(groups) > 0:
		for i, g := range groups {
			w.eachView(g, slots[i], s.confirmedBy)
		}
	case len(w.turns) > 0:
		return true // nobody has the others, if there are any: nothing happens to them
	default:
		s.cause = wire.Unavailable("watch", "no group owns the slots in the table")
		s.pause(w.now)
		w.at(s.retryAt)
	}
	return false
}

// beginOthers takes the third step, and reports whether it is made.
func (s *watchStart) beginOthers() bool {
	w := s.of
	if s.others == nil {
		s.others = make(map[raft.GroupID]*watchOther)
	}
	for _, g := range w.table.routes.Groups {
		o := s.others[g]
		switch {
		case o != nil && o.failed && o.views == 0:
			o = &watchOther{slots: o.slots, had: o.had}
		case o != nil:
			continue
		case w.groups[g] == nil:
			o = &watchOther{slots: w.ask.Slots}
		case s.moved && !bug("a start of two moments"):
			o = &watchOther{slots: []shardmap.SlotRange{{}}, had: true} // only where it is
		default:
			o = new(watchOther)
		}
		s.others[g] = o
		o.views = w.eachView(g, o.slots, func(_ *WatchQuestion, a *wire.SlotViewAnswer) { s.lookedAt(o, a) })
	}
	for _, g := range slices.Sorted(maps.Keys(s.others)) {
		if o := s.others[g]; o.had && w.groups[g] == nil && o.views == 0 {
			w.follow(g).again = true
		}
	}
	// What the groups tell until all are there is of before the watch.
	for {
		if _, ok := w.deliver(); !ok {
			break
		}
	}
	w.reopen()
	settled := s.whole()
	for g, o := range s.others {
		f := w.groups[g]
		if !w.table.known(g) && (f == nil || f.stream == nil) {
			continue // it was removed: it has nothing, and tells of nothing
		}
		if o.views > 0 || o.failed {
			settled = false
			continue
		}
		if !o.had || f != nil && f.joined && !f.at.Before(shardmap.After(o.at)) {
			continue
		}
		if f != nil && f.stream == nil {
			f.again = true // it had no slot when it was opened; some came and left since
			w.at(w.now)
		}
		settled = false
	}
	return settled && w.failure == nil
}

// whole reports whether no group stands in the middle of an entry. A watch that began there
// would show a part of what happened at once: the next piece has the rest, and is passed over
// too.
func (s *watchStart) whole() bool {
	for _, f := range s.of.turns {
		if (f.stream != nil || f.again) && f.joined && f.at.N != 0 && f.at.N != shardmap.AllEvents {
			return false
		}
	}
	return true
}

// lookedAt takes what a group without slots says of them.
func (s *watchStart) lookedAt(o *watchOther, a *wire.SlotViewAnswer) {
	w := s.of
	o.views--
	if a == nil {
		o.failed = true
		w.start.pause(w.now)
		return
	}
	for _, v := range a.Rows {
		o.had = o.had || v.Mark != 0
	}
	if o.at.Index < a.At.Index {
		o.at = a.At
	}
}

// openNow opens a group from now. What was confirmed before is confirmed once more, behind it.
func (s *watchStart) openNow(f *followed) {
	w := s.of
	clear(s.confirmed[:])
	w.marks = nil
	w.open(f, fromNow)
	s.opening = f
}

// openedNow reports whether the group that is being opened is, or can't be now.
func (s *watchStart) openedNow() bool {
	w := s.of
	f := s.opening
	if !w.came(f) {
		if w.ended(f); f.stream != nil || w.failure != nil {
			return false
		}
		s.opening, s.moved = nil, true
		s.pause(w.now)
		if w.groups[f.group] == f {
			w.leave(f) // the table says by then whether it has slots
		}
		return true
	}
	s.opening = nil
	_, elsewhere, _ := f.stream.began()
	s.moved = s.moved || len(elsewhere) > 0
	return true
}

// unconfirmed returns the slots that no group has confirmed to serve.
func (s *watchStart) unconfirmed() []shardmap.SlotRange {
	w := s.of
	return shardmap.SlotRanges(slices.DeleteFunc(slotsOf(w.ask.Slots), func(slot shardmap.Slot) bool {
		return s.confirmed[slot/64]&(1<<(slot%64)) != 0
	}))
}

// eachView asks a group about slots, in as many questions as that takes.
func (w *Watching) eachView(g raft.GroupID, runs []shardmap.SlotRange, then func(*WatchQuestion, *wire.SlotViewAnswer)) (questions int) {
	for some := range slices.Chunk(slotsOf(runs), wire.SlotViewMax) {
		w.question(g, some, then)
		questions++
	}
	return questions
}

func slotsOf(runs []shardmap.SlotRange) (slots []shardmap.Slot) {
	for _, run := range runs {
		for slot := run.From; slot <= run.To; slot++ {
			slots = append(slots, slot)
		}
	}
	return slots
}

// confirmedBy takes what a group has of slots.
func (s *watchStart) confirmedBy(q *WatchQuestion, a *wire.SlotViewAnswer) {
	w := s.of
	if a == nil {
		s.pause(w.now)
		return
	}
	whole := true
	for _, v := range a.Rows {
		if v.Holding != shardmap.HoldsOwned {
			whole = false
			continue
		}
		// A move that began since the table may have brought the slot from a group that had
		// it for a moment only.
		s.moved = s.moved || v.Mark > s.planned.Index
		s.confirmed[v.Slot/64] |= 1 << (v.Slot % 64)
		if !w.single && w.marks == nil {
			w.marks = new([shardmap.Slots]uint64)
		}
		if !w.single {
			w.marks[v.Slot] = v.Mark
		}
	}
	if f := w.groups[q.Ask.Group]; f != nil {
		// Its stream may have ended before the slot came there.
		f.arrived, f.again = true, f.stream == nil
		if f.settled.Index < a.At.Index {
			f.settled = a.At
		}
	}
	if !whole {
		s.moved = true
		s.cause = wire.Unavailable("watch", fmt.Sprintf("slots are on their way from group %s", q.Ask.Group))
		s.pause(w.now)
	}
}

// beginAt settles a start from positions: all groups that have one are opened. One that has
// slots and no position is opened too. A watch of many slots follows it from then on; one of a
// single slot only learns whether the positions lead there, and follows it once the slot has
// left the group before it. A group that was removed is not waited for: a stream will tell
// whether anything of it is missing.
func (s *watchStart) beginAt() {
	w := s.of
	if !s.tried {
		s.tried = true
		groups, _ := byGroup(w.table.routes, w.ask.Slots)
		for _, g := range groups {
			if w.groups[g] == nil {
				f := w.follow(g)
				f.again, f.probe = true, w.single
			}
		}
	}
	settled := true
	for _, f := range slices.Clone(w.turns) {
		switch {
		case f.stream == nil || f.begun:
		case f.probe && f.stream.probed():
			w.leave(f)
		case f.probe || !w.came(f) && w.failure == nil:
			w.ended(f)
		}
		if f.stream == nil && f.again && w.table.known(f.group) && w.due(f) {
			w.open(f, fromPositions)
		}
		if w.failure != nil {
			return
		}
		if w.groups[f.group] == f && (f.stream != nil && !f.begun || f.stream == nil && f.again && w.table.known(f.group)) {
			settled = false
		}
	}
	w.opened = settled
}

// WatchQuestion is what a [Watching] wants to know of a group: what it has of some slots.
type WatchQuestion struct {
	Ask wire.SlotView

	then func(*WatchQuestion, *wire.SlotViewAnswer)
}

// question asks a group about slots; then takes the answer, or nil.
func (w *Watching) question(g raft.GroupID, slots []shardmap.Slot, then func(*WatchQuestion, *wire.SlotViewAnswer)) {
	w.start.questions++
	w.questions = append(w.questions, &WatchQuestion{Ask: wire.SlotView{Group: g, Slots: shardmap.SlotRanges(slots)}, then: then})
}

// Questions returns what is to be asked since it was last called, of the leader of the group
// that each names.
func (w *Watching) Questions() []*WatchQuestion {
	questions := w.questions
	w.questions = nil
	return questions
}

// Answer takes the answer to a question, or why there is none.
func (w *Watching) Answer(now time.Duration, q *WatchQuestion, a *wire.SlotViewAnswer, err error) {
	w.now = now
	w.start.questions--
	if err != nil {
		w.start.cause, a = err, nil
	}
	q.then(q, a)
}
