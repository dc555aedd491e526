package shardmap

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// flipper flips bits of what a map has in memory.
type flipper struct {
	*rand.Rand
	m     *Map
	slots []Slot // of m, those that are here or on their way
}

// newFlipper returns a flipper of m. Of all slots m has only a few: if one were drawn from all,
// nearly every flip would be of what is kept of the whole group.
func newFlipper(r *rand.Rand, m *Map) *flipper {
	f := &flipper{Rand: r, m: m}
	for s := range Slot(Slots) {
		if f.state(s) != nil {
			f.slots = append(f.slots, s)
		}
	}
	return f
}

// state returns what m has of a slot, or nil.
func (r *flipper) state(s Slot) *slotState {
	st := r.m.held(s)
	if i := r.m.imports.of(s); st == nil && i != nil {
		st = i.state
	}
	return st
}

// flip is one bit that was flipped.
type flip struct {
	what  string
	slot  Slot
	whole bool // it is of no slot
	back  func()
	// harmless reports whether all is still found: some bits of separators decide nothing. nil: no.
	harmless func() bool
}

// bitOf returns a flip of a bit of a field.
func bitOf[T ~int | ~int64 | ~uint32 | ~uint64](r *flipper, what string, s Slot, field *T, bits int) *flip {
	mask := T(1) << r.IntN(bits)
	*field ^= mask
	return &flip{what: what, slot: s, back: func() { *field ^= mask }}
}

func (r *flipper) byteOf(what string, s Slot, b []byte) *flip {
	if len(b) == 0 {
		return nil
	}
	at, mask := r.IntN(len(b)), byte(1)<<r.IntN(8)
	b[at] ^= mask
	return &flip{what: fmt.Sprintf("%s, byte %d", what, at), slot: s, back: func() { b[at] ^= mask }}
}

// store flips a bit of a store; nil if there is none of what was drawn. What no one reads is left
// out: the filling of records and leaves, and how old a leaf is.
func (r *flipper) store(what string, s Slot, o *store) *flip {
	if o.count == 0 {
		return nil
	}
	i := r.IntN(len(o.leaves))
	l := o.leaf(i)
	switch r.IntN(11) {
	case 10:
		f := r.byteOf(what+" separators", s, o.seps)
		if f != nil {
			f.harmless = func() bool { return checkStore(o) == nil }
		}
		return f
	case 0:
		return bitOf(r, what+" lookup", s, &o.lookup.entries[r.IntN(len(o.lookup.entries))], 64)
	case 1:
		return r.byteOf(what+" order", s, l.refs(0, l.len()))
	case 2:
		return r.byteOf(what+" length of a leaf", s, l[8:16])
	case 3:
		return bitOf(r, what+" place of a leaf", s, &o.leaves[i].ref, 32)
	case 4:
		return bitOf(r, what+" end of a separator", s, &o.leaves[i].end, 32)
	case 5:
		return bitOf(r, what+" count", s, &o.count, 63)
	case 6:
		return bitOf(r, what+" count of the lookup", s, &o.lookup.count, 63)
	case 7:
		return bitOf(r, what+" sum", s, &o.sum, 64)
	}
	rec := o.at(l.ref(r.IntN(l.len())))
	return r.byteOf(what+" record", s, rec[:recordHeader+rec.keyLen()+rec.valueLen()+rec.ends().size()])
}

func (r *flipper) sessions(s Slot, t *sessions) *flip {
	if t.count == 0 {
		return nil
	}
	i := r.IntN(len(t.blocks))
	list := t.blocks[i].list
	x := &list[r.IntN(len(list))]
	switch r.IntN(14) {
	case 0:
		return bitOf(r, "session id", s, &x.id, 64)
	case 1:
		return bitOf(r, "session's principal", s, &x.principal, 64)
	case 2:
		return bitOf(r, "session's last use", s, &x.used, 64)
	case 3:
		return bitOf(r, "session's floor", s, &x.floor, 64)
	case 4:
		return bitOf(r, "session's sum", s, &x.sum, 64)
	case 5:
		return bitOf(r, "count of sessions", s, &t.count, 63)
	case 6:
		return bitOf(r, "count of outcomes", s, &t.outcomes, 63)
	case 7:
		return bitOf(r, "bytes of details", s, &t.details, 63)
	case 8:
		return bitOf(r, "sum of sessions", s, &t.sum, 64)
	case 9:
		if t.ordered {
			n := &t.order.nodes[x.order]
			switch r.IntN(4) {
			case 0:
				return bitOf(r, "node's next", s, &n.next, 32)
			case 1:
				return bitOf(r, "node's use", s, &n.used, 64)
			case 2:
				return bitOf(r, "node's session", s, &n.of.id, 64)
			}
			return bitOf(r, "session's node", s, &x.order, 32)
		}
		return nil
	}
	if len(x.kept()) == 0 {
		return nil
	}
	o := &x.kept()[r.IntN(len(x.kept()))]
	switch r.IntN(6) {
	case 0:
		return bitOf(r, "outcome's sequence", s, &o.sequence, 64)
	case 1:
		return bitOf(r, "outcome's index", s, &o.id.Index, 64)
	case 2:
		return bitOf(r, "outcome's version", s, &o.version, 64)
	case 3:
		return bitOf(r, "outcome's sum", s, &o.sum, 64)
	case 4:
		return bitOf(r, "outcome's deleted, or place of its detail", s, &o.deleted, 32)
	}
	if !o.detailed {
		return nil
	}
	return r.byteOf("detail", s, x.detail(o))
}

func (r *flipper) slot() *flip {
	if len(r.slots) == 0 {
		return nil
	}
	s := r.slots[r.IntN(len(r.slots))]
	st := r.state(s)
	switch r.IntN(12) {
	case 0:
		return bitOf(r, "last version", s, &st.last, 64)
	case 1, 2, 3, 4:
		all := []*store{&st.records}
		all = append(all, st.others...)
		i := r.IntN(len(all))
		if r.IntN(8) == 0 {
			return bitOf(r, fmt.Sprintf("bytes of kind %d", all[i].kind), s, &all[i].bytes, 63)
		}
		return r.store(fmt.Sprintf("kind %d", all[i].kind), s, all[i])
	case 5, 6, 7, 8:
		return r.sessions(s, &st.sessions)
	}
	e := st.endings
	if e == nil {
		return nil
	}
	switch r.IntN(5) {
	case 0, 1:
		return r.store("index of times", s, &e.due)
	case 2:
		return bitOf(r, "first end", s, &e.first, 64)
	case 3:
		for lease, n := range e.keys {
			e.keys[lease] = n ^ 1
			return &flip{what: "keys of a lease", slot: s, back: func() { e.keys[lease] = n }}
		}
	}
	return r.store("index of leases", s, &e.attached)
}

// flip flips some bit.
func (r *flipper) flip() *flip {
	for {
		var f *flip
		switch r.IntN(40) {
		case 0:
			f = bitOf(r, "sessions of all slots", 0, &r.m.quota.sessions, 63)
			f.whole = true
		case 1:
			if ring := r.m.history.ring.Load(); ring != nil && len(ring.blocks) > 1 {
				k := ring.blocks[r.IntN(len(ring.blocks)-1)]
				if f = r.byteOf("history", 0, k.buf[:k.used]); f != nil {
					f.whole = true
				}
			}
		default:
			f = r.slot()
		}
		if f != nil {
			return f
		}
	}
}

// walkAll returns what a whole walk finds.
func walkAll(m *Map, step int) []SlotFault {
	w := NewWalk(m)
	defer w.End()
	for !w.Step(step) {
	}
	return w.Faults()
}

// Any bit of what a map holds that memory loses must be found by one walk, named by its slot, in
// whatever part of it the bit lies, and nothing else with it. One would doubt it of what has no
// hash: where a lookup and the order of keys lead, counts, the order in which sessions were used,
// the indexes of what ends.
func TestWalkFindsEachFlip(t *testing.T) {
	flips := 1000
	if *sameSeeds > 0 {
		flips *= 10
	}
	found := map[string]int{}
	const maps = 8
	for seed := range uint64(maps) {
		w, err := writeLogs(100+seed, Level)
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range w.groups {
			walkAll(g.first, 5000) // the blocks of the history get their sums
		}
		rnd := rand.New(rand.NewPCG(seed, 31))
		var flippers []*flipper
		for _, g := range w.groups {
			flippers = append(flippers, newFlipper(rnd, g.first))
		}
		for n := range flips / maps {
			r := flippers[n%len(flippers)]
			f := r.flip()
			faults := walkAll(r.m, 1+r.IntN(100_000))
			harmless := len(faults) == 0 && f.harmless != nil && f.harmless()
			f.back()
			if harmless {
				continue
			}
			if len(faults) != 1 || faults[0].OfGroup != f.whole || !f.whole && faults[0].Slot != f.slot {
				t.Fatalf("map %d, flip %d, %s of slot %d: found %v", seed, n, f.what, f.slot, faults)
			}
			what, _, _ := strings.Cut(f.what, ", byte ")
			found[what]++
		}
		for _, g := range w.groups {
			if faults := walkAll(g.first, 5000); len(faults) > 0 {
				t.Fatalf("map %d: with all bits back, found %v", seed, faults)
			}
		}
	}
	// A run in which no bit of a part was flipped shows nothing about it.
	for _, what := range []string{
		"kind 1 record", "kind 1 lookup", "kind 1 order", "kind 1 separators", "kind 1 place of a leaf", "kind 1 count", "kind 1 sum", "kind 2 record", "kind 3 record",
		"session id", "outcome's sequence", "detail", "node's use", "sum of sessions",
		"index of times record", "index of times lookup", "index of leases lookup", "keys of a lease", "first end",
		"last version", "sessions of all slots", "history",
	} {
		if found[what] == 0 {
			t.Errorf("of %d bits none was of: %s", flips, what)
		}
	}
	t.Log(found)
}

// BenchmarkWalk is a whole walk, by what lies in the map.
func BenchmarkWalk(b *testing.B) {
	m := owning(allSlots())
	value := make([]byte, 100)
	for i := range uint64(*benchKeys) {
		apply(b, m, i+1, 0, &Command{Kind: CommandSet, Slot: SlotByServer, Items: [][]byte{fmt.Appendf(nil, "user/%d/cart", i), value}})
	}
	b.SetBytes(m.Bytes())
	steps, longest := 0, time.Duration(0)
	for b.Loop() {
		w := NewWalk(m)
		for done := false; !done; steps++ {
			at := time.Now()
			done = w.Step(64 << 10)
			longest = max(longest, time.Since(at))
		}
		w.End()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(*benchKeys), "ns/key")
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(steps), "µs/step")
	b.ReportMetric(float64(longest.Microseconds()), "µs/longest")
}
