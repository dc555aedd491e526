package watch

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"muster/raft"
	"muster/shardmap"
)

// crowd is a group with many watches.
type crowd struct {
	t     testing.TB
	m     *shardmap.Map
	hub   *Hub
	id    raft.LogID
	woken []*Watcher
}

func newCrowd(t testing.TB) *crowd {
	c := &crowd{t: t, m: shardmap.NewMap(testGroup), hub: New(0)}
	own := shardmap.OwnCommand(&shardmap.Own{Number: 1, Slots: []shardmap.SlotRange{{From: 0, To: shardmap.Slots - 1}}})
	raise := shardmap.RaiseCommand(shardmap.LeasesLevel)
	c.apply(&own)
	c.apply(&raise)
	c.hub.Group(testGroup, c.m.History())
	return c
}

func (c *crowd) apply(x *shardmap.Command) {
	c.id.Index++
	c.id.Term = 1
	if _, err := c.m.Apply(c.id, 0, x); err != nil {
		c.t.Fatal(err)
	}
}

func (c *crowd) set(key string) {
	c.apply(&shardmap.Command{Kind: shardmap.CommandSet, Slot: shardmap.SlotByServer, Items: [][]byte{[]byte(key), make([]byte, 100)}})
}

// watch opens a watch from now on, and reads until there is nothing.
func (c *crowd) watch(s Spec) (w *Watcher, ok bool) {
	s.Group = testGroup
	if s.Slots == nil {
		s.Slots = []shardmap.SlotRange{{From: 0, To: shardmap.Slots - 1}}
	}
	w, ok = c.hub.Watch(&s, []Start{{s.Slots, shardmap.After(c.id)}}, func() { c.woken = append(c.woken, w) })
	if !ok {
		return nil, false
	}
	if p, state := w.Next(1000); p.Body != nil || state != Nothing {
		c.t.Fatalf("a watch from now on begins with %+v", p)
	}
	return w, true
}

func (c *crowd) key(key string) *Watcher {
	w, ok := c.watch(Spec{From: []byte(key), Exact: true})
	if !ok {
		c.t.Fatal("refused")
	}
	return w
}

// turn has all that were woken read, and returns what each got.
func (c *crowd) turn() (got []Piece) {
	c.hub.Advance(testGroup)
	woken := c.woken
	c.woken = nil
	for _, w := range woken {
		for state := More; state == More; {
			var p Piece
			if p, state = w.Next(64 << 10); p.Body != nil {
				got = append(got, p)
			}
		}
	}
	return got
}

// One event for ten thousand watches of its key is written once, and the piece that has it is
// made once: all get the same bytes. Watches of other keys are not even looked at.
func TestOneEventForMany(t *testing.T) {
	const many = 10_000
	c := newCrowd(t)
	for i := range many {
		c.key("hot")
		c.key(fmt.Sprint("cold", i))
	}
	prev, _ := c.watch(Spec{From: []byte("ho"), To: []byte("hp"), Prev: true})
	for round := range 3 {
		c.set("hot")
		made := c.hub.rows.made
		got := c.turn()
		if len(got) != many+1 {
			t.Fatalf("%d watches got something, want %d", len(got), many+1)
		}
		if n := c.hub.rows.made - made; n != 2 {
			t.Errorf("round %d: the event was written %d times; want once, and once with what was before", round, n)
		}
		bodies := map[*byte]int{}
		for _, p := range got {
			bodies[&p.Body[0]]++
			if p.Rows != 1 {
				t.Fatalf("%d rows", p.Rows)
			}
		}
		if len(bodies) != 2 {
			t.Errorf("round %d: %d bodies for watches of two kinds", round, len(bodies))
		}
	}
	prev.Close()
	c.set("nobody's")
	if got := c.turn(); len(got) != 0 {
		t.Errorf("%d watches got an event of a key that nobody watches", len(got))
	}
}

// A node has so many watches and no more. One that ends makes room.
func TestWatchersMax(t *testing.T) {
	c := newCrowd(t)
	first := c.key("k")
	for range WatchersMax - 1 {
		c.key("k")
	}
	if _, ok := c.watch(Spec{From: []byte("k"), Exact: true}); ok {
		t.Error("one more is taken")
	}
	first.Close()
	first.Close()
	if p, state := first.Next(100); state != Gone || p.Body != nil {
		t.Error("a watch that was closed is told something")
	}
	if _, ok := c.watch(Spec{From: []byte("k"), Exact: true}); !ok {
		t.Error("none is taken in the place of one that has ended")
	}
}

// What has waited for five seconds is told how far it is: also if nothing at all has happened,
// and once.
func TestProgress(t *testing.T) {
	c := newCrowd(t)
	c.key("k")
	c.set("other")
	c.hub.Tick(ProgressEvery - 1)
	if got := c.turn(); len(got) != 0 {
		t.Fatalf("%d pieces before it is time", len(got))
	}
	for i := range time.Duration(3) {
		c.hub.Tick((i + 1) * ProgressEvery)
		got := c.turn()
		if len(got) != 1 || got[0].Rows != 0 || got[0].At != shardmap.After(c.id) {
			t.Fatalf("after %s: %+v, want that all up to %s was seen", (i+1)*ProgressEvery, got, c.id)
		}
	}
	c.hub.Tick(3*ProgressEvery + 1)
	if got := c.turn(); len(got) != 0 {
		t.Fatalf("%d pieces too soon", len(got))
	}
	c.set("k")
	c.turn()
	c.hub.Tick(4 * ProgressEvery)
	if got := c.turn(); len(got) != 0 {
		t.Fatalf("%d pieces for a watch that an event was for just now", len(got))
	}
}

// The tree of ranges finds what a look at each of them finds, however they lie in each other,
// while they come and go.
func TestRanges(t *testing.T) {
	chance := rand.New(rand.NewPCG(1, 5))
	key := func() []byte {
		b := make([]byte, 1+chance.IntN(3))
		for i := range b {
			b[i] = "abc"[chance.IntN(3)]
		}
		return b
	}
	var x ranges
	var all []*subject
	hits := 0
	for i := range 5000 {
		if n := len(all); n > 0 && chance.IntN(60) < n {
			k := chance.IntN(n)
			x.remove(all[k])
			all = slices.Delete(all, k, k+1)
		} else {
			s := &subject{id: fmt.Sprint(i), from: key()}
			if chance.IntN(8) > 0 {
				s.to = append(slices.Clone(s.from), key()...)
			}
			x.add(s)
			all = append(all, s)
		}
		k := key()
		var want, got []*subject
		for _, s := range x.list {
			if s.reach().has(k) {
				want = append(want, s)
			}
		}
		x.find(k, func(s *subject) { got = append(got, s) })
		if !slices.Equal(got, want) {
			t.Fatalf("step %d: %d ranges have %s, want %d of %d", i, len(got), k, len(want), len(all))
		}
		hits += len(got)
	}
	if hits < 1000 {
		t.Errorf("%d hits", hits)
	}
}

// BenchmarkAdvance is what an event costs a node with watches: that are for another key, for
// another range, for the same key and each waiting.
func BenchmarkAdvance(b *testing.B) {
	const many = 10_000
	const events = 1000 // in one call
	wide := func(i int) Spec { return Spec{From: fmt.Appendf(nil, "x%06d", i), To: fmt.Appendf(nil, "x%06d~", i)} }
	for _, k := range []struct {
		name  string
		watch func(c *crowd, i int)
	}{
		{"other keys", func(c *crowd, i int) { c.key(fmt.Sprint("cold", i)) }},
		{"other ranges", func(c *crowd, i int) { c.watch(wide(i)) }},
	} {
		b.Run(k.name, func(b *testing.B) {
			c := newCrowd(b)
			for i := range many {
				k.watch(c, i)
			}
			for b.Loop() {
				b.StopTimer()
				for i := range events {
					c.set(fmt.Sprint("hot", i))
				}
				b.StartTimer()
				c.turn()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*events), "ns/event")
		})
	}
	b.Run("its key", func(b *testing.B) {
		c := newCrowd(b)
		for range many {
			c.key("hot")
		}
		for b.Loop() {
			c.set("hot")
			if got := c.turn(); len(got) != many {
				b.Fatal(len(got))
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*many), "ns/watch")
	})
}
