package watch

import (
	"cmp"
	"encoding/binary"
	"slices"

	"muster/shardmap"
)

// recentMax is how many places of events a subject remembers: as many as happen between two
// turns of a client that reads.
const recentMax = 16

// wideMin is the number of slots from which on a subject of a range stands once for all slots,
// and not in each of its own.
const wideMin = 64

// subject is what one or more watches watch: one key, or the keys of a range in some slots; or
// one service, or those of a range of names.
type subject struct {
	id       string
	services bool
	exact    bool
	from     []byte
	to       []byte // nil: no end; not of one key
	slots    []shardmap.SlotRange

	watchers int
	place    int        // of one key: in its slot's list
	waiting  []*Watcher // for its next event: caught up, and told that there is nothing

	// recent are its newest events, that with number count-1 the last.
	recent []found
	count  uint64
}

// found is an event that was found to be for a subject.
type found struct {
	at    shardmap.Position
	place shardmap.Place
}

// before is the position in front of the event.
func (f found) before() shardmap.Position { return shardmap.Position{ID: f.at.ID, N: f.at.N - 1} }

// first is the number of the oldest event that s remembers.
func (s *subject) first() uint64 { return s.count - uint64(len(s.recent)) }

// note adds an event, and wakes the watches that wait for it.
func (s *subject) note(e *shardmap.Event, f found) {
	if len(s.recent) == recentMax {
		s.recent = s.recent[:copy(s.recent, s.recent[1:])]
	}
	s.recent = append(s.recent, f)
	s.count++
	// From the last on, since each that is roused leaves its place to the last.
	for i := len(s.waiting) - 1; i >= 0; i-- {
		w := s.waiting[i]
		if !w.begun(e) {
			w.seen = s.count
			continue
		}
		w.reached(f.before()) // nothing up to it was for the watch
		w.rouse()
	}
}

func (s *subject) hasSlot(slot shardmap.Slot) bool {
	i, found := slices.BinarySearchFunc(s.slots, slot, func(r shardmap.SlotRange, n shardmap.Slot) int { return cmp.Compare(r.From, n) })
	return found || i > 0 && s.slots[i-1].Has(slot)
}

// matches reports whether an event is for s.
func (s *subject) matches(e *shardmap.Event) bool {
	switch {
	case !s.hasSlot(e.Slot):
		return false
	case e.Kind.OfSlot():
		return true
	case e.Kind.OfService() != s.services:
		return false
	case s.exact:
		return string(s.from) == string(e.Key)
	}
	return s.reach().has(e.Key)
}

// reach is the range of keys that s is for.
func (s *subject) reach() reach { return reach{from: s.from, to: s.to} }

// index finds the subjects that an event is for: those of keys, or those of services.
type index struct {
	subjects map[string]*subject
	slots    map[shardmap.Slot]*slotIndex
	wide     ranges // of many slots
}

// slotIndex is the subjects of one slot, but for the wide ones.
type slotIndex struct {
	keys   map[string]*subject
	list   []*subject // those of keys
	ranges ranges
}

func newIndex() index {
	return index{subjects: make(map[string]*subject), slots: make(map[shardmap.Slot]*slotIndex)}
}

// ofKey calls f for each subject that an event of a key, or of a service, is for.
func (x *index) ofKey(e *shardmap.Event, f func(*subject)) {
	if len(x.wide.list) > 0 {
		x.wide.find(e.Key, func(s *subject) {
			if s.hasSlot(e.Slot) {
				f(s)
			}
		})
	}
	if len(x.slots) == 0 {
		return
	}
	slot := x.slots[e.Slot]
	if slot == nil {
		return
	}
	if s := slot.keys[string(e.Key)]; s != nil {
		f(s)
	}
	slot.ranges.find(e.Key, f)
}

// ofSlot calls f for each subject that an event of a whole slot is for.
func (x *index) ofSlot(n shardmap.Slot, f func(*subject)) {
	for _, s := range x.wide.list {
		if s.hasSlot(n) {
			f(s)
		}
	}
	if slot := x.slots[n]; slot != nil {
		for _, s := range slot.list {
			f(s)
		}
		for _, s := range slot.ranges.list {
			f(s)
		}
	}
}

// join returns the subject of a watch, for one watch more.
func (x *index) join(w *Spec) *subject {
	id := w.id()
	s := x.subjects[id]
	if s == nil {
		s = &subject{id: id, services: w.Services, exact: w.Exact, from: slices.Clone(w.From), to: slices.Clone(w.To), slots: slices.Clone(w.Slots)}
		if s.exact {
			n := shardmap.SlotOf(s.from)
			s.slots = []shardmap.SlotRange{{From: n, To: n}}
		}
		x.subjects[id] = s
		x.add(s)
	}
	s.watchers++
	return s
}

// leave gives up what join returned.
func (x *index) leave(s *subject) {
	if s.watchers--; s.watchers > 0 {
		return
	}
	delete(x.subjects, s.id)
	x.remove(s)
}

// add puts a subject where events find it.
func (x *index) add(s *subject) {
	if s.wide() {
		x.wide.add(s)
		return
	}
	for _, r := range s.slots {
		for n := r.From; n <= r.To; n++ {
			slot := x.slots[n]
			if slot == nil {
				slot = &slotIndex{keys: make(map[string]*subject)}
				x.slots[n] = slot
			}
			if !s.exact {
				slot.ranges.add(s)
				continue
			}
			slot.keys[string(s.from)] = s
			s.place = len(slot.list)
			slot.list = append(slot.list, s)
		}
	}
}

func (x *index) remove(s *subject) {
	if s.wide() {
		x.wide.remove(s)
		return
	}
	for _, r := range s.slots {
		for n := r.From; n <= r.To; n++ {
			slot := x.slots[n]
			if s.exact {
				delete(slot.keys, string(s.from))
				last := len(slot.list) - 1
				slot.list[s.place] = slot.list[last]
				slot.list[s.place].place = s.place
				slot.list[last] = nil
				slot.list = slot.list[:last]
			} else {
				slot.ranges.remove(s)
			}
			if len(slot.list)+len(slot.ranges.list) == 0 {
				delete(x.slots, n)
			}
		}
	}
}

// wide reports whether s stands once for all slots.
func (s *subject) wide() bool {
	n := 0
	for _, r := range s.slots {
		n += int(r.To-r.From) + 1
	}
	return !s.exact && n >= wideMin
}

// id names the keys and slots of a watch: watches of the same have the same.
func (w *Spec) id() string {
	if w.Exact {
		return "=" + string(w.From)
	}
	b := binary.AppendUvarint([]byte{'-'}, uint64(len(w.From)))
	b = append(b, w.From...)
	if w.To != nil {
		b = binary.AppendUvarint(append(b, 1), uint64(len(w.To)))
		b = append(b, w.To...)
	} else {
		b = append(b, 0)
	}
	for _, r := range w.Slots {
		b = binary.LittleEndian.AppendUint16(b, uint16(r.From))
		b = binary.LittleEndian.AppendUint16(b, uint16(r.To))
	}
	return string(b)
}
