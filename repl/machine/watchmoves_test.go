package machine_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// watchWorld is some groups, each at a node of its own, between which slots move, and the
// client of all of them: it watches keys of three slots, wherever they are.
type watchWorld struct {
	t      *testing.T
	random *rand.Rand
	groups []*streams // of group 1 at 0
	keys   []string   // each in a slot of its own
	owner  []int      // of each key's slot; 0: nobody serves it now
	moving []shardmap.SlotView
	number uint64 // of the last move
	wrote  int

	events [][]happened // of each key, in the order in which they were

	// The client.
	positions map[raft.GroupID]shardmap.Position // up to which it has all
	open      map[raft.GroupID]*reading
	got       [][]happened
	served    []bool                             // each slot, by the group that was opened then
	had       []int                              // events of each slot when the group that had it was opened, from now
	at        map[raft.GroupID]shardmap.Position // where its last stream began
	streams   uint64                             // that it has opened
	transit   map[shardmap.Slot]raft.GroupID     // slots that have left, and have not come yet
	one       bool                               // it watches the slot of one key, and knows only the groups that had it
}

// happened is one set, and where.
type happened struct {
	group raft.GroupID
	id    raft.LogID
	value string
}

// reading is a stream of the client at one group.
type reading struct {
	number uint64
	taken  int // pieces
	rows   []wire.WatchRow
	behind []shardmap.Position // where each row leads
	at     shardmap.Position   // where the last piece leads
	opened bool                // its first piece has come
}

func newWatchWorld(t *testing.T, seed uint64, bound int) *watchWorld {
	w := &watchWorld{t: t, random: rand.New(rand.NewPCG(seed, 9)), keys: []string{"k1", "k2", "k3"}, number: 100}
	for g := range raft.GroupID(3) {
		x := newFed(t)
		x.q.table.Groups = []shardmap.TableGroup{{ID: 1}, {ID: 2}, {ID: 3}}
		if g > 0 {
			x.q.state, x.q.index = owning(g+1, []shardmap.Slot{shardmap.Slot(g)}), 1
		}
		x.q.state.Watched = x.feed.Group(g + 1)
		if bound > 0 {
			x.q.state.State.History().Bound(bound, bound, bound/8)
		}
		x.q.raise(t)
		w.groups = append(w.groups, x)
	}
	for range w.keys {
		w.owner = append(w.owner, 1)
		w.moving = append(w.moving, shardmap.SlotView{})
		w.events = append(w.events, nil)
	}
	w.begin()
	return w
}

// begin has the client begin now, without having seen anything.
func (w *watchWorld) begin() {
	w.positions, w.open, w.got = map[raft.GroupID]shardmap.Position{}, map[raft.GroupID]*reading{}, make([][]happened, len(w.keys))
	w.had, w.served = make([]int, len(w.keys)), make([]bool, len(w.keys))
	w.transit, w.at = map[shardmap.Slot]raft.GroupID{}, map[raft.GroupID]shardmap.Position{}
}

// step has something happen in the groups.
func (w *watchWorld) step() {
	i := w.random.IntN(len(w.keys))
	slot, at := shardmap.SlotOf([]byte(w.keys[i])), w.owner[i]
	switch op := w.random.IntN(8); {
	case at != 0 && op < 5:
		w.wrote++
		x, value := w.groups[at-1], fmt.Sprint(w.wrote)
		id := x.q.write(w.t, w.keys[i], value)
		w.events[i] = append(w.events[i], happened{raft.GroupID(at), id, value})
	case at != 0 && op == 5:
		w.number++
		to := 1 + (at+w.random.IntN(2))%3
		w.moving[i] = w.groups[at-1].q.done(w.t, shardmap.CommandSeal, shardmap.Step{Slot: slot, Number: w.number, Peer: raft.GroupID(to)})
		w.owner[i] = 0
	case at == 0 && op < 5:
		v := w.moving[i]
		from := w.groupOf(slot)
		if op == 0 {
			from.q.done(w.t, shardmap.CommandUnseal, shardmap.Step{Slot: slot, Number: v.Number})
			w.owner[i] = int(from.q.state.Group)
			break
		}
		to := w.groups[v.Target-1]
		from.q.arrive(w.t, to.q, slot, v.Number)
		w.owner[i] = int(v.Target)
		from.q.done(w.t, shardmap.CommandDrop, shardmap.Step{Slot: slot, Number: v.Number})
	}
	for _, x := range w.groups {
		x.q.state.Ran()
	}
}

// groupOf returns the group that has sealed a slot.
func (w *watchWorld) groupOf(s shardmap.Slot) *streams {
	for _, x := range w.groups {
		if x.q.state.State.View(s).Holding == shardmap.HoldsSealed {
			return x
		}
	}
	w.t.Fatalf("nobody has sealed slot %d", s)
	return nil
}

// watched are the keys that the client watches.
func (w *watchWorld) watched() []string {
	if w.one {
		return w.keys[:1]
	}
	return w.keys
}

// slots are those of the client's keys.
func (w *watchWorld) slots() (runs []shardmap.SlotRange) {
	var all []shardmap.Slot
	for _, k := range w.watched() {
		all = append(all, shardmap.SlotOf([]byte(k)))
	}
	slices.Sort(all)
	return shardmap.SlotRanges(all)
}

// opensFrom is where a stream begins: where the client's positions are, or behind what is
// applied.
type opensFrom bool

const (
	fromPositions opensFrom = false
	fromNow       opensFrom = true
)

// opens opens a stream at a group, and returns its first rows.
func (w *watchWorld) opens(g raft.GroupID, from opensFrom) (elsewhere []wire.WatchRow) {
	w.t.Helper()
	now := from == fromNow
	q := wire.Watch{Group: g, Slots: w.slots(), From: []byte("k"), Window: 1 << 24, PieceBytes: wire.StreamPieceMin, Now: now}
	for of := range raft.GroupID(4) {
		if p, ok := w.positions[of]; ok && (of != g || !now) {
			q.Positions = append(q.Positions, wire.GroupPosition{Group: of, Position: p})
		}
	}
	w.streams++
	x, r := w.groups[g-1], &reading{number: w.streams}
	x.request(wire.TypeWatch, r.number, q.Append(nil))
	w.open[g] = r
	x.rest()
	w.take(g)
	if r.opened && now {
		w.positions[g] = r.at
		elsewhere, r.rows, r.behind = r.rows, nil, nil
	}
	return elsewhere
}

// take takes what has come over the client's stream at a group.
func (w *watchWorld) take(g raft.GroupID) {
	x, r := w.groups[g-1], w.open[g]
	for _, body := range x.fed[r.number][r.taken:] {
		var p wire.WatchPiece
		if err := p.Read(body); err != nil || r.at != (shardmap.Position{}) && p.At.Before(r.at) {
			w.t.Fatalf("a piece behind %v: %+v, %v", r.at, p, err)
		}
		if r.taken++; !r.opened {
			r.opened, w.at[g] = true, p.At
		}
		for range p.Count {
			var row wire.WatchRow
			p.Next(&row)
			r.rows, r.behind = append(r.rows, row), append(r.behind, shardmap.Position{ID: row.ID, N: row.N})
		}
		r.at = p.At
	}
}

// reads has the client take one row of a stream, if it may. It reports whether it did.
func (w *watchWorld) reads(g raft.GroupID) bool {
	r := w.open[g]
	if len(r.rows) == 0 {
		if p := w.positions[g]; p.Before(r.at) {
			w.positions[g] = r.at
		}
		return false
	}
	row := r.rows[0]
	switch row.Kind {
	case wire.WatchLeft:
		if w.open[row.Group] == nil {
			if w.opens(row.Group, fromPositions); w.ended() {
				return false
			}
			if _, ok := w.positions[row.Group]; !ok {
				w.positions[row.Group] = w.at[row.Group]
			}
		}
		w.transit[row.Slot] = row.Group
	case wire.WatchCame:
		if w.positions[row.Group].ID.Index < row.Sealed.Index {
			if _, known := w.positions[row.Group]; known && w.open[row.Group] == nil {
				w.opens(row.Group, fromPositions)
			}
			return false
		}
		delete(w.transit, row.Slot)
	case wire.WatchBack:
		delete(w.transit, row.Slot)
	case wire.WatchElsewhere:
		w.t.Fatalf("a slot is elsewhere, at a group that is opened from positions: %+v", row)
	case wire.WatchSet:
		i := slices.Index(w.keys, string(row.Key))
		w.got[i] = append(w.got[i], happened{g, row.ID, string(row.Value)})
	}
	w.positions[g] = r.behind[0]
	r.rows, r.behind = r.rows[1:], r.behind[1:]
	return true
}

// comesTo opens a stream at a group to which a slot is on its way, if there is none.
func (w *watchWorld) comesTo(g raft.GroupID) {
	if w.open[g] == nil && w.goesTo(g) {
		w.opens(g, fromPositions)
	}
}

// goesTo reports whether a slot is on its way to a group.
func (w *watchWorld) goesTo(g raft.GroupID) bool {
	for _, to := range w.transit {
		if to == g {
			return true
		}
	}
	return false
}

// ended reports whether one of the client's streams has ended for good. One whose slots have
// all left is opened again when one goes there.
func (w *watchWorld) ended() bool {
	for g, r := range w.open {
		switch e := w.groups[g-1].ends[r.number]; {
		case e == nil:
		case e.Reason == wire.EndElsewhere && len(r.rows) > 0:
		case e.Reason == wire.EndElsewhere:
			if p := w.positions[g]; p.Before(r.at) {
				w.positions[g] = r.at
			}
			delete(w.open, g)
		case e.Reason == wire.EndCompacted || e.Reason == wire.EndSlow:
			return true
		default:
			w.t.Fatalf("the stream at group %d ends with %+v", g, e)
		}
	}
	return false
}

// fromNow begins anew at all groups, one after the other, until what they say is of one
// moment.
func (w *watchWorld) fromNow() {
	w.closes()
	w.begin()
	again := []raft.GroupID{1, 2, 3}
	for tries := 0; len(again) > 0; tries++ {
		if tries > 100 {
			w.t.Fatal("the groups do not agree on a moment")
		}
		g := again[0]
		again = again[1:]
		if r := w.open[g]; r != nil {
			w.groups[g-1].q.Streams.Cancel(r.number)
			delete(w.open, g)
		}
		if w.random.IntN(2) == 0 {
			w.step()
		}
		for i := range w.keys {
			if w.holds(i) == g {
				w.had[i], w.served[i] = len(w.events[i]), w.owner[i] != 0
			}
		}
		for _, row := range w.opens(g, fromNow) {
			if row.Kind != wire.WatchElsewhere {
				w.t.Fatalf("a watch from now begins with %+v", row)
			}
			if !slices.Contains(again, row.Group) {
				again = append(again, row.Group)
			}
		}
		if e := w.groups[g-1].ends[w.streams]; e != nil && e.Reason == wire.EndMoved {
			delete(w.open, g) // it has none of the slots
			if !w.one {
				w.positions[g] = shardmap.After(raft.LogID{Term: 1, Index: w.groups[g-1].q.index})
			}
		}
		// A slot may have gone to a group that had none, or be on its way already: its client
		// asks the groups whether all slots are served where it watches them.
		for i := range w.watched() {
			for w.owner[i] == 0 {
				w.step()
				w.served[i] = false
			}
			if g := raft.GroupID(w.owner[i]); len(again) == 0 && (w.open[g] == nil || !w.served[i]) {
				again = append(again, g)
			}
		}
	}
}

// holds returns the group that serves the slot of a key, or has sealed it.
func (w *watchWorld) holds(i int) raft.GroupID {
	if w.owner[i] != 0 {
		return raft.GroupID(w.owner[i])
	}
	return w.groupOf(shardmap.SlotOf([]byte(w.keys[i]))).q.state.Group
}

// closes has the client lose all its streams.
func (w *watchWorld) closes() {
	for g, r := range w.open {
		w.groups[g-1].q.Streams.Cancel(r.number)
	}
	w.open = map[raft.GroupID]*reading{}
}

// hasRead is how much of the events the client has read.
type hasRead bool

const (
	readSome hasRead = false
	readAll  hasRead = true
)

// check compares what the client has of each slot with what happened there: from the first on
// that it has been sent, everything, in order, and nothing twice.
func (w *watchWorld) check(began []int, read hasRead) {
	w.t.Helper()
	for i, got := range w.got[:len(w.watched())] {
		want := w.events[i][began[i]:]
		if read == readSome && len(got) < len(want) {
			want = want[:len(got)]
		}
		if !slices.Equal(got, want) {
			w.t.Fatalf("of %s it has\n%s\nwant\n%s\nat %v", w.keys[i], told(got), told(want), w.positions)
		}
	}
}

func told(all []happened) string {
	var b strings.Builder
	for _, h := range all {
		fmt.Fprintf(&b, " g%d/%d=%s", uint16(h.group), h.id.Index, h.value)
	}
	return b.String()
}

// begins says with which event of each slot the client begins: with the first one behind all
// that its positions have. None of those before may be behind its group's position: then the
// positions would be of several moments.
func (w *watchWorld) begins() (first []int) {
	for i, all := range w.events[:len(w.watched())] {
		n := w.had[i]
		for j, h := range all {
			if p, known := w.positions[h.group]; known && p.ID.Index >= h.id.Index {
				n = max(n, j+1)
			}
		}
		for _, h := range all[:n] {
			if p, known := w.positions[h.group]; known && p.ID.Index < h.id.Index {
				w.t.Fatalf("of %s, positions %v have %d events, but not g%d/%d", w.keys[i], w.positions, n, uint16(h.group), h.id.Index)
			}
		}
		first = append(first, n)
	}
	return first
}

// A client that watches slots which move, from group to group and back, has of each slot every
// event once and in order, from the moment on at which it began, however often it loses its
// streams and opens them again from its positions. One would doubt it: a slot's events lie in
// several logs, in stints, and the node that opens a watch sees only one of them.
//
// With a history that is short, the client may be told that what it needs is gone; then it
// begins anew. It is never sent something with a gap.
func TestWatchOfSlotsThatMove(t *testing.T) {
	compacted, whole := 0, 0
	for seed := range uint64(160) {
		bound := 0
		if seed%2 == 1 {
			bound = 2 << 10
		}
		w := newWatchWorld(t, seed, bound)
		w.one = seed%4 < 2
		w.fromNow()
		began := w.begins()
		for range 400 {
			switch op := w.random.IntN(20); {
			case op < 8:
				w.step()
			case op == 8 && w.random.IntN(4) == 0:
				w.closes()
				for range w.random.IntN(30) {
					w.step()
				}
				for g := range raft.GroupID(4) {
					if _, ok := w.positions[g]; ok {
						w.opens(g, fromPositions)
					}
				}
			default:
				g := raft.GroupID(1 + w.random.IntN(3))
				w.comesTo(g)
				if w.open[g] != nil {
					w.groups[g-1].rest()
					w.take(g)
					w.reads(g)
				}
			}
			if w.ended() {
				compacted++
				w.check(began, readSome)
				w.fromNow()
				began = w.begins()
			}
		}
		for still := true; still && !w.ended(); {
			still = false
			for g := range raft.GroupID(4) {
				w.comesTo(g)
				if w.open[g] == nil {
					continue
				}
				w.groups[g-1].rest()
				w.take(g)
				for w.open[g] != nil && w.reads(g) {
					still = true
				}
			}
		}
		if w.ended() {
			compacted++
			w.check(began, readSome)
			continue
		}
		whole++
		w.check(began, readAll)
	}
	if compacted == 0 || whole < 80 {
		t.Errorf("%d watches were compacted, %d read everything: the test shows too little", compacted, whole)
	}
}
