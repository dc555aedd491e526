package client

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// Slots that move while calls run are no concern of the caller: many keys are set, read
// and deleted, and listed, and each is there once and as it was set. One would doubt it:
// each of these is many requests, planned by a table that is old before they are answered;
// some groups say where a slot went and others have forgotten, and slots go on to a third
// group and come back.
func TestCallsOutliveMoves(t *testing.T) {
	const groups, keys, rounds = 5, 300, 12
	f := newFake(t, 3, groups)
	f.move(0, 1) // from here on slots move, and listings name theirs
	f.atLevel(shardmap.RangesLevel)
	f.record()
	c := f.open(Options{})
	pairs := make([]Pair, keys)
	names := make([][]byte, keys)
	for i := range pairs {
		names[i] = fmt.Appendf(nil, "k/%04d", i)
		pairs[i].Key = names[i]
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	stop := make(chan struct{})
	var mover sync.WaitGroup
	mover.Go(func() {
		random := rand.New(rand.NewPCG(1, 2))
		for n := 1; ; n++ {
			select {
			case <-stop:
				return
			case <-time.After(3 * time.Millisecond): // where slots move faster than a busy machine asks, no listing gets through
			}
			for range 2 {
				f.move(shardmap.SlotOf(names[random.IntN(keys)]), 1+random.IntN(groups))
			}
			if n%8 == 0 {
				f.record()
			}
		}
	})
	for round := range rounds {
		for i := range pairs {
			pairs[i].Value = fmt.Appendf(nil, "%d/%d", round, i)
		}
		if _, err := c.SetMany(ctx, pairs); err != nil {
			t.Fatalf("round %d: set: %v", round, err)
		}
		items, missing, err := c.Get(ctx, names, ReadOptions{AfterGroup: raft.GroupID(1 + round%groups), After: raft.LogID{Term: 1, Index: 1}})
		if err != nil || len(missing) != 0 || len(items) != keys {
			t.Fatalf("round %d: got %d keys, %d are missing, %v", round, len(items), len(missing), err)
		}
		n := 0
		for item, err := range c.List(ctx, []byte("k/"), ListOptions{}) {
			if err != nil {
				t.Fatalf("round %d: list, after %d: %v", round, n, err)
			}
			if n >= keys || string(item.Key) != string(names[n]) || string(item.Value) != string(pairs[n].Value) {
				t.Fatalf("round %d: item %d is %q %q", round, n, item.Key, item.Value)
			}
			n++
		}
		if n != keys {
			t.Fatalf("round %d: %d of %d keys are listed", round, n, keys)
		}
		for item, err := range c.List(ctx, []byte("k/"), ListOptions{Descending: true, From: names[keys/4]}) {
			if err != nil {
				t.Fatalf("round %d: list down to %q, from %d on: %v", round, names[keys/4], n, err)
			}
			if n--; n < keys/4 || string(item.Key) != string(names[n]) {
				t.Fatalf("round %d: item %d is %q", round, n, item.Key)
			}
		}
		if n != keys/4 {
			t.Fatalf("round %d: %d keys are left out of a descending listing", round, n-keys/4)
		}
		if n, err := Count(ctx, c, []byte("k/"), ListOptions{To: names[keys-20]}); err != nil || n != keys-20 {
			t.Fatalf("round %d: %d keys are counted, want %d; %v", round, n, keys-20, err)
		}
		deleted, err := c.Delete(ctx, names[:keys/3]...)
		count := 0
		for _, d := range deleted {
			count += d.Count
		}
		if err != nil || count != keys/3 {
			t.Fatalf("round %d: %d are deleted, want %d; %v", round, count, keys/3, err)
		}
	}
	close(stop)
	mover.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refused < 100 {
		t.Errorf("%d requests met a slot that had moved, of too few to show anything", f.refused)
	}
}

// A log id that one of several keys is read after holds up none of the others: a node's own
// copy of a slot that the group of the log id never had would wait for it for ever.
func TestLocalReadAfterBindsNoOtherGroup(t *testing.T) {
	f := newFake(t, 1, 3)
	f.move(0, 1)              // slots move
	keys := make([][]byte, 4) // of groups 1 to 3
	for i := 0; keys[1] == nil || keys[2] == nil || keys[3] == nil; i++ {
		key := fmt.Append(nil, "key", i)
		keys[f.groupOf(shardmap.SlotOf(key))] = key
	}
	var mu sync.Mutex
	asked := map[string]wire.Get{}
	f.nodes[0].do(func(h wire.Header, body []byte) fakeOrder {
		if g := (wire.Get{}); h.Type == wire.TypeGet && g.Read(slices.Clone(body)) == nil {
			mu.Lock()
			asked[string(g.Keys[0])] = g
			mu.Unlock()
		}
		return fakeOrder{}
	})
	id := raft.LogID{Term: 1, Index: 1}
	for _, tt := range []struct {
		keys  [][]byte
		local []bool
	}{
		{keys[1:4], []bool{false, true, false}},
		{keys[2:3], []bool{true}},
		{keys[1:2], []bool{true}}, // it may have come from there
		{[][]byte{keys[1], keys[3]}, []bool{false, false}},
	} {
		clear(asked)
		if _, _, err := f.open(Options{}).Get(t.Context(), tt.keys, ReadOptions{Local: true, AfterGroup: 2, After: id}); err != nil {
			t.Fatal(err)
		}
		for i, k := range tt.keys {
			g := asked[string(k)]
			if local := g.Mode == wire.ReadLocal; local != tt.local[i] || local && (g.AfterGroup != 2 || g.After != id) {
				t.Errorf("%q, of %q: asked as %+v, local is to be %t", k, tt.keys, g, tt.local[i])
			}
		}
	}
}

// A listing of a node's own copies has every key, too, when slots have moved since the
// client heard of a table: of two groups that share them, one may have none by that table.
func TestLocalListingOutlivesMoves(t *testing.T) {
	const keys = 200
	f := newFake(t, 1, 2)
	all := func(to int) {
		for s := range shardmap.Slot(shardmap.Slots) {
			f.move(s, to)
		}
		f.record()
	}
	all(1)
	c := f.open(Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	pairs := make([]Pair, keys)
	for i := range pairs {
		pairs[i] = Pair{Key: fmt.Appendf(nil, "k/%04d", i), Value: []byte("v")}
	}
	if _, err := c.SetMany(ctx, pairs); err != nil {
		t.Fatal(err)
	}
	for to := range 4 {
		n := 0
		for item, err := range c.List(ctx, []byte("k/"), ListOptions{Local: true}) {
			if err != nil {
				t.Fatalf("after %d keys: %v", n, err)
			}
			if n == keys || string(item.Key) != string(pairs[n].Key) {
				t.Fatalf("item %d is %q", n, item.Key)
			}
			n++
		}
		if n != keys {
			t.Errorf("%d of %d keys are listed", n, keys)
		}
		all(2 - to%2)
	}
}
