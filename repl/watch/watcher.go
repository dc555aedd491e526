package watch

import (
	"time"

	"muster/raft"
	"muster/shardmap"
)

// Spec says what a watch is of: some keys of some slots of a group, or some services, and what
// becomes of the slots themselves.
type Spec struct {
	Group raft.GroupID
	Slots []shardmap.SlotRange // in order
	From  []byte               // the first key, or the only one
	To    []byte               // the first key that is not watched any more; nil: all from From on
	Exact bool                 // only the key From, whose slot is among Slots
	Prev  bool                 // say what was there before; not of services, whose events don't keep it
	// Services: instead of keys, the services whose names are in that range. Rows are of kind
	// set and del as those of keys are, and their values have no secrets.
	Services bool
}

// Start says where a watch begins in some of its slots: behind a position.
type Start struct {
	Slots []shardmap.SlotRange
	At    shardmap.Position
}

// State is what to expect of a watch after [Watcher.Next].
type State uint8

const (
	Nothing   State = iota + 1 // there is nothing more now; wake will be called once
	More                       // there may be more: call Next again
	Compacted                  // events that the watch was not told of are gone, and it ends
	Gone                       // the group has left the node, and the watch ends
)

// way is how a watch reads.
type way uint8

const (
	lags      way = iota + 1 // it reads the history itself; it follows as soon as it is where the hub is
	follows                  // it reads what the hub has found for its subject; it lags if that is forgotten
	compacted                // it ends
	gone                     // it ends
)

// Watcher is one watch. It may begin anywhere in the history.
type Watcher struct {
	// Set once.
	group   *group
	subject *subject
	prev    bool
	wake    func()

	place int // among the group's watches
	way   way
	// at: all events up to it were handed out, or are not for the watch. If some were found that
	// were not handed out, it is right in front of them. If there are none, the group's matched
	// position may be further.
	at shardmap.Position
	// starts are left out once the watch and the hub are behind all of them, which are up to
	// last.
	starts []Start
	last   shardmap.Position

	seen   uint64 // follows: how many of the subject's events it has been told of
	reads  bool   // lags: cursor is open
	cursor shardmap.Cursor

	// While it waits, which only one that follows does, it is among the subject's waiting,
	// at turn, and among the hub's idle, unless it is to say how far it is, even if nothing
	// has happened: then it was woken.
	waits        bool
	progress     bool
	turn         int
	since        time.Duration
	before, next *Watcher
}

// Watch opens a watch. starts say where each of its slots begins; the caller changes neither
// them nor s afterwards. The hub calls wake from within its own calls. ok is false, and there
// is no watch, if the node has [WatchersMax] of them.
func (h *Hub) Watch(s *Spec, starts []Start, wake func()) (w *Watcher, ok bool) {
	if h.watchers >= WatchersMax {
		return nil, false
	}
	x := h.groups[s.Group]
	w = &Watcher{prev: s.Prev, wake: wake, way: lags, starts: starts}
	if x == nil {
		x, w.way = newGroup(h, s.Group, nil), gone
	}
	h.watchers++
	w.group, w.subject, w.place = x, x.indexOf(s.Services).join(s), len(x.watchers)
	x.watchers = append(x.watchers, w)
	if len(x.watchers) == 1 && w.way != gone {
		x.matched = shardmap.Position{}
		x.open()
	}
	for i, start := range starts {
		if i == 0 || start.At.Before(w.at) {
			w.at = start.At
		}
		w.last = behind(w.last, start.At)
	}
	return w, true
}

// Close ends the watch: wake is no longer called. A second Close does nothing.
func (w *Watcher) Close() {
	x := w.group
	if x == nil {
		return
	}
	if w.waits {
		w.stopWaiting()
	}
	if w.reads {
		w.cursor.Close()
	}
	x.hub.watchers--
	x.indexOf(w.subject.services).leave(w.subject)
	last := len(x.watchers) - 1
	x.watchers[w.place] = x.watchers[last]
	x.watchers[w.place].place = w.place
	x.watchers[last] = nil
	x.watchers = x.watchers[:last]
	w.group = nil
	if last == 0 {
		x.close()
	}
}

// At returns the position up to which the watch has been told of everything. It may be behind
// that of the last piece.
func (w *Watcher) At() shardmap.Position { return w.at }

// behind returns the one of two positions that is behind the other.
func behind(a, b shardmap.Position) shardmap.Position {
	if a.Before(b) {
		return b
	}
	return a
}

// begun reports whether the watch has begun, in the event's slot, when the event happens.
func (w *Watcher) begun(e *shardmap.Event) bool {
	for i := range w.starts {
		for _, r := range w.starts[i].Slots {
			if r.Has(e.Slot) {
				return w.starts[i].At.Before(e.Position())
			}
		}
	}
	return true
}

// reached records that the watch was told of everything up to a position.
func (w *Watcher) reached(at shardmap.Position) {
	w.at = behind(w.at, at)
	// The hub may not have come to where the watch begins.
	if w.starts != nil && !w.at.Before(w.last) && !w.group.matched.Before(w.last) {
		w.starts = nil
	}
}

// fall makes the watch read in another way, from where it is, or end.
func (w *Watcher) fall(to way) {
	if w.way >= compacted {
		return
	}
	if w.way == follows && w.seen == w.subject.count {
		w.reached(w.group.matched)
	}
	if w.reads {
		w.cursor.Close()
		w.reads = false
	}
	w.way = to
	switch {
	case w.waits:
		w.rouse()
	case to >= compacted:
		w.wake()
	}
}

// wait waits for the subject's next event, or for the time to say how far the watch is.
func (w *Watcher) wait() {
	s, h := w.subject, w.group.hub
	w.waits, w.progress, w.since, w.turn = true, false, h.now, len(s.waiting)
	s.waiting = append(s.waiting, w)
	h.idle.add(w)
}

// rouse ends the wait of a watch, and wakes it unless it was woken already.
func (w *Watcher) rouse() {
	woken := w.progress
	w.stopWaiting()
	if !woken {
		w.wake()
	}
}

func (w *Watcher) stopWaiting() {
	w.waits = false
	if !w.progress {
		w.group.hub.idle.remove(w)
	}
	list := w.subject.waiting
	last := len(list) - 1
	list[w.turn] = list[last]
	list[w.turn].turn = w.turn
	list[last] = nil
	w.subject.waiting = list[:last]
}

// waiting is a list of watches, in the order in which they came.
type waiting struct{ first, last *Watcher }

func (l *waiting) add(w *Watcher) {
	w.before, w.next = l.last, nil
	if l.last != nil {
		l.last.next = w
	} else {
		l.first = w
	}
	l.last = w
}

func (l *waiting) remove(w *Watcher) {
	if w.before != nil {
		w.before.next = w.next
	} else {
		l.first = w.next
	}
	if w.next != nil {
		w.next.before = w.before
	} else {
		l.last = w.before
	}
	w.before, w.next = nil, nil
}
