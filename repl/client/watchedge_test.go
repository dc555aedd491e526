package client

import (
	"errors"
	"strings"
	"testing"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// A watch that can't be must be refused before anything is sent, with what is wrong in the
// error.
func TestWatchQueryIsRefused(t *testing.T) {
	long := make([]byte, shardmap.KeyMax+1)
	at := GroupPosition{Group: 1, Position: shardmap.After(raft.LogID{Term: 1, Index: 2})}
	for _, tt := range []struct {
		name string
		q    WatchQuery
		code wire.Code
		want string
	}{
		{"a key and a prefix", WatchQuery{Key: []byte("k"), Prefix: []byte("p")}, wire.CodeBadRequest, "more than one of a key, a prefix and a range"},
		{"a prefix and a range", WatchQuery{Prefix: []byte("p"), From: []byte("a")}, wire.CodeBadRequest, "more than one of"},
		{"an empty key", WatchQuery{Key: []byte{}}, wire.CodeBadRequest, "0 bytes, want 1 to 4096"},
		{"a long key", WatchQuery{Key: long}, wire.CodeTooLarge, "4097 bytes, the limit is 4096"},
		{"a long prefix", WatchQuery{Prefix: long}, wire.CodeTooLarge, "4097 bytes, the limit is 4096"},
		{"a long first key", WatchQuery{From: long}, wire.CodeTooLarge, "4097 bytes"},
		{"a long end", WatchQuery{To: long}, wire.CodeTooLarge, "4097 bytes"},
		{"a range backwards", WatchQuery{From: []byte("b"), To: []byte("a")}, wire.CodeBadRequest, `from "b" to "a"`},
		{"an empty range", WatchQuery{From: []byte("b"), To: []byte("b")}, wire.CodeBadRequest, `from "b" to "b"`},
		{"a prefix of services", WatchQuery{Services: true, Prefix: []byte("p")}, wire.CodeBadRequest, "name one service, or none for all"},
		{"a range of services", WatchQuery{Services: true, To: []byte("p")}, wire.CodeBadRequest, "name one service, or none for all"},
		{"what services were before", WatchQuery{Services: true, Prev: true}, wire.CodeBadRequest, "name one service, or none for all"},
		{"an empty name of a service", WatchQuery{Services: true, Key: []byte{}}, wire.CodeBadRequest, "name of a service"},
		{"a long name of a service", WatchQuery{Services: true, Key: long}, wire.CodeTooLarge, "name of a service"},
		{"two positions of a group", WatchQuery{Positions: []GroupPosition{at, at}}, wire.CodeBadRequest, "two of group g1"},
	} {
		_, err := NewWatching(tt.q)
		var e *wire.Error
		if !errors.As(err, &e) || e.Code != tt.code || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want code %s and %q", tt.name, err, tt.code, tt.want)
		}
	}
}

// A cluster below the level has no watches, or none of services, and says so at once.
func TestWatchBelowTheLevel(t *testing.T) {
	for _, c := range []struct {
		query WatchQuery
		level uint32
		want  string
	}{
		{WatchQuery{}, shardmap.LeasesLevel - 1, "it needs level 5, the cluster is at 4"},
		{WatchQuery{Services: true}, shardmap.ServicesLevel - 1, "it needs level 6, the cluster is at 5"},
	} {
		w, err := NewWatching(c.query)
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = w.Next(0, &Routes{Level: c.level})
		if !isCode(err, wire.CodeLevel) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
}

// Positions that leave out a group from which a slot came must end the watch: it would wait for
// ever. One would doubt it: another group may yet say that the slot went there.
func TestWatchWithoutAPosition(t *testing.T) {
	r := &Routes{Level: shardmap.LeasesLevel, Index: 5, Groups: []raft.GroupID{1, 2}}
	key := []byte("k")
	slot := shardmap.SlotOf(key)
	r.Group[slot] = 2
	at := func(index uint64) shardmap.Position { return shardmap.After(raft.LogID{Term: 1, Index: index}) }
	w, err := NewWatching(WatchQuery{Key: key, Positions: []GroupPosition{{Group: 2, Position: at(10)}}})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Second
	next := func() (WatchEvent, WatchStep, error) {
		now += time.Second
		return w.Next(now, r)
	}
	next()
	s := w.Take()[0]
	_, attempt := s.Begin(nil)
	piece := func(at shardmap.Position, rows ...wire.WatchRow) {
		p := wire.WatchPiece{Group: 2, At: at, Count: len(rows)}
		for i := range rows {
			p.Rows = wire.AppendWatchRow(p.Rows, &rows[i])
		}
		s.Piece(attempt, p.Append(nil))
	}
	piece(at(10))
	if e, _, err := next(); e.Kind != WatchOpened || err != nil {
		t.Fatalf("got %v, %v, want it to be open", e, err)
	}
	piece(at(20), wire.WatchRow{Kind: wire.WatchCame, Slot: slot, ID: raft.LogID{Term: 1, Index: 20}, N: 1, Group: 1, Number: 4, Sealed: raft.LogID{Term: 1, Index: 7}})
	for range 12 {
		if e, step, err := next(); step != WatchWait || err != nil {
			t.Fatalf("got %v, %v after %s", e, err, now)
		}
	}
	for range 12 {
		_, _, err = next()
	}
	if !isCode(err, wire.CodeBadRequest) || !strings.Contains(err.Error(), "no position of group g1") {
		t.Errorf("got %v", err)
	}
}

// A slot left for a group that no longer keeps what happened there. The watch must end, though
// the stream that said so was over, as its group had none of the slots, before the group was
// asked how that came out; and though nothing else happens after the streams have ended.
func TestWatchOfALostTakeover(t *testing.T) {
	key := []byte("k")
	at := func(index uint64) shardmap.Position { return shardmap.After(raft.LogID{Term: 1, Index: index}) }
	one := GroupPosition{Group: 1, Position: at(10)}
	t.Run("one key", func(t *testing.T) {
		testLostTakeover(t, WatchQuery{Key: key, Positions: []GroupPosition{one}}, shardmap.SlotOf(key))
	})
	t.Run("all keys", func(t *testing.T) {
		testLostTakeover(t, WatchQuery{Positions: []GroupPosition{one, {Group: 2, Position: at(10)}}}, shardmap.SlotOf(key))
	})
}

func testLostTakeover(t *testing.T, query WatchQuery, slot shardmap.Slot) {
	r := &Routes{Level: shardmap.LeasesLevel, Index: 5, Groups: []raft.GroupID{1, 2}}
	for i := range r.Group {
		r.Group[i] = 2
	}
	id := func(index uint64) raft.LogID { return raft.LogID{Term: 1, Index: index} }
	at := func(index uint64) shardmap.Position { return shardmap.After(id(index)) }
	w, err := NewWatching(query)
	if err != nil {
		t.Fatal(err)
	}
	lost := wire.StreamEnd{Reason: wire.EndCompacted, Resume: wire.AppendPositions(nil, []GroupPosition{{Group: 2, Position: at(60)}})}
	applied := uint64(21) // of group 1, which goes on with other things
	now := time.Second
	for range 100 {
		_, step, err := w.Next(now, r)
		var end *WatchEnd
		if errors.As(err, &end) && end.Reason == wire.EndCompacted && end.Group == 2 {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		streams, questions := w.Take(), w.Questions()
		for _, s := range streams {
			body, attempt := s.Begin(nil)
			var q wire.Watch
			if err := q.Read(body); err != nil {
				t.Fatal(err)
			}
			var own shardmap.Position
			for _, p := range q.Positions {
				if p.Group == q.Group {
					own = p.Position
				}
			}
			switch {
			case own == shardmap.Position{}:
				s.Ended(attempt, &lost)
				continue
			case q.Group == 2:
				s.Piece(attempt, (&wire.WatchPiece{Group: 2, At: own}).Append(nil))
				s.Piece(attempt, (&wire.WatchPiece{Group: 2, At: at(60)}).Append(nil))
				continue
			}
			s.Piece(attempt, (&wire.WatchPiece{Group: 1, At: own}).Append(nil))
			p := wire.WatchPiece{Group: 1, At: at(applied)}
			if own.Before(at(20)) {
				p.Count, p.Rows = 1, wire.AppendWatchRow(nil, &wire.WatchRow{Kind: wire.WatchLeft, Slot: slot, ID: id(20), N: 1, Group: 2, Number: 4})
			}
			s.Piece(attempt, p.Append(nil))
			s.Ended(attempt, &wire.StreamEnd{Reason: wire.EndElsewhere})
		}
		for _, q := range questions {
			applied += 4
			w.Answer(now, q, &wire.SlotViewAnswer{At: id(applied), Rows: []shardmap.SlotView{{Slot: slot, Mark: 4}}}, nil)
		}
		if step == WatchHas || len(streams)+len(questions) > 0 {
			continue // a step follows at once
		}
		wake, ok := w.Wake()
		if !ok {
			t.Fatalf("after %s it waits for nothing, and has not ended", now)
		}
		now = wake
	}
	t.Errorf("after %s it has not ended", now)
}
