package wire

import (
	"bytes"
	"fmt"

	"muster/raft"
	"muster/shardmap"
	"muster/shardmap/pack"
)

// Watch opens a stream of what happens to some keys of some slots of one group:
//
//	[window, piece bytes, group, slots, from key, to key | nil, exact, prev, now, positions, services?]
//
// A watch of services has the last field, true; one of keys ends before it, so that nodes of a
// level below 6 can read it.
//
// The answers are [WatchPiece]s. The first has no events: it says where the watch begins
// and, for a watch from now, which slots came from a group whose events of them the client
// has not seen to the end.
type Watch struct {
	Window     uint64 // the first grant, at most StreamWindowMax
	PieceBytes uint32 // largest body of a piece, StreamPieceMin to StreamPieceMax; one row always fits
	Group      raft.GroupID
	Slots      []shardmap.SlotRange // in order; whether the group has them or not
	From       []byte               // the first key, or the only one
	To         []byte               // the first key that is not watched any more; nil: all from From on
	Exact      bool                 // only the key From, which lives in the slots; To is nil
	Prev       bool                 // rows say what was there before
	// Now: begin with what is applied after the watch is opened; Positions are then those of
	// the other groups that the client watches. Else Positions say what the client has seen.
	Now       bool
	Positions []GroupPosition // by group, each once; at most WatchPositionsMax, and 1 or more without Now
	// Services: it is of services instead of keys, of all in the slots, or with Exact of the one
	// that From names.
	Services bool
}

const (
	watchFields = 10 // of a watch of keys; one of services has one more
	// WatchPositionsMax bounds the positions of one watch: there is one for each group.
	WatchPositionsMax = int(raft.GroupMax)
	// WatchRowsMax bounds the rows of one piece, so that even the smallest stay within the
	// number of elements that a body may have.
	WatchRowsMax = 10000
)

// Append appends the body.
func (w *Watch) Append(b []byte) []byte {
	fields := watchFields
	if w.Services {
		fields++
	}
	b = pack.AppendArray(b, fields)
	b = pack.AppendUint(b, w.Window)
	b = pack.AppendUint(b, uint64(w.PieceBytes))
	b = pack.AppendUint(b, uint64(w.Group))
	b = appendRuns(b, w.Slots)
	b = pack.AppendBytes(b, w.From)
	if w.To == nil {
		b = pack.AppendNil(b)
	} else {
		b = pack.AppendBytes(b, w.To)
	}
	b = pack.AppendBool(b, w.Exact)
	b = pack.AppendBool(b, w.Prev)
	b = pack.AppendBool(b, w.Now)
	b = AppendPositions(b, w.Positions)
	if w.Services {
		b = pack.AppendBool(b, true)
	}
	return b
}

// Read reads the body. From and To alias it.
func (w *Watch) Read(body []byte) error {
	r := pack.NewReader(body)
	found := r.Array()
	w.Window = r.Uint()
	piece := r.UintMax(1<<32 - 1)
	w.Group = raft.GroupID(r.UintMax(uint64(raft.GroupMax)))
	var err error
	if w.Slots, err = readRuns(&r); err != nil {
		return err
	}
	w.From, w.To = r.Bytes(), nil
	if !r.Nil() {
		w.To = r.Bytes()
	}
	w.Exact, w.Prev, w.Now = r.Bool(), r.Bool(), r.Bool()
	if w.Positions, err = readPositions(&r); err != nil {
		return err
	}
	if w.Services = found > watchFields; w.Services && !r.Bool() {
		return fmt.Errorf("field services: false; want true, or no such field")
	}
	if err := r.Done(); err != nil {
		return err
	}
	if found < watchFields || found > watchFields+1 {
		return fmt.Errorf("%d fields, want %d, or %d of services", found, watchFields, watchFields+1)
	}
	if err := checkWindow(w.Window, piece); err != nil {
		return err
	}
	w.PieceBytes = uint32(piece)
	return w.check()
}

// check refuses fields that contradict each other.
func (w *Watch) check() error {
	switch {
	case len(w.From) > shardmap.KeyMax || len(w.To) > shardmap.KeyMax:
		return fmt.Errorf("field from key of %d bytes, to key of %d, want %d at most", len(w.From), len(w.To), shardmap.KeyMax)
	case w.To != nil && bytes.Compare(w.From, w.To) >= 0:
		return fmt.Errorf("field to key: %s; want one behind from key, %s, or nil", shardmap.ShowKey(w.To), shardmap.ShowKey(w.From))
	case w.Exact && w.To != nil:
		return fmt.Errorf("field to key: %s beside exact; want nil", shardmap.ShowKey(w.To))
	case w.Exact && len(w.From) == 0:
		return fmt.Errorf("field from key: 0 bytes beside exact; want 1 to %d", shardmap.KeyMax)
	case w.Exact && !w.has(shardmap.SlotOf(w.From)):
		return fmt.Errorf("field slots: key %s is in slot %d, which is not among them", shardmap.ShowKey(w.From), shardmap.SlotOf(w.From))
	case w.Services && (w.To != nil || w.Prev || !w.Exact && len(w.From) > 0):
		return fmt.Errorf("field services: beside a range of keys, or prev; want one service with exact, or none")
	case !w.Now && len(w.Positions) == 0:
		return fmt.Errorf("field positions: none; want 1 or more, or now")
	}
	return nil
}

func (w *Watch) has(s shardmap.Slot) bool {
	for _, run := range w.Slots {
		if s >= run.From && s <= run.To {
			return true
		}
	}
	return false
}

// Level returns the level that a cluster must have to take the watch.
func (w *Watch) Level() uint32 {
	if w.Services {
		return shardmap.ServicesLevel
	}
	return shardmap.LeasesLevel
}

func (w *Watch) lines() []string {
	keys := "keys from " + quoted(w.From)
	switch {
	case w.Services && w.Exact:
		keys = "service " + quoted(w.From)
	case w.Services:
		keys = "services"
	case w.Exact:
		keys = "key " + quoted(w.From)
	case w.To != nil:
		keys += " to " + quoted(w.To)
	}
	lines := withSlots(w.Slots,
		fmt.Sprintf("window %d piece_bytes %d group %s", w.Window, w.PieceBytes, w.Group),
		fmt.Sprintf("%s prev %t now %t", keys, w.Prev, w.Now))
	return append(lines, positionLines(w.Positions)...)
}

func positionLines(positions []GroupPosition) (lines []string) {
	for _, p := range positions {
		lines = append(lines, "position "+p.String())
	}
	return lines
}

// GroupPosition is a place in the events of a group that it names.
type GroupPosition struct {
	Group raft.GroupID
	shardmap.Position
}

func (p GroupPosition) String() string { return shardmap.FormatPosition(p.Group, p.Position) }

// positionFields counts the fields of a position, [group, term, index, n]; an n of nil stands
// behind all events of the entry.
const positionFields = 4

// AppendPositions appends positions, [[group, term, index, n | nil] …], in the order of
// their groups: those of a [Watch], or those from which the [StreamEnd] of one resumes.
func AppendPositions(b []byte, positions []GroupPosition) []byte {
	b = pack.AppendArray(b, len(positions))
	for i := range positions {
		b = pack.AppendArray(b, positionFields)
		b = appendPosition(b, positions[i].Group, positions[i].Position)
	}
	return b
}

// ReadPositions reads what AppendPositions made: at most WatchPositionsMax, each group once
// and in order.
func ReadPositions(b []byte) ([]GroupPosition, error) {
	r := pack.NewReader(b)
	positions, err := readPositions(&r)
	if err != nil {
		return nil, err
	}
	return positions, r.Done()
}

func readPositions(r *pack.Reader) ([]GroupPosition, error) {
	const positionBytesMin = 5
	n := r.Array()
	if err := r.Err(); err != nil || n == 0 {
		return nil, err
	}
	if room := len(r.Rest()); n > room/positionBytesMin || n > WatchPositionsMax {
		return nil, fmt.Errorf("field positions: %d of them in %d bytes, want %d at most", n, room, WatchPositionsMax)
	}
	positions := make([]GroupPosition, n)
	for i := range positions {
		r.ArrayLen(positionFields)
		g, p := readPosition(r)
		if err := r.Err(); err != nil {
			return nil, err
		}
		if i > 0 && g <= positions[i-1].Group {
			return nil, fmt.Errorf("field positions: group %s behind group %s, want each group once, in order", g, positions[i-1].Group)
		}
		positions[i] = GroupPosition{Group: g, Position: p}
	}
	return positions, nil
}

func appendPosition(b []byte, g raft.GroupID, p shardmap.Position) []byte {
	b = appendLogID(b, g, p.ID)
	if p.N == shardmap.AllEvents {
		return pack.AppendNil(b)
	}
	return pack.AppendUint(b, uint64(p.N))
}

func readPosition(r *pack.Reader) (g raft.GroupID, p shardmap.Position) {
	g, p.ID = readLogID(r)
	if r.Nil() {
		p.N = shardmap.AllEvents
	} else {
		p.N = uint32(r.UintMax(shardmap.AllEvents - 1))
	}
	return g, p
}
