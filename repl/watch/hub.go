package watch

import (
	"time"

	"muster/raft"
	"muster/shardmap"
)

const (
	// WatchersMax bounds the watches of a node. Each takes some 400 bytes, and with a
	// subject of its own some 1,000 more.
	WatchersMax = 65536
	// ProgressEvery is how long nothing happens to a watch before its client is told how far
	// it has come.
	ProgressEvery = 5 * time.Second
)

// Hub is all watches of a node.
type Hub struct {
	groups   map[raft.GroupID]*group
	watchers int
	now      time.Duration
	rows     rows
	pieces   pieces

	// idle are the watches that wait, the one that has waited longest first.
	idle waiting
}

// New returns the hub of a node, without groups, at a time of its host's clock.
func New(now time.Duration) *Hub {
	return &Hub{groups: make(map[raft.GroupID]*group), now: now, rows: newRows()}
}

// Watchers returns how many watches there are.
func (h *Hub) Watchers() int { return h.watchers }

// Slowest returns the group with the watch that is nearest to being told that events which it
// has not seen are gone: how many bytes of events it is behind, and how many it may be. If
// each watch has seen all there is, or there is none, bytes is 0.
func (h *Hub) Slowest() (g raft.GroupID, bytes, most int) {
	for id, x := range h.groups {
		var last *shardmap.Position
		for _, w := range x.watchers {
			unread := w.way == lags || w.way == follows && w.seen < w.subject.count
			if unread && (last == nil || w.at.Before(*last)) {
				last = &w.at
			}
		}
		if last == nil || x.history == nil {
			continue
		}
		if b, m := x.history.Behind(*last); b > bytes || b == bytes && b > 0 && id < g {
			g, bytes, most = id, b, m
		}
	}
	return g, bytes, most
}

// group is the watches of one group.
type group struct {
	hub      *Hub
	id       raft.GroupID
	history  *shardmap.History
	watchers []*Watcher // in no particular order
	keys     index      // of watches of keys
	services index      // and of services: an event of the one is no look at the other

	// reads: the cursor is open, as it is while there are watches and a history.
	reads  bool
	cursor shardmap.Cursor
	// matched: the watches that are caught up were told of all events up to it. It never
	// goes back while there are watches.
	matched shardmap.Position
}

// Group says that group g is at the node with this history; or that it has another one, or that
// a state was loaded into it; or, with nil, that the group has gone. Its watches learn of it
// when they next read.
func (h *Hub) Group(g raft.GroupID, history *shardmap.History) {
	x := h.groups[g]
	switch {
	case history == nil && x == nil:
	case history == nil:
		delete(h.groups, g)
		x.close()
		for _, w := range x.watchers {
			w.fall(gone)
		}
	case x == nil:
		h.groups[g] = newGroup(h, g, history)
	default:
		x.allLag()
		x.close()
		x.history = history
		if len(x.watchers) > 0 {
			x.open()
		}
	}
}

func newGroup(h *Hub, g raft.GroupID, history *shardmap.History) *group {
	return &group{hub: h, id: g, history: history, keys: newIndex(), services: newIndex()}
}

// indexOf returns the index of watches of services, or of keys.
func (x *group) indexOf(services bool) *index {
	if services {
		return &x.services
	}
	return &x.keys
}

func (x *group) close() {
	if x.reads {
		x.cursor.Close()
		x.reads = false
	}
}

// open begins to read behind what is applied.
func (x *group) open() {
	_, head := x.history.Bounds()
	at := shardmap.After(head)
	if at.Before(x.matched) {
		at = x.matched
	}
	x.cursor, x.reads = x.history.Cursor(at)
	x.matched = at
}

// allLag makes all watches read the history themselves, each from where it is.
func (x *group) allLag() {
	for _, w := range x.watchers {
		w.fall(lags)
	}
}

// Advance says that entries of group g were applied. It reads their events, and wakes the
// watches that they are for. Without watches it costs next to nothing.
func (h *Hub) Advance(g raft.GroupID) {
	if x := h.groups[g]; x != nil && len(x.watchers) > 0 {
		x.advance()
	}
}

func (x *group) advance() {
	if !x.reads {
		x.open() // there may be a history by now
	}
	if !x.reads {
		return
	}
	// Whoever sees that an entry is applied finds its events, so none up to head is missed.
	_, head := x.history.Bounds()
	var e shardmap.Event
	for x.cursor.Next(&e) {
		x.tell(&e)
	}
	if x.cursor.Lost() {
		// The events between are for the watches to find, or to miss.
		x.allLag()
		x.close()
		x.open()
		return
	}
	// Readers see the events of an entry all at once.
	if last := x.cursor.At().ID; head.Index < last.Index {
		head = last
	}
	if at := shardmap.After(head); x.matched.Before(at) {
		x.matched = at
	}
}

// tell notes an event with the subjects that it is for.
func (x *group) tell(e *shardmap.Event) {
	found := found{at: e.Position(), place: x.cursor.Place()}
	note := func(s *subject) { s.note(e, found) }
	switch {
	case e.Kind.OfKey():
		x.keys.ofKey(e, note)
	case e.Kind.OfService():
		x.services.ofKey(e, note)
	default:
		x.keys.ofSlot(e.Slot, note)
		x.services.ofSlot(e.Slot, note)
	}
}

// Tick tells the hub the time. It wakes watches to which nothing has happened for
// [ProgressEvery], so that their clients are told how far they are.
func (h *Hub) Tick(now time.Duration) {
	h.now = now
	h.pieces.kept = [piecesKept]sharedPiece{}
	for {
		w := h.idle.first
		if w == nil || now-w.since < ProgressEvery {
			return
		}
		h.idle.remove(w)
		w.progress = true
		w.wake()
	}
}
