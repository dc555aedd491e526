package shardmap

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"sync"
	"testing"

	"muster/raft"
	"muster/repl/memtest"
)

// testGroup owns what the maps of tests own.
const testGroup raft.GroupID = 1

func apply(t testing.TB, m *Map, index uint64, now raft.GroupTime, c *Command) Result {
	t.Helper()
	r, err := m.Apply(raft.LogID{Term: 1, Index: index}, now, c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// What a replica cannot carry out must change nothing, not even the applied
// index: the group stops there, and a newer binary goes on from there.
func TestApplyRefuses(t *testing.T) {
	good := Command{Kind: CommandSet, Slot: SlotByServer, Items: items("k", "v")}
	with := func(f func(c *Command)) *Command { c := good; f(&c); return &c }
	m := owning(allSlots())
	apply(t, m, 5, 7, &good)
	digest := digestOf(m, SlotOf([]byte("k")))
	for _, c := range []struct {
		name string
		id   raft.LogID
		c    *Command
		want error
	}{
		{"newer kind", raft.LogID{Term: 1, Index: 6}, with(func(c *Command) { c.Kind = CommandKind(len(commandRows)) }), ErrLevel},
		{"newer condition", raft.LogID{Term: 1, Index: 6}, with(func(c *Command) { c.Condition = 3 }), ErrLevel},
		{"no items", raft.LogID{Term: 1, Index: 6}, with(func(c *Command) { c.Items = nil }), ErrInvariant},
		{"odd items", raft.LogID{Term: 1, Index: 6}, with(func(c *Command) { c.Items = items("a", "b", "c") }), ErrInvariant},
		{"condition of two", raft.LogID{Term: 1, Index: 6}, with(func(c *Command) { c.Condition, c.Items = 1, items("a", "b", "c", "d") }), ErrInvariant},
		{"same entry", raft.LogID{Term: 1, Index: 5}, &good, ErrInvariant},
		{"earlier term", raft.LogID{Term: 0, Index: 6}, &good, ErrInvariant},
	} {
		if r, err := m.Apply(c.id, 7, c.c); !errors.Is(err, c.want) || !sameResult(r, Result{}) {
			t.Errorf("%s: got %+v, %v; want %v", c.name, r, err, c.want)
		}
		if m.Applied().Index != 5 || digestOf(m, SlotOf([]byte("k"))) != digest {
			t.Errorf("%s: something changed", c.name)
		}
	}
	if err := m.Skip(raft.LogID{Term: 2, Index: 6}, 9); err != nil || m.Applied() != (raft.LogID{Term: 2, Index: 6}) || m.Time() != 9 {
		t.Errorf("skip: %v, %s, %d", err, m.Applied(), m.Time())
	}
	if err := m.Skip(raft.LogID{Term: 2, Index: 6}, 9); !errors.Is(err, ErrInvariant) {
		t.Errorf("skip twice: %v", err)
	}
}

// A slot that another group owns: the command is an entry like any other, but
// nothing comes of it.
func TestNotOwned(t *testing.T) {
	slot := SlotOf([]byte("k"))
	m := owning([]Slot{slot ^ 1})
	c := Command{Kind: CommandSet, Slot: slot, Session: 1, Items: items("k", "v")}
	if r := apply(t, m, 1, 0, &c); r.Status != StatusNotOwned || m.Applied().Index != 1 || m.Len() != 0 {
		t.Errorf("got %+v, applied %s, %d keys", r, m.Applied(), m.Len())
	}
	_, copied := m.Copy(slot)
	_, summed := m.Digest(slot)
	if _, _, is := m.Get([]byte("k"), nil); is != NotOwned || m.Owns(slot) || !m.Owns(slot^1) || copied || summed {
		t.Error("the slot is there")
	}
	if listNow(m, nil, nil, 0, 0, false, func([]byte, uint64, []byte) {}) {
		t.Error("more of nothing")
	}
}

// A page is bounded by keys and by bytes, and pages one after another must give
// each key once, whatever bounds them.
func TestListPages(t *testing.T) {
	m := owning(allSlots())
	want, bytesIn := 0, 0
	for i := range 200 {
		value := bytes.Repeat([]byte("v"), i%100)
		apply(t, m, uint64(i+1), 0, &Command{Kind: CommandSet, Slot: SlotByServer, Items: [][]byte{fmt.Appendf(nil, "a/%04d", i), value}})
		want, bytesIn = want+1, bytesIn+6+len(value)
	}
	apply(t, m, 2000, 0, &Command{Kind: CommandSet, Slot: SlotByServer, Items: [][]byte{[]byte("b"), make([]byte, 5000)}})
	if m.Len() != want+1 || m.Bytes() != int64(bytesIn+5001) {
		t.Errorf("%d keys of %d bytes, want %d of %d", m.Len(), m.Bytes(), want+1, bytesIn+5001)
	}
	for _, c := range []struct{ limit, maxBytes, pageMax int }{{7, 0, 7}, {0, 500, 83}, {0, 1, 1}, {0, 0, 200}} {
		seen, after, pages := 0, []byte(nil), 0
		for more := true; more; pages++ {
			page, pageBytes := 0, 0
			more = listNow(m, []byte("a/"), after, c.limit, c.maxBytes, false, func(key []byte, _ uint64, value []byte) {
				if string(key) != fmt.Sprintf("a/%04d", seen) || len(value) != seen%100 {
					t.Fatalf("%+v: key %d is %q with %d bytes", c, seen, key, len(value))
				}
				seen++
				page++
				pageBytes += len(key) + len(value)
				after = append(after[:0], key...)
			})
			if page > c.pageMax || c.maxBytes > 0 && page > 1 && pageBytes > c.maxBytes {
				t.Fatalf("%+v: page of %d keys, %d bytes", c, page, pageBytes)
			}
		}
		if seen != want {
			t.Errorf("%+v: %d keys in %d pages, want %d", c, seen, pages, want)
		}
	}
	listNow(m, []byte("b"), nil, 0, 1, true, func(key []byte, version uint64, value []byte) {
		if value != nil || version != 2000 {
			t.Errorf("keys only: %q@%d has value %q", key, version, value)
		}
	})
	for s := range Slot(Slots) {
		if n := m.slot(s).records.copies; n != 0 {
			t.Fatalf("slot %d has %d copies out after listing", s, n)
		}
	}
}

// Reading goes on beside applying, and beside walks, from many goroutines. A value must be
// whole: the bytes of one write and its version; a copy must check out while its slot
// is overwritten, emptied and filled, and a walk finds nothing. The race detector sees the rest.
func TestReadBesideApply(t *testing.T) {
	m := owning(allSlots())
	const keys, tags = 200, 3
	key := func(i int) []byte { return fmt.Appendf(nil, "{%d}%d", i%tags, i) }
	stop := make(chan struct{})
	moments := make(chan *Moment, 1) // from the goroutine that applies, which closes it, to the lister
	var readers sync.WaitGroup
	whole := func(value []byte, version uint64) {
		for _, b := range value {
			if b != byte(version) {
				t.Errorf("value of version %d has byte %d", version, b)
				return
			}
		}
	}
	var reads [3]int
	for kind, read := range []func(r *rand.Rand){
		func(r *rand.Rand) {
			if value, version, is := m.Get(key(r.IntN(keys)), nil); is == Present {
				whole(value, version)
			}
		},
		func(r *rand.Rand) {
			var before []byte
			moment, ok := <-moments
			if !ok {
				return
			}
			defer moment.End()
			moment.List([]byte("{"), key(r.IntN(keys)), ListLimits{Rows: 50}, func(key []byte, version uint64, value []byte) {
				whole(value, version)
				if bytes.Compare(before, key) >= 0 {
					t.Errorf("%q after %q", key, before)
				}
				before = append(before[:0], key...)
			})
		},
		func(r *rand.Rand) {
			c := copyOf(m, SlotOf(key(r.IntN(keys))))
			defer c.Release()
			if err := c.Check(); err != nil {
				t.Error(err)
			}
			digestOf(m, c.Slot())
			m.Len()
			m.Applied()
		},
	} {
		readers.Go(func() {
			r := rand.New(rand.NewPCG(uint64(kind), 1))
			for {
				select {
				case <-stop:
					return
				default:
					read(r)
					reads[kind]++
				}
			}
		})
	}
	r := rand.New(rand.NewPCG(9, 9))
	walk := NewWalk(m)
	defer func() { walk.End() }()
	for index := uint64(1); index <= 20000; index++ {
		if index%8 == 0 && walk.Step(20_000) {
			walk = NewWalk(m)
		}
		if faults := walk.Faults(); len(faults) > 0 {
			t.Fatal(faults)
		}
		if len(moments) == 0 {
			moments <- momentOf(m, []byte("{"))
		}
		k := key(r.IntN(keys))
		c := Command{Kind: CommandDel, Slot: SlotOf(k), Session: 1 + index%3, Sequence: index, Floor: index - min(index, 5), Items: [][]byte{k}}
		if r.IntN(4) > 0 {
			// One version per entry in each slot, so the version is the index.
			c.Kind, c.Items = CommandSet, append(c.Items, bytes.Repeat([]byte{byte(index)}, r.IntN(300)))
		}
		if index%5000 == 0 { // now and then a slot is emptied
			c = Command{Kind: CommandDel, Slot: c.Slot}
			for i := range keys {
				if SlotOf(key(i)) == c.Slot {
					c.Items = append(c.Items, key(i))
				}
			}
		}
		if res := apply(t, m, index, raft.GroupTime(index), &c); res.Status != StatusApplied || res.Version != index {
			t.Fatalf("%+v", res)
		}
	}
	close(stop)
	close(moments)
	readers.Wait()
	for kind, n := range reads {
		if n == 0 {
			t.Errorf("reader %d never ran", kind)
		}
	}
}

// The hot paths must leave the garbage collector nothing. A slice that escapes
// or a closure is soon brought in, and no other test would see it.
func TestHotPathsDoNotAllocate(t *testing.T) {
	m := owning(allSlots())
	const keys = 64
	command := Command{Kind: CommandSet, Session: 5, Items: items("", string(make([]byte, 128)))}
	var names [keys][]byte
	for i := range names {
		names[i] = fmt.Appendf(nil, "key-%012d", i)
	}
	n, index := 0, uint64(0)
	set := func() {
		index++
		n = (n + 1) % keys
		command.Sequence, command.Floor = index, index-min(index, 3)
		command.Slot, command.Items[0] = SlotOf(names[n]), names[n]
		if r, err := m.Apply(raft.LogID{Term: 1, Index: index}, raft.GroupTime(index), &command); err != nil || r.Status != StatusApplied {
			t.Fatal(r, err)
		}
	}
	for range 4 * keys {
		set()
	}
	var dst, buf []byte
	var back Command
	get := func() {
		var is Presence
		if dst, _, is = m.Get(names[n], dst[:0]); is != Present {
			t.Fatal("not there")
		}
	}
	codec := func() {
		buf = AppendCommand(buf[:0], &command)
		if err := ReadCommand(buf, &back); err != nil {
			t.Fatal(err)
		}
		if err := back.Validate(Limits{ValueMax: ValueMaxDefault, Level: Level}); err != nil {
			t.Fatal(err)
		}
	}
	get()
	codec()
	for name, f := range map[string]func(){"overwrite": set, "get": get, "append, read, validate": codec,
		"slot": func() { SlotOf(names[n]) }} {
		if a := testing.AllocsPerRun(1000, f); a != 0 {
			t.Errorf("%s: %v allocations", name, a)
		}
	}
}

// An empty slot is there 4096 times in a small cluster; one with a few keys
// nearly so.
func TestSmallSlotsAreSmall(t *testing.T) {
	var m *Map
	empty := memtest.Allocated(func() { m = owning(allSlots()) }) / Slots
	if empty > 512 {
		t.Errorf("an empty slot takes %d bytes", empty)
	}
	c := Command{Kind: CommandSet, Slot: SlotByServer, Items: items("k", "v")}
	one := memtest.Allocated(func() {
		m = owning([]Slot{SlotOf([]byte("k"))})
		apply(t, m, 1, 0, &c)
	}) - memtest.Allocated(func() { m = owning([]Slot{SlotOf([]byte("k"))}) }) + empty
	if one > 4<<10 && !raceDetector {
		t.Errorf("a slot with one key takes %d bytes", one)
	}
}

// Memory that a stray write changed must be found by the walker, which is the
// only one to look at old records.
func TestCheckFindsFlips(t *testing.T) {
	m := owning(allSlots())
	slot := SlotOf([]byte("k"))
	apply(t, m, 1, 0, &Command{Kind: CommandSet, Slot: slot, Session: 3, Items: items("k", "value")})
	check := func() error {
		c := copyOf(m, slot)
		defer c.Release()
		return c.Check()
	}
	if err := check(); err != nil {
		t.Fatal(err)
	}
	rec := m.slot(slot).records.get([]byte("k"), hashKey([]byte("k")))
	for i := range recordHeader + 1 + 5 {
		if i >= 16 && i < 22 {
			continue // lengths: the walk itself would go astray
		}
		rec[i] ^= 0x10
		if err := check(); !errors.Is(err, ErrInvariant) {
			t.Errorf("byte %d flipped: %v", i, err)
		}
		rec[i] ^= 0x10
	}
	m.slot(slot).sessions.blocks[0].list[0].floor++
	if err := check(); !errors.Is(err, ErrInvariant) {
		t.Errorf("session changed: %v", err)
	}
}

// Keys that are read from a copy must be those of the moment of the copy,
// whatever is written to the slot meanwhile: a long answer is made beside the
// writes.
func TestCopyFind(t *testing.T) {
	m := owning(allSlots())
	const keys = 400
	key := func(i int) string { return fmt.Sprintf("{t}%03d", i) }
	index := uint64(0)
	set := func(i int, value string) {
		index++
		apply(t, m, index, 1, &Command{Kind: CommandSet, Slot: SlotByServer, Items: items(key(i), value)})
	}
	for i := range keys {
		if i%3 != 2 {
			set(i, "old")
		}
	}
	c := copyOf(m, SlotOf([]byte(key(0))))
	defer c.Release()
	for i := range keys {
		switch i % 4 {
		case 0:
			set(i, "new")
		case 1:
			set(i, "a longer value than before")
		case 2:
			index++
			apply(t, m, index, 1, &Command{Kind: CommandDel, Slot: SlotByServer, Items: items(key(i))})
		}
	}
	version := uint64(0)
	for i := range keys {
		v, got, _, is := c.Find([]byte(key(i)))
		want := ""
		if i%3 != 2 {
			want, version = "old", version+1
		}
		if string(v) != want || (is == Present) != (i%3 != 2) || is == Present && got != version {
			t.Fatalf("key %s: got %q, version %d, %s; want %q, version %d", key(i), v, got, is, want, version)
		}
	}
	for _, k := range []string{"", "{t}", "{t}0000", "{t}999", "{t}001x"} {
		if v, _, _, is := c.Find([]byte(k)); is != Absent || v != nil {
			t.Errorf("key %q: got %q", k, v)
		}
	}
}

// sameResult reports whether two results are equal.
func sameResult(a, b Result) bool {
	same := bytes.Equal(a.Detail, b.Detail)
	a.Detail, b.Detail = nil, nil
	return same && reflect.DeepEqual(a, b)
}
