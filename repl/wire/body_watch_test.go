package wire_test

import (
	"bytes"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

func goodWatch() *wire.Watch {
	return &wire.Watch{Window: 1 << 18, PieceBytes: 1 << 16, Group: 3, Slots: []shardmap.SlotRange{{From: 0, To: 4095}}, From: []byte{}, Now: true}
}

func position(g raft.GroupID, index uint64) wire.GroupPosition {
	return wire.GroupPosition{Group: g, Position: shardmap.After(raft.LogID{Term: 2, Index: index})}
}

// A watch that means nothing is refused before a node keeps anything of it, with the field
// and its limit: a client that is told only "bad" would open it again and again.
func TestWatchLimits(t *testing.T) {
	in := shardmap.SlotOf([]byte("k"))
	for _, c := range []struct {
		name   string
		change func(w *wire.Watch)
		want   string // in the error; "": none
	}{
		{"all keys, from now", func(*wire.Watch) {}, ""},
		{"largest window", func(w *wire.Watch) { w.Window = wire.StreamWindowMax }, ""},
		{"a byte more", func(w *wire.Watch) { w.Window++; w.Window += wire.StreamWindowMax - 1<<18 }, "field window: 16777217 bytes, want 16777216"},
		{"smallest piece", func(w *wire.Watch) { w.PieceBytes = wire.StreamPieceMin }, ""},
		{"a byte less", func(w *wire.Watch) { w.PieceBytes = wire.StreamPieceMin - 1 }, "field piece bytes: 255, want 256"},
		{"a byte more than the largest piece", func(w *wire.Watch) { w.PieceBytes = wire.StreamPieceMax + 1 }, "field piece bytes: 1048577, want 256 to 1048576"},
		{"group 10000", func(w *wire.Watch) { w.Group = 10000 }, "10000 is over the limit of 9999"},
		{"no slots", func(w *wire.Watch) { w.Slots = nil }, "field slots: 0 runs"},
		{"slots out of order", func(w *wire.Watch) { w.Slots = []shardmap.SlotRange{{From: 5, To: 9}, {From: 9, To: 9}} }, "field slots: 9-9 is out of order"},
		{"slot 4096", func(w *wire.Watch) { w.Slots = []shardmap.SlotRange{{From: 5, To: 4096}} }, "4096 is over the limit of 4095"},
		{"longest keys", func(w *wire.Watch) {
			w.From, w.To = make([]byte, shardmap.KeyMax), bytes.Repeat([]byte{1}, shardmap.KeyMax)
		}, ""},
		{"a byte more of the first key", func(w *wire.Watch) { w.From = make([]byte, shardmap.KeyMax+1) }, "field from key of 4097 bytes"},
		{"a byte more of the end", func(w *wire.Watch) { w.To = make([]byte, shardmap.KeyMax+1) }, "to key of 4097, want 4096"},
		{"an end before the first key", func(w *wire.Watch) { w.From, w.To = []byte("b"), []byte("a") }, `field to key: "a"`},
		{"an end at the first key", func(w *wire.Watch) { w.From, w.To = []byte("b"), []byte("b") }, `field to key: "b"`},
		{"one key", func(w *wire.Watch) { w.From, w.Exact = []byte("k"), true }, ""},
		{"one key and an end", func(w *wire.Watch) { w.From, w.To, w.Exact = []byte("k"), []byte("l"), true }, "beside exact; want nil"},
		{"one key without bytes", func(w *wire.Watch) { w.Exact = true }, "field from key: 0 bytes"},
		{"one key of another slot", func(w *wire.Watch) {
			w.From, w.Exact, w.Slots = []byte("k"), true, []shardmap.SlotRange{{From: in + 1, To: in + 1}}
		}, "which is not among them"},
		{"neither now nor positions", func(w *wire.Watch) { w.Now = false }, "field positions: none"},
		{"positions", func(w *wire.Watch) { w.Now, w.Positions = false, []wire.GroupPosition{position(3, 7), position(5, 1)} }, ""},
		{"now beside positions of others", func(w *wire.Watch) { w.Positions = []wire.GroupPosition{position(5, 1)} }, ""},
		{"a group twice", func(w *wire.Watch) { w.Positions = []wire.GroupPosition{position(3, 7), position(3, 8)} }, "field positions: group g3 behind group g3"},
		{"groups out of order", func(w *wire.Watch) { w.Positions = []wire.GroupPosition{position(5, 7), position(3, 8)} }, "field positions: group g3 behind group g5"},
		{"a position of group 10000", func(w *wire.Watch) { w.Positions = []wire.GroupPosition{position(10000, 1)} }, "10000 is over the limit of 9999"},
	} {
		w := goodWatch()
		c.change(w)
		var got wire.Watch
		err := got.Read(w.Append(nil))
		if c.want == "" {
			if err != nil || !reflect.DeepEqual(&got, w) {
				t.Errorf("%s: got %+v, %v, want %+v", c.name, got, err, w)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}

// Ten thousand groups have a position each; one more is no group's.
func TestMostPositions(t *testing.T) {
	var all []wire.GroupPosition
	for g := range raft.GroupID(raft.GroupMax) {
		all = append(all, position(g+1, uint64(g)))
	}
	got, err := wire.ReadPositions(wire.AppendPositions(nil, all))
	if err != nil || !slices.Equal(got, all) {
		t.Errorf("%d positions of %d, %v", len(got), len(all), err)
	}
	if _, err := wire.ReadPositions(wire.AppendPositions(nil, append([]wire.GroupPosition{position(0, 1)}, all...))); err == nil {
		t.Error("a position more is read")
	}
}

// A row comes back as it was sent, whatever its kind, at the edges of its numbers too: a
// client goes on from term, index and n as they stand there.
func TestWatchRows(t *testing.T) {
	number := rapid.OneOf(rapid.Uint64(), rapid.Uint64Max(300), rapid.Just(uint64(math.MaxUint64)))
	id := rapid.Custom(func(t *rapid.T) raft.LogID {
		return raft.LogID{Term: number.Draw(t, "term"), Index: number.Draw(t, "index")}
	})
	blob := rapid.SliceOfN(rapid.Byte(), 0, 300)
	rapid.Check(t, func(t *rapid.T) {
		p := wire.WatchPiece{Group: 3, At: shardmap.Position{ID: id.Draw(t, "at"), N: rapid.Uint32().Draw(t, "n")}}
		var want []wire.WatchRow
		for range rapid.IntRange(0, 20).Draw(t, "rows") {
			w := wire.WatchRow{Kind: wire.WatchKind(rapid.IntRange(1, 7).Draw(t, "kind")), Slot: shardmap.Slot(rapid.IntRange(0, 4095).Draw(t, "slot"))}
			if w.Kind != wire.WatchElsewhere {
				w.ID, w.N = id.Draw(t, "id"), rapid.Uint32Max(math.MaxUint32-1).Draw(t, "of entry")
			}
			switch {
			case w.Kind.OfKey():
				w.Key, w.Version = blob.Draw(t, "key"), number.Draw(t, "version")
				if w.Kind == wire.WatchSet {
					w.Value = blob.Draw(t, "value")
				}
				if w.WithPrev = rapid.Bool().Draw(t, "with prev"); w.WithPrev {
					if w.PrevVersion = number.Draw(t, "prev version"); w.PrevVersion != 0 {
						w.Prev = rapid.OneOf(blob, rapid.Just([]byte(nil))).Draw(t, "prev")
					}
				}
			default:
				w.Group = raft.GroupID(rapid.IntRange(0, int(raft.GroupMax)).Draw(t, "group"))
				if w.Kind != wire.WatchElsewhere {
					w.Number = number.Draw(t, "number")
				}
				if w.Kind == wire.WatchCame || w.Kind == wire.WatchElsewhere {
					w.Sealed = id.Draw(t, "sealed")
				}
			}
			before := len(p.Rows)
			p.Rows = wire.AppendWatchRow(p.Rows, &w)
			if n := len(p.Rows) - before; n > wire.WatchRowHead+len(w.Key)+len(w.Value)+len(w.Prev) {
				t.Fatalf("%s has %d bytes beside key and values, want %d at most", w.Kind, n-len(w.Key)-len(w.Value)-len(w.Prev), wire.WatchRowHead)
			}
			p.Count++
			want = append(want, w)
		}
		body := p.Append(nil)
		if n := len(body) - len(p.Rows); n > wire.WatchPieceHead {
			t.Fatalf("%d bytes before the rows, want %d at most", n, wire.WatchPieceHead)
		}
		var got wire.WatchPiece
		if err := got.Read(body); err != nil || got.Group != p.Group || got.At != p.At || got.Count != len(want) {
			t.Fatalf("got %s, %d rows, %v", shardmap.FormatPosition(got.Group, got.At), got.Count, err)
		}
		var row wire.WatchRow
		for i := range want {
			if !got.Next(&row) || !reflect.DeepEqual(row, want[i]) {
				t.Fatalf("row %d: got %+v, want %+v", i, row, want[i])
			}
		}
		if got.Next(&row) {
			t.Fatal("a row more")
		}
	})
}

// What was there before is left out where both values do not fit in one frame, and the row
// still says that there was something. A frame that is too large would end the connection.
func TestWatchRowOfTwoLargeValues(t *testing.T) {
	large := make([]byte, shardmap.ValueMaxLimit)
	w := wire.WatchRow{Kind: wire.WatchSet, Key: []byte("k"), Value: large, Version: 9, WithPrev: true, Prev: large, PrevVersion: 8}
	p := wire.WatchPiece{Group: 3, Count: 1, Rows: wire.AppendWatchRow(nil, &w)}
	body := p.Append(nil)
	if len(body) > wire.FrameMax {
		t.Fatalf("the piece has %d bytes, a frame %d", len(body), wire.FrameMax)
	}
	var got wire.WatchRow
	if err := p.Read(body); err != nil || !p.Next(&got) || got.PrevVersion != 8 || got.Prev != nil || len(got.Value) != len(large) {
		t.Errorf("version before %d, %d bytes; %d bytes now", got.PrevVersion, len(got.Prev), len(got.Value))
	}
}

// A piece has no more rows than its elements allow, and each row is of a kind that says
// what it means.
func TestWatchPieceLimits(t *testing.T) {
	row := wire.AppendWatchRow(nil, &wire.WatchRow{Kind: wire.WatchDel, Key: []byte("k"), WithPrev: true, PrevVersion: 1, Prev: []byte{}})
	with := func(count int, rows ...[]byte) []byte {
		return (&wire.WatchPiece{Count: count, Rows: slices.Concat(rows...)}).Append(nil)
	}
	most := with(wire.WatchRowsMax, bytes.Repeat(row, wire.WatchRowsMax))
	if err := wire.ReadBody(wire.TypeWatchPiece, most); err != nil {
		t.Errorf("most rows: %v", err)
	}
	h, _, err := wire.ReadFrame(bytes.NewReader(wire.AppendFrame(nil, wire.TypeWatchPiece, 1, body(func(b []byte) []byte { return append(b, most...) }))), wire.NewDecoder(wire.FrameMax))
	if err != nil || h.Type != wire.TypeWatchPiece {
		t.Errorf("a frame of most rows: %v", err)
	}
	kind := func(k byte) []byte { b := bytes.Clone(row); b[1] = k; return b }
	valued := wire.AppendWatchRow(nil, &wire.WatchRow{Kind: wire.WatchSet, Key: []byte("k"), Value: []byte{}})
	valued[1] = byte(wire.WatchDel)
	for _, c := range []struct {
		name string
		body []byte
		want string
	}{
		{"a row more", with(wire.WatchRowsMax+1, bytes.Repeat(row, wire.WatchRowsMax+1)), "10001 rows, want 10000"},
		{"kind 0", with(1, kind(0)), "a row of kind 0, want 1 to 7"},
		{"kind 8", with(1, kind(8)), "a row of kind 8, want 1 to 7"},
		{"a set without a value", with(1, kind(byte(wire.WatchSet))), "a row of kind set, with a value: false"},
		{"a del with a value", with(1, valued), "a row of kind del, with a value: true"},
	} {
		if err := wire.ReadBody(wire.TypeWatchPiece, c.body); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}

// The rows of a piece are the events of the group's log, by the same numbers, and say of each
// what its kind has: a client takes one stream of them for the whole truth.
func TestWatchRowOfEvent(t *testing.T) {
	for k := wire.WatchSet; k < wire.WatchElsewhere; k++ {
		if event := shardmap.EventKind(k); event.String() != k.String() || event.OfKey() != k.OfKey() {
			t.Errorf("row %d is %s, event %d %s", k, k, event, event)
		}
	}
	id := raft.LogID{Term: 7, Index: 9}
	key := shardmap.Event{Kind: shardmap.EventSet, Slot: 5, ID: id, N: 2, Key: []byte("k"), Value: []byte("new"), Version: 9, HadPrev: true, Prev: []byte("old"), PrevVersion: 8}
	dropped, fresh := key, key
	dropped.Prev = nil
	fresh.HadPrev, fresh.Prev, fresh.PrevVersion = false, nil, 0
	came := shardmap.Event{Kind: shardmap.EventCame, Slot: 5, ID: id, N: 1, Group: 2, Number: 11, Sealed: raft.LogID{Term: 3, Index: 4}}
	for _, c := range []struct {
		what  string
		event shardmap.Event
		prev  bool
		want  wire.WatchRow
	}{
		{"a set", key, false, wire.WatchRow{Kind: wire.WatchSet, Slot: 5, ID: id, N: 2, Key: []byte("k"), Value: []byte("new"), Version: 9}},
		{"a set with what was there", key, true, wire.WatchRow{Kind: wire.WatchSet, Slot: 5, ID: id, N: 2, Key: []byte("k"), Value: []byte("new"), Version: 9, WithPrev: true, Prev: []byte("old"), PrevVersion: 8}},
		{"a set whose old value was not kept", dropped, true, wire.WatchRow{Kind: wire.WatchSet, Slot: 5, ID: id, N: 2, Key: []byte("k"), Value: []byte("new"), Version: 9, WithPrev: true, PrevVersion: 8}},
		{"a set of a new key", fresh, true, wire.WatchRow{Kind: wire.WatchSet, Slot: 5, ID: id, N: 2, Key: []byte("k"), Value: []byte("new"), Version: 9, WithPrev: true}},
		{"a takeover", came, true, wire.WatchRow{Kind: wire.WatchCame, Slot: 5, ID: id, N: 1, Group: 2, Number: 11, Sealed: raft.LogID{Term: 3, Index: 4}}},
	} {
		row := wire.WatchRowOf(&c.event, c.prev)
		p := wire.WatchPiece{Count: 1, Rows: wire.AppendWatchRow(nil, &row)}
		var got wire.WatchRow
		if err := p.Read(p.Append(nil)); err != nil || !p.Next(&got) || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %+v, %v, want %+v", c.what, got, err, c.want)
		}
	}
}
