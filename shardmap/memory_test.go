package shardmap

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	"muster/raft"
)

// memoryMap is a map that a test fills and empties by entries.
type memoryMap struct {
	t     testing.TB
	m     *Map
	index uint64
	c     Command
}

func newMemoryMap(t testing.TB) *memoryMap { return &memoryMap{t: t, m: owning(allSlots())} }

func (f *memoryMap) apply(c *Command) {
	f.index++
	if r, err := f.m.Apply(raft.LogID{Term: 1, Index: f.index}, 0, c); err != nil || r.Status != StatusApplied {
		f.t.Fatal(r, err)
	}
}

func (f *memoryMap) set(key []byte, value []byte) {
	f.c = Command{Kind: CommandSet, Slot: SlotByServer, Items: append(f.c.Items[:0], key, value)}
	f.apply(&f.c)
}

func (f *memoryMap) del(key []byte) {
	f.c = Command{Kind: CommandDel, Slot: SlotByServer, Items: append(f.c.Items[:0], key)}
	f.apply(&f.c)
}

// Keys that are deleted give their memory back, to a map that has been larger as to one that has
// not. One would doubt it: chunks with few records stay, tables that have grown, leaves that lead
// to little, lists that are long. So of many keys one in twenty stays, and the map may then take
// little more than one that had only these; nor may one without any keys keep anything of them.
func TestDeletedKeysGiveMemoryBack(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector keeps notes of its own beside what is measured")
	}
	const keys, oneStays = 200_000, 20
	value := make([]byte, 1000)
	sizes := func(i int) []byte { return value[:128] }
	mixed := func(i int) []byte { return value[:(i*7919)%len(value)] }
	for _, c := range []struct {
		name  string
		keys  int
		key   string // its number goes in
		value func(i int) []byte
		most  float64 // times a map that has not been larger
	}{
		{"in all slots", keys, "user/%011d", sizes, 1.35},
		{"in all slots, of all sizes", keys, "user/%011d", mixed, 1.6},
		{"in one slot", keys, "{a}%013d", sizes, 1.35},
		{"in one slot, of all sizes", keys, "{a}%013d", mixed, 1.35},
	} {
		t.Run(c.name, func(t *testing.T) {
			key := func(i int) []byte { return fmt.Appendf(nil, c.key, uint64(i)*0x9E3779B1%(1<<32)) }
			taken := func(fill func(f *memoryMap)) (bytes float64, f *memoryMap) {
				before := heap()
				f = newMemoryMap(t)
				fill(f)
				return float64(heap()) - float64(before), f
			}
			order := rand.New(rand.NewPCG(1, 2)).Perm(c.keys)
			empty, f := taken(func(*memoryMap) {})
			runtime.KeepAlive(f)
			fresh, f := taken(func(f *memoryMap) {
				for i := 0; i < c.keys; i += oneStays {
					f.set(key(i), c.value(i))
				}
			})
			runtime.KeepAlive(f)
			full := 0.0
			got, f := taken(func(f *memoryMap) {
				before := heap()
				for i := range c.keys {
					f.set(key(i), c.value(i))
				}
				full = float64(heap()) - float64(before)
				for _, i := range order {
					if i%oneStays != 0 {
						f.del(key(i))
					}
				}
			})
			t.Logf("%d keys take %.1f MB; the twentieth that stays %.2f, in a map that had no others %.2f: %.2f times as much", c.keys, full/1e6, got/1e6, fresh/1e6, got/fresh)
			if got > c.most*fresh {
				t.Errorf("the keys that stay take %.2f MB, in a map that had no others %.2f: %.2f times as much, want %.2f at most", got/1e6, fresh/1e6, got/fresh, c.most)
			}
			for s := range Slot(Slots) {
				if err := checkStore(&f.m.slot(s).records); err != nil {
					t.Fatalf("slot %d: %v", s, err)
				}
			}
			runtime.KeepAlive(f)
			got, f = taken(func(f *memoryMap) {
				for i := range c.keys {
					f.set(key(i), c.value(i))
				}
				for _, i := range order {
					f.del(key(i))
				}
			})
			if got > 1.05*empty {
				t.Errorf("with all keys deleted the map takes %.2f MB, want %.2f as before the first", got/1e6, empty/1e6)
			}
			runtime.KeepAlive(f)
		})
	}
}

// The garbage collector marks what lies in the heap one by one, and waits for memory each time: it
// is not the bytes of a large map that take it long, but the chunks. One would doubt that there are
// few: a slot opens small ones first, and records have chunks of their own that are large for a
// small slot.
func TestSlotsHaveFewChunks(t *testing.T) {
	for _, c := range []struct {
		keys, value int
		most        int // chunks
	}{
		{25, 128, 10},
		{250, 128, 30}, // as in all slots of a map with a million keys
		{2500, 128, 20},
		{25_000, 128, 110},
		{250, 2000, 30},
		{2500, 400, 24},
	} {
		s, value := newStore(KindKey), make([]byte, c.value)
		for i := range c.keys {
			key := benchKey(make([]byte, 16), i)
			s.put(key, value, hashKey(key), 1)
		}
		if err := checkStore(&s); err != nil {
			t.Fatal(err)
		}
		if n := len(s.chunks) - len(s.free); n > c.most {
			t.Errorf("%d keys with values of %d bytes lie in %d chunks, want %d at most", c.keys, c.value, n, c.most)
		} else {
			t.Logf("%d keys with values of %d bytes lie in %d chunks, with %d leaves", c.keys, c.value, n, len(s.leaves))
		}
	}
}
