package sim

import (
	"fmt"

	"muster/raft"
	"muster/shardmap"
)

// The validator of watches (I13) goes by the events that the logs say there were (ends.go).
// What a watch shows of each slot must be those that it asked for, in order, from its start
// on, each once, whatever happens to nodes, groups and connections meanwhile; and the
// positions that it names must stand for exactly what it has shown, so that another watch
// can continue from there.

// watchCheck is what one watch has shown, over all of its connections and all watches that
// continued it.
type watchCheck struct {
	c     *cluster
	wants func(*slotEvent) bool
	prev  bool // with values before
	slots []*watchedSlot
	shown int
}

// watchedSlot is one slot of a watch.
type watchedSlot struct {
	life *slotLife
	next int // of life.events: what is to be shown next, or something that is not wanted
}

// shownEvent is an event as a watch shows it.
type shownEvent struct {
	kind        shardmap.EventKind
	key         []byte
	group       raft.GroupID
	id          raft.LogID
	n           uint32 // among the events of its entry; 0: it is not told
	version     uint64
	number      uint64 // of its value
	hadPrev     bool
	prevVersion uint64
	prevNumber  uint64 // of the value before; only if that is there
	hasPrev     bool
}

// positions says up to where each group's events were shown.
type positions map[raft.GroupID]shardmap.Position

// newWatchCheck begins the check of a watch that continues from some positions.
func newWatchCheck(c *cluster, slots []shardmap.Slot, wants func(*slotEvent) bool, prev bool, from positions) *watchCheck {
	w := &watchCheck{c: c, wants: wants, prev: prev}
	for _, s := range slots {
		l := c.lives.of(s)
		w.slots = append(w.slots, &watchedSlot{life: l, next: l.covered(from)})
	}
	return w
}

// covered returns how many of a slot's events, from the first on, some positions stand for.
// Whoever has read a group up to where it began to serve the slot has read all that former
// owners did.
func (l *slotLife) covered(p positions) int {
	for k := len(l.spans) - 1; k >= 0; k-- {
		at, ok := p[l.spans[k].group]
		if from := l.spans[k].from; !ok || at.ID.Index < from || at.ID.Index == from && at.N != shardmap.AllEvents {
			continue
		}
		n := 0
		for i := range l.events {
			e := &l.events[i]
			if e.span < k || e.span == k && e.covered(at) {
				n = i + 1
			}
		}
		return n
	}
	return 0
}

// covered reports whether a position of its group stands for an event. The number of an
// event that nobody was shown yet is not known.
func (e *slotEvent) covered(at shardmap.Position) bool {
	return e.index < at.ID.Index || e.index == at.ID.Index && (at.N == shardmap.AllEvents || e.n > 0 && e.n <= at.N)
}

// skip passes over events that are not wanted.
func (s *watchedSlot) skip(wants func(*slotEvent) bool) {
	for s.next < len(s.life.events) && !wants(&s.life.events[s.next]) {
		s.next++
	}
}

func (w *watchCheck) slot(key []byte) *watchedSlot {
	for _, s := range w.slots {
		if s.life.slot == shardmap.SlotOf(key) {
			return s
		}
	}
	w.c.fail("I13: a watch shows key %q, of slot %d, for which it did not ask", key, shardmap.SlotOf(key))
	return nil
}

// event checks an event that the watch shows.
func (w *watchCheck) event(who fmt.Stringer, got *shownEvent) {
	s := w.slot(got.key)
	s.skip(w.wants)
	l := s.life
	if s.next == len(l.events) {
		w.c.fail("I13: %s shows %s of %q at %s of group %d; it has shown all that happened in slot %d", who, got.kind, got.key, got.id, got.group, l.slot)
	}
	e := &l.events[s.next]
	if got.n > 0 && e.n == 0 {
		e.n = got.n // the first to see it
	}
	want := shownEvent{kind: e.kind, key: []byte(e.key), group: l.spans[e.span].group, n: got.n, version: e.version, number: e.number}
	want.id = raft.LogID{Term: w.c.truth[want.group].entries[e.index-1].term, Index: e.index}
	if got.n > 0 {
		want.n = e.n
	}
	if w.prev {
		want.hadPrev, want.prevVersion = e.before.there, e.before.version
		if want.hasPrev = got.hasPrev; got.hasPrev {
			want.prevNumber = e.before.number
		}
	}
	if got.kind != want.kind || string(got.key) != e.key || got.group != want.group || got.id != want.id || got.n != want.n || got.version != want.version || got.number != want.number ||
		got.hadPrev != want.hadPrev || got.prevVersion != want.prevVersion || got.prevNumber != want.prevNumber {
		w.c.fail("I13: %s shows of slot %d %s; what comes next is %s", who, l.slot, got, &want)
	}
	s.next++
	w.shown++
}

func (e *shownEvent) String() string {
	s := fmt.Sprintf("%s of %q at %s+%d, version %d, write %d", e.kind, e.key, raft.FormatLogID(e.group, e.id), e.n, e.version, e.number)
	if e.hadPrev {
		s += fmt.Sprintf(", before version %d, write %d", e.prevVersion, e.prevNumber)
	}
	return s
}

// stands checks the positions that the watch names.
func (w *watchCheck) stands(who fmt.Stringer, p positions) {
	for _, s := range w.slots {
		told := watchedSlot{s.life, s.life.covered(p)}
		told.skip(w.wants)
		s.skip(w.wants)
		if told.next != s.next {
			w.c.fail("I13: %s stands at %v, which is %d events of slot %d; it has shown %d: %s", who, p, told.next, s.life.slot, s.next, s.life.near(min(told.next, s.next)))
		}
	}
}

// all reports whether the watch has shown all that happened.
func (w *watchCheck) all() bool {
	for _, s := range w.slots {
		if s.skip(w.wants); s.next < len(s.life.events) {
			return false
		}
	}
	return true
}

// missing describes what the watch has yet to show.
func (w *watchCheck) missing() (text string) {
	for _, s := range w.slots {
		if s.skip(w.wants); s.next < len(s.life.events) {
			text += fmt.Sprintf("slot %d: %s, and %d more\n", s.life.slot, s.life.near(s.next), len(s.life.events)-s.next-1)
		}
	}
	return text
}

// near describes an event of the slot, and where it is.
func (l *slotLife) near(i int) string {
	if i >= len(l.events) {
		return "the end"
	}
	e := &l.events[i]
	return fmt.Sprintf("event %d is %s of %q at %d+%d of group %d, served %v", i, e.kind, e.key, e.index, e.n, l.spans[e.span].group, l.spans)
}
