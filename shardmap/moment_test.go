package shardmap

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"muster/raft"
)

// listNow reads one page as of now, for tests that apply and list in turns.
func listNow(m *Map, prefix, after []byte, limit, maxBytes int, keysOnly bool, f func(key []byte, version uint64, value []byte)) (more bool) {
	moment, owned := m.Moment(prefix, nil)
	if !owned {
		return false
	}
	defer moment.End()
	return moment.List(prefix, after, ListLimits{Rows: limit, Bytes: maxBytes, KeysOnly: keysOnly}, f)
}

// momentOf returns the map as it is now; its slots are all that the prefix needs.
func momentOf(m *Map, prefix []byte) *Moment {
	moment, owned := m.Moment(prefix, nil)
	if !owned {
		panic("not owned")
	}
	return moment
}

// frozen is a moment, and what a listing of it must show.
type frozen struct {
	moment *Moment
	prefix string
	want   []string
}

// listed returns what a listing of a moment shows, page by page.
func (f *frozen) listed(limit int) (got []string) {
	var after []byte
	for more := true; more; {
		more = f.moment.List([]byte(f.prefix), after, ListLimits{Rows: limit}, func(key []byte, version uint64, value []byte) {
			got = append(got, line(string(key), string(value), version))
			after = append(after[:0], key...)
		})
	}
	return got
}

// A listing shows all slots as they were between the same two entries, whenever
// it gets to them. One would doubt it: nothing is copied when the moment is
// taken, slots are read in any order beside the writes that change, empty and
// fill them, and several moments share what is kept for them.
func TestMomentIsOneMoment(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 3))
		const keys, tags = 60, 12
		var slots []Slot
		for i := range tags {
			slots = append(slots, SlotOf(fmt.Appendf(nil, "{%d}", i)))
		}
		m := owning(slots)
		now := map[string]string{} // key -> line
		key := func(i int) string { return fmt.Sprintf("{%d}%d", i%tags, i) }
		freeze := func() *frozen {
			f := &frozen{prefix: []string{"", "{", "{1", "{3}"}[r.IntN(4)]}
			f.moment = momentOf(m, []byte(f.prefix))
			for k, l := range now {
				if bytes.HasPrefix([]byte(k), []byte(f.prefix)) {
					f.want = append(f.want, l)
				}
			}
			slices.Sort(f.want)
			return f
		}
		var open []*frozen
		index := uint64(0)
		for range 400 {
			for range r.IntN(8) {
				index++
				k := key(r.IntN(keys))
				c := Command{Kind: CommandDel, Slot: SlotOf([]byte(k)), Items: [][]byte{[]byte(k)}}
				delete(now, k)
				if r.IntN(4) > 0 {
					v := string(bytes.Repeat([]byte{'a' + byte(index%26)}, r.IntN(200)))
					c.Kind, c.Items = CommandSet, append(c.Items, []byte(v))
					now[k] = line(k, v, index)
				}
				apply(t, m, index, raft.GroupTime(index), &c)
			}
			switch n := len(open); {
			case n < 6 && r.IntN(2) == 0:
				open = append(open, freeze())
			case n > 0:
				i := r.IntN(n)
				f := open[i]
				open = slices.Delete(open, i, i+1)
				got := f.listed(1 + r.IntN(20))
				slices.Sort(got)
				if !slices.Equal(got, f.want) {
					t.Fatalf("seed %d, after %d entries: a listing of %q shows\n%q, at its moment there was\n%q", seed, index, f.prefix, got, f.want)
				}
				f.moment.End()
				f.moment.End() // does nothing
			}
		}
		for _, f := range open {
			f.moment.End()
		}
		nothingKept(t, m)
	}
}

// nothingKept checks that moments that are over cost nothing any more.
func nothingKept(t *testing.T, m *Map) {
	t.Helper()
	if x := &m.moments; len(x.open) != 0 || len(x.kept) != 0 || x.newest.Load() != 0 {
		t.Errorf("%d moments are open, %d slots are kept, the newest is %d", len(x.open), len(x.kept), x.newest.Load())
	}
	m.each(func(st *slotState) {
		if st.records.copies != 0 || len(st.kept) != 0 {
			t.Errorf("a slot has %d copies out and is kept %d times", st.records.copies, len(st.kept))
		}
	})
}

// The same beside a goroutine that applies, without a pause: many listers, each
// of a moment of its own. The race detector sees what the lines don't show.
func TestMomentBesideApply(t *testing.T) {
	m := owning(allSlots())
	const keys = 100
	// Each entry writes its index to one key, in turn: at index i the keys hold
	// the last of the indices up to i that are theirs, and nothing else does.
	key := func(i uint64) []byte { return fmt.Appendf(nil, "k%02d", i%keys) }
	type at struct {
		moment *Moment
		index  uint64
	}
	work := make(chan at) // from the goroutine that applies, which closes it, to listers
	var listers sync.WaitGroup
	for range 3 {
		listers.Go(func() {
			for a := range work {
				n := uint64(0)
				a.moment.List(nil, nil, ListLimits{KeysOnly: true}, func(_ []byte, version uint64, _ []byte) {
					if version > a.index || version+keys <= a.index {
						t.Errorf("a listing as of %d shows version %d", a.index, version)
					}
					n++
				})
				if want := min(a.index, keys); n != want {
					t.Errorf("a listing as of %d shows %d keys, want %d", a.index, n, want)
				}
				a.moment.End()
			}
		})
	}
	taken := 0
	for index := uint64(1); index <= 40000; index++ {
		k := key(index)
		apply(t, m, index, raft.GroupTime(index), &Command{Kind: CommandSet, Slot: SlotOf(k), Items: [][]byte{k, nil}})
		a := at{momentOf(m, nil), index}
		select {
		case work <- a:
			taken++
		default:
			a.moment.End()
		}
	}
	close(work)
	listers.Wait()
	if taken < 10 {
		t.Errorf("only %d moments were listed", taken)
	}
	nothingKept(t, m)
}

// To take a moment must cost the goroutine that applies the same whatever the
// map holds, and a write nothing while nobody lists: every group of a node waits
// for it. What is counted is work, not time: copies of slots, and memory.
func TestMomentIsCheapToTake(t *testing.T) {
	m := owning(allSlots())
	for i := range 20000 {
		k := fmt.Appendf(nil, "key-%d", i)
		apply(t, m, uint64(i+1), 0, &Command{Kind: CommandSet, Slot: SlotOf(k), Items: [][]byte{k, []byte("v")}})
	}
	if n := testing.AllocsPerRun(100, func() { momentOf(m, nil).End() }); n > 2 {
		t.Errorf("a moment takes %v allocations", n)
	}
	copies := func() (n int) {
		m.each(func(st *slotState) { n += st.records.copies })
		return n
	}
	moment := momentOf(m, nil)
	if n := copies(); n != 0 {
		t.Errorf("%d slots are copied before anything is read or written", n)
	}
	index := uint64(30000)
	write := func(k string) {
		index++
		apply(t, m, index, 0, &Command{Kind: CommandSet, Slot: SlotOf([]byte(k)), Items: items(k, "w")})
	}
	for range 5 {
		write("key-1")
		write("key-2")
	}
	if n := copies(); n != 2 {
		t.Errorf("%d slots are copied for two that changed", n)
	}
	// A second moment of the same state shares the copy that a write makes.
	second := momentOf(m, nil)
	third := momentOf(m, nil)
	write("key-1")
	if n := copies(); n != 3 {
		t.Errorf("%d slots are copied, want one more for two moments", n)
	}
	moment.End()
	if n := copies(); n != 1 {
		t.Errorf("%d slots are copied after the first moment is over, want the one of the others", n)
	}
	third.End()
	second.End()
	nothingKept(t, m)
}
