package watch

import (
	"muster/repl/wire"
	"muster/shardmap"
)

// lagBytes is how many bytes of events one call looks through for a watch that lags, and on to
// the end of the entry: some 50 µs.
const lagBytes = 128 << 10

// Piece is what a watch is to be told: events, and how far it is.
type Piece struct {
	// Body is that of a [wire.WatchPiece]; nil: there is nothing to send. Other watches may be
	// given the same bytes: nobody changes them.
	Body []byte
	At   shardmap.Position
	Rows int
}

// Next returns what is to be sent next, at most max bytes of it, or one event that is larger.
// A piece ends with an entry, unless that has more events than fit.
func (w *Watcher) Next(max int) (Piece, State) {
	if w.group == nil {
		return Piece{}, Gone
	}
	if w.waits {
		w.stopWaiting()
	}
	if w.way == follows && w.seen < w.subject.first() {
		if bug("watch resumed past a gap") {
			w.seen = w.subject.first()
		} else {
			w.way = lags
		}
	}
	switch w.way {
	case follows:
		return w.follow(max)
	case lags:
		return w.lag(max)
	case compacted:
		return Piece{}, Compacted
	}
	return Piece{}, Gone
}

// follow hands out what the hub has found.
func (w *Watcher) follow(max int) (Piece, State) {
	x, s := w.group, w.subject
	if w.seen == s.count {
		return w.idle()
	}
	key := pieceKey{subject: s, seen: w.seen, count: s.count, matched: x.matched, max: max, prev: w.prev}
	if w.starts == nil {
		if p := x.hub.pieces.find(key); p != nil {
			return w.took(p.piece, p.seen)
		}
	}
	b := w.builder(max)
	b.seen = w.seen
	var e shardmap.Event
	for ; b.seen < s.count; b.seen++ {
		f := s.recent[b.seen-s.first()]
		if !x.history.At(f.place, &e) {
			// The event has gone: the history decides whether the watch is compacted.
			w.way = lags
			return w.lag(max)
		}
		if w.begun(&e) && !b.add(&e, f.place) {
			break
		}
	}
	p := b.end(x.matched)
	if w.starts == nil {
		x.hub.pieces.keep(key, p, b.seen)
	}
	return w.took(p, b.seen)
}

// took records that a watch was handed a piece, and has seen as many of its subject's events.
func (w *Watcher) took(p Piece, seen uint64) (Piece, State) {
	s := w.subject
	w.seen = seen
	w.reached(p.At)
	if seen == s.count {
		w.wait()
		return p, Nothing
	}
	w.reached(s.recent[seen-s.first()].before())
	return p, More
}

// idle makes a watch wait that was handed everything.
func (w *Watcher) idle() (p Piece, _ State) {
	w.reached(w.group.matched)
	if w.progress {
		p = Piece{Body: wire.AppendWatchPiece(nil, w.group.id, w.at, 0), At: w.at}
	}
	w.wait()
	return p, Nothing
}

// lag hands out what is next in the history.
func (w *Watcher) lag(max int) (Piece, State) {
	x := w.group
	if !w.reads {
		at := w.at
		if bug("watch event twice after resume") {
			at = shardmap.Position{ID: at.ID}
		}
		if w.cursor, w.reads = x.history.Cursor(at); !w.reads {
			return w.compacted()
		}
		if !x.reads {
			x.open()
		}
	}
	b := w.builder(max)
	var e shardmap.Event
	var last shardmap.Event // what was looked at; only its ID counts
	looked, full, caught := 0, false, false
	for {
		b.cursor = w.cursor
		if !w.cursor.Next(&e) {
			caught = !w.cursor.Lost()
			break
		}
		if x.matched.Before(e.Position()) {
			w.cursor, caught = b.cursor, true
			break
		}
		if looked >= lagBytes && e.ID != last.ID {
			w.cursor = b.cursor
			break
		}
		looked += len(e.Key) + len(e.Value) + len(e.Prev) + wire.WatchRowHead
		if w.subject.matches(&e) && w.begun(&e) && !b.add(&e, w.cursor.Place()) {
			full = true
			break
		}
		last.ID = e.ID
	}
	switch {
	case caught:
		w.cursor.Close()
		w.reads, w.way, w.seen = false, follows, w.subject.count
		if b.rows == 0 {
			return w.idle()
		}
		return w.took(b.end(x.matched), w.seen)
	case full:
		p := b.end(shardmap.Position{})
		w.cursor = b.cursor
		w.reached(p.At)
		return p, More
	case w.cursor.Lost() && b.rows == 0:
		return w.compacted()
	}
	at := shardmap.After(last.ID)
	if w.cursor.Lost() {
		at = w.cursor.At() // the entry may have had more events
	}
	p := b.end(at)
	w.reached(p.At)
	if b.rows == 0 {
		return Piece{}, More
	}
	return p, More
}

func (w *Watcher) compacted() (Piece, State) {
	if w.reads {
		w.cursor.Close()
		w.reads = false
	}
	w.way = compacted
	return Piece{}, Compacted
}

// builder gathers the rows of a piece.
type builder struct {
	w     *Watcher
	want  wanted
	max   int // bytes of rows
	bytes []byte
	rows  int
	at    shardmap.Position // behind the last row
	cut   bool              // an event did not fit

	// How far the watch is: in its subject's events, or in the history.
	seen   uint64
	cursor shardmap.Cursor

	// whole is what there was when the entry of the last row began.
	whole struct {
		rows, bytes int
		at          shardmap.Position
		seen        uint64
		cursor      shardmap.Cursor
	}
}

func (w *Watcher) builder(max int) builder {
	b := builder{w: w, max: max - wire.WatchPieceHead, bytes: w.group.hub.pieces.scratch[:0]}
	b.want = wanted(w.subject.watchers > 1 || len(w.group.indexOf(w.subject.services).subjects) > 1)
	return b
}

// add adds an event; false if it does not fit. Then seen and cursor are in front of what is to
// come next.
func (b *builder) add(e *shardmap.Event, place shardmap.Place) bool {
	if b.rows > 0 && e.ID != b.at.ID {
		b.whole.rows, b.whole.bytes, b.whole.at = b.rows, len(b.bytes), b.at
		b.whole.seen, b.whole.cursor = b.seen, b.cursor
	}
	from := len(b.bytes)
	b.bytes = b.w.group.hub.rows.append(b.bytes, rowKey{b.w.group.history, place, b.w.prev}, e, b.want)
	if b.rows == 0 || len(b.bytes) <= b.max && b.rows < wire.WatchRowsMax {
		b.rows++
		b.at = e.Position()
		return true
	}
	b.cut = true
	b.bytes = b.bytes[:from]
	switch {
	case e.ID != b.at.ID:
		b.at = shardmap.After(b.at.ID)
	case b.whole.rows > 0:
		// The entry has begun in this piece: move all of it into the next one.
		b.rows, b.bytes, b.at = b.whole.rows, b.bytes[:b.whole.bytes], shardmap.After(b.whole.at.ID)
		b.seen, b.cursor = b.whole.seen, b.whole.cursor
	}
	return false
}

// end returns the piece. It goes up to at, unless an event did not fit.
func (b *builder) end(at shardmap.Position) Piece {
	if cap(b.bytes) <= scratchMax {
		b.w.group.hub.pieces.scratch = b.bytes
	}
	if b.cut {
		at = b.at
	}
	if b.rows == 0 {
		return Piece{At: at}
	}
	body := make([]byte, 0, wire.WatchPieceHead+len(b.bytes))
	body = append(wire.AppendWatchPiece(body, b.w.group.id, at, b.rows), b.bytes...)
	return Piece{Body: body, At: at, Rows: b.rows}
}

const (
	// piecesKept is how many pieces are kept, until the next tick, for other watches of the
	// same keys.
	piecesKept = 8
	// scratchMax bounds the memory for rows that is kept for the next piece, in bytes.
	scratchMax = 1 << 20
)

// pieces are those that were made last.
type pieces struct {
	kept    [piecesKept]sharedPiece
	next    int
	scratch []byte // for rows
}

// pieceKey names a piece by all that it was made from.
type pieceKey struct {
	subject     *subject
	seen, count uint64
	matched     shardmap.Position
	max         int
	prev        bool
}

type sharedPiece struct {
	pieceKey
	piece Piece
	seen  uint64 // where it leads
}

func (p *pieces) find(k pieceKey) *sharedPiece {
	for i := range p.kept {
		if p.kept[i].pieceKey == k {
			return &p.kept[i]
		}
	}
	return nil
}

func (p *pieces) keep(k pieceKey, made Piece, seen uint64) {
	p.kept[p.next] = sharedPiece{k, made, seen}
	p.next = (p.next + 1) % piecesKept
}
