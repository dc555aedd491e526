package wire

import (
	"fmt"
	"math"

	"muster/raft"
	"muster/shardmap"
	"muster/shardmap/pack"
)

// WatchPiece is some of the answer to a [Watch], and how far it goes:
//
//	[group, term, index, n | nil, [row …]]
//
// This piece and those before it have all that the watch is to see up to the position (group,
// term, index, n); an n of nil stands behind all events of the entry. A piece without rows
// reports progress: nothing happened up to there.
//
// The answering side gathers Rows with [AppendWatchRow] and counts them. The asking side
// calls Read, then Next for each row.
type WatchPiece struct {
	Group raft.GroupID
	At    shardmap.Position
	Count int    // rows, at most WatchRowsMax
	Rows  []byte // Count of them, back to back
}

const watchPieceFields = 5

// WatchKind is the kind of a row of a [WatchPiece]. Numbers are for ever; the first six are
// those of [shardmap.EventKind].
type WatchKind uint8

const (
	WatchSet     WatchKind = 1 // a key has a value now
	WatchDel     WatchKind = 2 // a key was deleted
	WatchExpired WatchKind = 3 // the time of a key, or of its lease, was over
	WatchLeft    WatchKind = 4 // the slot was sealed: it goes to Group, by move Number, and sends nothing more unless it comes back
	WatchCame    WatchKind = 5 // the slot was taken over from Group, by move Number; Group had sealed it at Sealed
	WatchBack    WatchKind = 6 // the slot is here again: Group did not take it over, by move Number
	// WatchElsewhere stands in the first piece of a watch from now only: the slot came from
	// Group, whose seal of it, Sealed, is behind the position that the client gave for
	// Group. It has not seen what happened there in between.
	WatchElsewhere WatchKind = 7
)

func (k WatchKind) String() string {
	names := [...]string{WatchSet: "set", WatchDel: "del", WatchExpired: "expired", WatchLeft: "left", WatchCame: "came", WatchBack: "back", WatchElsewhere: "elsewhere"}
	if k == 0 || int(k) >= len(names) {
		return fmt.Sprintf("kind %d", uint8(k))
	}
	return names[k]
}

// OfKey reports whether a row of the kind is about a key.
func (k WatchKind) OfKey() bool { return k >= WatchSet && k <= WatchExpired }

// WatchRow is a row of a [WatchPiece]. On the wire it has what its kind needs:
//
//	set, del, expired  [kind, slot, term, index, n, key, value | nil, version]
//	  with Prev        [kind, slot, term, index, n, key, value | nil, version, prev version, prev | nil]
//	left, back         [kind, slot, term, index, n, group, number]
//	came               [kind, slot, term, index, n, group, number, sealed term, sealed index]
//	elsewhere          [kind, slot, group, sealed term, sealed index]
type WatchRow struct {
	Kind WatchKind
	Slot shardmap.Slot
	ID   raft.LogID // of the entry
	N    uint32     // of the events of that entry, from 1

	// Of set, del, expired.
	Key     []byte
	Value   []byte // of a set; else nil
	Version uint64
	// WithPrev: the watch asked for what was there before. A PrevVersion of 0: nothing was.
	// Beside any other version, a Prev of nil was too large to be kept with the event, or to
	// stand beside the value in one frame.
	WithPrev    bool
	Prev        []byte
	PrevVersion uint64

	// Of left, came, back, elsewhere.
	Group  raft.GroupID
	Number uint64     // of the move; not of elsewhere
	Sealed raft.LogID // of came, elsewhere
}

const (
	watchKeyFields       = 8
	watchPrevFields      = 10
	watchLeftFields      = 7
	watchCameFields      = 9
	watchElsewhereFields = 5

	// WatchRowHead is the most that a row has beside its key and values, in bytes: the heads
	// of array, key (3), value and previous value (5 each), then kind, slot (3), term, index,
	// n (5), version, previous version.
	WatchRowHead = 1 + 3 + 5 + 5 + 1 + 3 + 9 + 9 + 5 + 9 + 9
	// WatchPieceHead is the most that stands before the rows, in bytes, with room to spare.
	WatchPieceHead = 64
)

// WatchRowOf returns the row of an event, which it aliases; withPrev as in [WatchRow].
func WatchRowOf(e *shardmap.Event, withPrev bool) WatchRow {
	w := WatchRow{Kind: WatchKind(e.Kind), Slot: e.Slot, ID: e.ID, N: e.N}
	if !e.Kind.OfKey() {
		w.Group, w.Number, w.Sealed = e.Group, e.Number, e.Sealed
		return w
	}
	w.Key, w.Value, w.Version = e.Key, e.Value, e.Version
	if withPrev {
		w.WithPrev = true
		if e.HadPrev {
			w.PrevVersion, w.Prev = e.PrevVersion, e.Prev
		}
	}
	return w
}

// AppendWatchRow appends one row. Prev is left out if the row would be larger than a frame.
func AppendWatchRow(b []byte, w *WatchRow) []byte {
	switch {
	case w.Kind.OfKey() && w.WithPrev:
		b = pack.AppendArray(b, watchPrevFields)
	case w.Kind.OfKey():
		b = pack.AppendArray(b, watchKeyFields)
	case w.Kind == WatchCame:
		b = pack.AppendArray(b, watchCameFields)
	case w.Kind == WatchElsewhere:
		b = pack.AppendArray(b, watchElsewhereFields)
	default:
		b = pack.AppendArray(b, watchLeftFields)
	}
	b = pack.AppendUint(b, uint64(w.Kind))
	b = pack.AppendUint(b, uint64(w.Slot))
	if w.Kind == WatchElsewhere {
		return appendLogID(b, w.Group, w.Sealed)
	}
	b = pack.AppendUint(b, w.ID.Term)
	b = pack.AppendUint(b, w.ID.Index)
	b = pack.AppendUint(b, uint64(w.N))
	if w.Kind.OfKey() {
		return w.appendKey(b)
	}
	b = pack.AppendUint(b, uint64(w.Group))
	b = pack.AppendUint(b, w.Number)
	if w.Kind == WatchCame {
		b = pack.AppendUint(b, w.Sealed.Term)
		b = pack.AppendUint(b, w.Sealed.Index)
	}
	return b
}

func (w *WatchRow) appendKey(b []byte) []byte {
	b = pack.AppendBytes(b, w.Key)
	if w.Kind == WatchSet {
		b = pack.AppendBytes(b, w.Value)
	} else {
		b = pack.AppendNil(b)
	}
	b = pack.AppendUint(b, w.Version)
	if !w.WithPrev {
		return b
	}
	b = pack.AppendUint(b, w.PrevVersion)
	if w.PrevVersion == 0 || w.Prev == nil || WatchPieceHead+WatchRowHead+len(w.Key)+len(w.Value)+len(w.Prev) > FrameMax {
		return pack.AppendNil(b)
	}
	return pack.AppendBytes(b, w.Prev)
}

// AppendWatchPiece appends the body up to its first row; the caller appends count rows.
func AppendWatchPiece(b []byte, g raft.GroupID, at shardmap.Position, count int) []byte {
	b = pack.AppendArray(b, watchPieceFields)
	b = appendPosition(b, g, at)
	return pack.AppendArray(b, count)
}

// Append appends the body.
func (p *WatchPiece) Append(b []byte) []byte {
	return append(AppendWatchPiece(b, p.Group, p.At, p.Count), p.Rows...)
}

// Read reads the body, which Rows aliases. It has walked all rows when it returns.
func (p *WatchPiece) Read(body []byte) error {
	r := pack.NewReader(body)
	n := r.Array()
	p.Group, p.At = readPosition(&r)
	p.Count, p.Rows = r.Array(), nil
	if p.Count > WatchRowsMax {
		r.Fail(fmt.Sprintf("%d rows, want %d at most", p.Count, WatchRowsMax))
	}
	rows, from := r.Rest(), r.Offset()
	var row WatchRow
	for range p.Count {
		if row.read(&r); r.Err() != nil {
			return r.Err()
		}
	}
	if r.Err() == nil {
		p.Rows = rows[:r.Offset()-from]
	}
	r.Trailing(n, watchPieceFields)
	return r.Done()
}

// Next reads the next row into row; it returns false after the last. Key, Value and Prev
// alias the body.
func (p *WatchPiece) Next(row *WatchRow) bool {
	if p.Count == 0 {
		return false
	}
	r := pack.NewReader(p.Rows)
	row.read(&r)
	p.Count--
	p.Rows = r.Rest()
	return r.Err() == nil
}

func (w *WatchRow) read(r *pack.Reader) {
	*w = WatchRow{}
	n := r.Array()
	w.Kind = WatchKind(r.UintMax(math.MaxUint8))
	w.Slot = shardmap.Slot(r.UintMax(shardmap.Slots - 1))
	fields := watchLeftFields
	switch {
	case r.Err() != nil:
		return
	case w.Kind == WatchElsewhere:
		w.Group, w.Sealed = readLogID(r)
		r.Trailing(n, watchElsewhereFields)
		return
	case w.Kind == 0 || w.Kind > WatchElsewhere:
		r.Fail(fmt.Sprintf("a row of kind %d, want 1 to %d", w.Kind, WatchElsewhere))
		return
	case w.Kind == WatchCame:
		fields = watchCameFields
	case w.Kind.OfKey():
		w.WithPrev = n >= watchPrevFields
		fields = watchKeyFields
		if w.WithPrev {
			fields = watchPrevFields
		}
	}
	w.ID = raft.LogID{Term: r.Uint(), Index: r.Uint()}
	w.N = uint32(r.UintMax(shardmap.AllEvents - 1))
	if w.Kind.OfKey() {
		w.readKey(r)
	} else {
		w.Group = raft.GroupID(r.UintMax(uint64(raft.GroupMax)))
		w.Number = r.Uint()
		if w.Kind == WatchCame {
			w.Sealed = raft.LogID{Term: r.Uint(), Index: r.Uint()}
		}
	}
	r.Trailing(n, fields)
}

func (w *WatchRow) readKey(r *pack.Reader) {
	w.Key = r.Bytes()
	if !r.Nil() {
		w.Value = r.Bytes()
	}
	w.Version = r.Uint()
	if w.WithPrev {
		w.PrevVersion = r.Uint()
		if !r.Nil() {
			w.Prev = r.Bytes()
		}
	}
	if r.Err() == nil && (w.Kind == WatchSet) != (w.Value != nil) {
		r.Fail(fmt.Sprintf("a row of kind %s, with a value: %t", w.Kind, w.Value != nil))
	}
}

func (p *WatchPiece) lines() []string {
	lines := []string{"at " + shardmap.FormatPosition(p.Group, p.At)}
	rows := *p
	for row := new(WatchRow); rows.Next(row); {
		lines = append(lines, row.line())
	}
	return lines
}

// line is the row in one line.
func (w *WatchRow) line() string {
	if w.Kind == WatchElsewhere {
		return fmt.Sprintf("%s slot %d to be read up to %s", w.Kind, w.Slot, raft.FormatLogID(w.Group, w.Sealed))
	}
	line := fmt.Sprintf("%s slot %d at %s+%d", w.Kind, w.Slot, w.ID, w.N)
	if !w.Kind.OfKey() {
		line += fmt.Sprintf(" group %s move %d", w.Group, w.Number)
		if w.Kind == WatchCame {
			line += fmt.Sprintf(" sealed %s", w.Sealed)
		}
		return line
	}
	line += fmt.Sprintf(" key %s version %d", quoted(w.Key), w.Version)
	if w.Kind == WatchSet {
		line += " value " + quoted(w.Value)
	}
	if w.WithPrev {
		line += fmt.Sprintf(" prev version %d value %s", w.PrevVersion, quoted(w.Prev))
	}
	return line
}
