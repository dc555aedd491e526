package shardmap

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"testing"

	"muster/raft"
)

// past is a map that keeps a history, and all its events since, as a list.
type past struct {
	t      testing.TB
	m      *Map
	chance *rand.Rand
	id     raft.LogID
	events []Event
	began  raft.LogID
	small  bool // the bounds of the history are
}

func (p *past) bound() (max, kept, block int) {
	if p.small {
		return 64 << 10, 16 << 10, 2 << 10
	}
	return HistoryMax, HistoryKept, historyBlockSize
}

// pastBounds is which bounds a history has.
type pastBounds bool

const (
	shippedBounds pastBounds = false
	smallBounds   pastBounds = true // so that blocks go all the time
)

func newPast(t testing.TB, seed uint64, b pastBounds) *past {
	p := &past{t: t, small: b == smallBounds, m: NewMap(testGroup), chance: rand.New(rand.NewPCG(seed, 14))}
	p.id = raft.LogID{Term: 1, Index: 10}
	p.began = p.id
	p.m.history.Bound(p.bound())
	p.m.history.raise(LeasesLevel, p.id)
	p.m.advance(p.id, 0)
	return p
}

// oldRecord is a record as a slot has it.
func oldRecord(key, value []byte, version uint64) record {
	r := make(record, recordSize(len(key), len(value)))
	r.write(KindKey, &newRecord{key: key, value: value, version: version})
	return r
}

// entry makes an entry of some events, of values up to a size, on all of these maps.
func (p *past) entry(sizeMax int, also ...*Map) {
	p.id.Index += 1 + p.chance.Uint64N(3)
	p.id.Term += p.chance.Uint64N(2)
	n := p.chance.IntN(3)
	if p.chance.IntN(20) == 0 {
		n = 200
	}
	all := append([]*Map{p.m}, also...)
	for _, m := range all {
		m.history.begin(p.id)
	}
	kept := EntryPrevMax
	for i := range n {
		e := Event{Kind: EventKind(1 + p.chance.IntN(int(EventBack))), Slot: Slot(p.chance.IntN(Slots)), ID: p.id, N: uint32(i + 1)}
		key, value, prev := fmt.Appendf(nil, "key%d", p.chance.IntN(50)), p.bytes(sizeMax), p.bytes(sizeMax)
		old := oldRecord(key, prev, p.id.Index)
		if e.Kind == EventSet && p.chance.IntN(2) == 0 {
			old = nil
		}
		step := Step{Slot: e.Slot, Peer: 7, Number: 3 + p.id.Index, At: raft.LogID{Term: 5, Index: 4 + p.id.Index}}
		if e.Kind.OfKey() {
			e.Key, e.Version = key, p.id.Index+1
			if e.HadPrev = old != nil; e.HadPrev {
				e.PrevVersion = p.id.Index
				if len(prev) <= kept {
					e.Prev = prev
					kept -= len(prev)
				}
			}
		} else {
			e.Number = step.Number
		}
		for _, m := range all {
			h := m.history
			switch e.Kind {
			case EventSet:
				e.Value = value
				h.set(e.Slot, key, value, e.Version, old)
			case EventDel:
				h.del(e.Slot, e.Version, old)
			case EventExpired:
				h.expired(e.Slot, e.Version, old)
			case EventLeft:
				e.Group = step.Peer
				h.left(&step)
			case EventCame:
				e.Group, e.Sealed = step.Peer, step.At
				h.came(&step)
			case EventBack:
				e.Group = step.Peer
				h.back(&step, step.Peer)
			}
		}
		p.events = append(p.events, e)
	}
	for _, m := range all {
		m.advance(p.id, 0)
	}
}

func (p *past) bytes(sizeMax int) []byte {
	b := make([]byte, p.chance.IntN(sizeMax))
	for i := range min(8, len(b)) {
		b[i] = byte(p.chance.Uint32())
	}
	return b
}

// rest returns the events behind a position.
func (p *past) rest(at Position) []Event {
	i, _ := slices.BinarySearchFunc(p.events, at, func(e Event, at Position) int {
		if at.Before(e.Position()) {
			return 1
		}
		return -1
	})
	return p.events[i:]
}

// check reads from a position of each kind.
func (p *past) check(h *History) {
	p.t.Helper()
	floor, head := h.Bounds()
	if head != p.id || p.id.Index < floor.Index {
		p.t.Fatalf("bounds %s to %s, applied %s", floor, head, p.id)
	}
	size := 0
	for _, b := range h.ring.Load().blocks {
		size += len(b.buf)
	}
	if newest := p.rest(After(floor)); size > h.max && len(newest) > 0 && newest[0].ID != p.events[len(p.events)-1].ID {
		p.t.Fatalf("%d bytes, the limit is %d", size, h.max)
	}
	positions := []Position{After(floor), After(head), {ID: p.id, N: 1}, After(p.began)}
	for range 4 {
		if len(p.events) > 0 {
			e := p.events[p.chance.IntN(len(p.events))]
			positions = append(positions, e.Position(), After(e.ID), Position{ID: e.ID})
		}
	}
	for _, at := range positions {
		c, ok := h.Cursor(at)
		if !at.Before(After(floor)) && !ok {
			p.t.Fatalf("no cursor behind %v, the floor is %s", at, floor)
		}
		if at.ID.Index < floor.Index && ok {
			p.t.Fatalf("a cursor behind %v, the floor is %s", at, floor)
		}
		if !ok {
			continue
		}
		p.follow(&c, at)
		c.Close()
	}
}

// follow reads with a cursor all that there is behind a position.
func (p *past) follow(c *Cursor, at Position) {
	p.t.Helper()
	var e, again Event
	for i, want := range p.rest(at) {
		if !c.Next(&e) {
			p.t.Fatalf("behind %v: no event %d, want %v", at, i, want)
		}
		if !reflect.DeepEqual(e, want) || c.At() != e.Position() {
			p.t.Fatalf("behind %v, event %d: got %+v, want %+v", at, i, e, want)
		}
		if !c.h.At(c.Place(), &again) || !reflect.DeepEqual(again, e) {
			p.t.Fatalf("behind %v, event %d: at its place is %+v", at, i, again)
		}
	}
	if c.Next(&e) || c.Lost() {
		p.t.Fatalf("behind %v: one more event: %+v", at, e)
	}
}

func (p *past) load(b []byte) *Map {
	p.t.Helper()
	m := NewMap(testGroup)
	m.history.Bound(p.bound())
	if err := m.Load(bytes.NewReader(b), p.id, 0); err != nil {
		p.t.Fatal(err)
	}
	return m
}

// A history is the events of the newest entries, in their order, from whatever position one
// reads; and it is the same, byte for byte, on a replica that began with the first entry and
// on one that began with a snapshot in between, whatever the bound has let go since.
func TestHistoryIsTheSameEverywhere(t *testing.T) {
	for seed, c := range []struct {
		small   bool
		sizeMax int // of a value
	}{{false, 300}, {false, 40_000}, {false, historyBlockSize}, {false, 3 << 20}, {true, 20}, {true, 300}, {true, 5000}, {true, 100_000}} {
		p := newPast(t, uint64(seed), pastBounds(c.small))
		sizeMax := c.sizeMax
		var others []*Map
		let := false
		for i := range 300 {
			p.entry(sizeMax, others...)
			if sizeMax > 1<<20 && i > 130 {
				break
			}
			if i%60 != 0 {
				continue
			}
			p.check(p.m.history)
			b := mapBytes(t, p.m)
			for k, o := range others {
				if !bytes.Equal(mapBytes(t, o), b) {
					t.Fatalf("seed %d, entry %d: replica %d has another history", seed, i, k)
				}
			}
			if len(others) == 2 {
				others = others[1:]
			}
			others = append(others, p.load(b))
			p.check(others[len(others)-1].history)
			floor, _ := p.m.history.Bounds()
			let = let || floor != p.began
		}
		if !let && (c.small || sizeMax > 20_000) {
			t.Errorf("seed %d: nothing was ever let go", seed)
		}
	}
}

// A replica that began with a trimmed state has none but the newest events, and no other
// ones; once there are as many new ones as a snapshot has, its snapshots are those of all.
func TestTrimmedHistoryCatchesUp(t *testing.T) {
	for seed, sizeMax := range []int{20, 300, 5000} {
		p := newPast(t, uint64(seed), smallBounds)
		_, _, block := p.bound()
		for range 30 {
			for range 10 {
				p.entry(sizeMax)
			}
			c := p.m.CopyAll()
			c.Trim()
			b := copyBytes(t, c)
			if max := historyHeader + historyBlockHead + block + historyDigest + mapHeader + 12; len(b) > max {
				t.Fatalf("seed %d: a trimmed state has %d bytes, want at most %d", seed, len(b), max)
			}
			o := p.load(b)
			p.check(o.history)
			for whole := true; whole; { // until what a snapshot has begins later than what there is
				p.entry(sizeMax, o)
				c := o.history.copy()
				whole = len(c.blocks) == len(o.history.ring.Load().blocks)
				c.release()
			}
			p.check(o.history)
			if !bytes.Equal(mapBytes(t, o), mapBytes(t, p.m)) {
				t.Fatalf("seed %d, entry %s: a replica that began with a trimmed state has another history", seed, p.id)
			}
		}
	}
}

// A cursor that is not moved on loses its place, and says so; one that is behind its last
// event, and in front of the next, does not. A state that is loaded continues them by
// position.
func TestCursorOfAnotherHistory(t *testing.T) {
	p := newPast(t, 3, shippedBounds)
	for range 20 {
		p.entry(300)
	}
	at := After(p.id)
	b := mapBytes(t, p.m)
	idle, _ := p.m.history.Cursor(at)
	started, _ := p.m.history.Cursor(After(p.began))
	var e Event
	if !started.Next(&e) {
		t.Fatal("no event")
	}
	seen := e.Position()
	if err := p.m.Load(bytes.NewReader(b), p.id, 0); err != nil {
		t.Fatal(err)
	}
	p.follow(&started, seen)
	for range 10 {
		p.entry(300)
	}
	p.follow(&idle, at)
	for floor := at.ID; floor == at.ID || floor.Index < p.events[len(p.events)-1].ID.Index-100; floor, _ = p.m.history.Bounds() {
		p.entry(300_000)
	}
	if idle.Next(&e) || !idle.Lost() {
		t.Errorf("a cursor that was overtaken finds %+v", e)
	}
	if _, ok := p.m.history.Cursor(at); ok {
		t.Error("a cursor behind what has gone")
	}
	idle.Close()
	idle.Close()
	started.Close()
	if n := p.m.history.readers.Load(); n != 0 {
		t.Errorf("%d readers are left", n)
	}
	// Without a history nothing is to be found, and all that is known is where it would begin.
	bare := NewMap(testGroup)
	if floor, head := bare.history.Bounds(); bare.history.Keeps() || floor != head {
		t.Errorf("bounds %s to %s without a history", floor, head)
	}
	if _, ok := bare.history.Cursor(Position{}); ok {
		t.Error("a cursor without a history")
	}
	c, _ := p.m.history.Cursor(After(p.id))
	if err := p.m.Load(bytes.NewReader(mapBytes(t, bare)), p.id, 0); err != nil {
		t.Fatal(err)
	}
	if c.Next(&e) || !c.Lost() || p.m.history.Keeps() {
		t.Error("the history outlived a state without one")
	}
}

// Readers on other goroutines see all events, each once, in order, while the writer goes on
// and lets blocks go. Those that it fills anew are none that a reader has.
func TestHistoryIsReadMeanwhile(t *testing.T) {
	p := newPast(t, 9, shippedBounds)
	h := p.m.history
	const last = 20_000
	var wait sync.WaitGroup
	for range 3 {
		c, ok := h.Cursor(After(p.began))
		if !ok {
			t.Fatal("no cursor")
		}
		wait.Go(func() {
			defer func() { c.Close() }()
			var e Event
			for n := uint64(0); n < last; {
				if !c.Next(&e) {
					if !c.Lost() {
						continue
					}
					c.Close()
					for ok := false; !ok; { // the floor may rise meanwhile
						floor, _ := h.Bounds()
						c, ok = h.Cursor(After(floor))
					}
					n = 0
					continue
				}
				number := e.ID.Index - p.began.Index
				if n != 0 && number != n+1 && number != n {
					t.Errorf("event of entry %d behind entry %d", number, n)
				}
				if want := fmt.Appendf(nil, "%d", number); !bytes.Equal(e.Key, want) || !bytes.HasPrefix(e.Value, want) {
					t.Errorf("entry %d has key %s", number, e.Key)
				}
				n = number
			}
		})
	}
	for i := range uint64(last) {
		id := raft.LogID{Term: 1, Index: p.began.Index + 1 + i}
		key := fmt.Appendf(nil, "%d", i+1)
		h.begin(id)
		for range 1 + i%2 {
			h.set(1, key, append(key, make([]byte, i%3000)...), 1, nil)
		}
		p.m.advance(id, 0)
	}
	wait.Wait()
}
