package client

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"muster/repl/wire"
	"muster/shardmap"
)

// Bulk must set what can be set, tell each of the others by its tag, and keep
// to its bytes.
func TestBulk(t *testing.T) {
	f := newFake(t, 3, 8)
	c := f.open(Options{})
	ctx := within(t, 20*time.Second)
	var turn atomic.Int64
	for _, n := range f.nodes {
		n.do(func(h wire.Header, _ []byte) fakeOrder {
			return fakeOrder{hangUp: h.Type == wire.TypeWrite && turn.Add(1)%1777 == 0}
		})
	}
	const keys = 5000
	got := make([]int, keys)
	failed := map[uint64]wire.Code{}
	b := c.Bulk(ctx, 256<<10, func(tag uint64, w Written, err error) {
		got[tag]++
		if err != nil {
			failed[tag] = codeOf(err)
		}
	})
	for i := range keys {
		value := make([]byte, i%4000)
		if i%1000 == 1 {
			value = make([]byte, 1<<20+1)
		}
		b.Set(fmt.Append(nil, "bulk/", i), value, uint64(i))
		b.mu.Lock()
		if b.bytes > 256<<10 && len(b.calls) > 1 {
			t.Errorf("got %d bytes under way", b.bytes)
		}
		b.mu.Unlock()
	}
	b.Wait()
	for i, n := range got {
		if n != 1 {
			t.Fatalf("key %d was told of %d times", i, n)
		}
	}
	if len(failed) != keys/1000 {
		t.Errorf("got %d failures, want %d: %v", len(failed), keys/1000, failed)
	}
	for tag, code := range failed {
		if tag%1000 != 1 || code != wire.CodeTooLarge {
			t.Errorf("key %d: got %s", tag, code)
		}
	}
	if f.applied != keys-keys/1000 {
		t.Errorf("got %d writes applied, want %d", f.applied, keys-keys/1000)
	}
}

// A Bulk whose context ends must tell of every key all the same, and Wait must
// return.
func TestBulkContextEnds(t *testing.T) {
	f := newFake(t, 1, 1)
	c := f.open(Options{})
	if _, err := c.Set(within(t, 10*time.Second), []byte("a"), nil, WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	f.nodes[0].do(func(wire.Header, []byte) fakeOrder { return fakeOrder{silent: true} })
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	told := 0
	b := c.Bulk(ctx, 10000, func(_ uint64, _ Written, err error) {
		told++
		if err == nil {
			t.Error("a write came through")
		}
	})
	for i := range 200 {
		b.Set(fmt.Append(nil, i), []byte("v"), uint64(i))
	}
	b.Wait()
	if told != 200 {
		t.Errorf("told of %d, want 200", told)
	}
}

// A Bulk, and a Pipe, must do with a forgotten session what Set does: try each
// write once more under a new one. It must not where an attempt without an answer
// came before, for that one may have been applied; and a second refusal must not
// make it go round.
func TestBulkStaleSession(t *testing.T) {
	for _, kind := range []string{"bulk", "pipe"} {
		t.Run(kind, func(t *testing.T) { testStaleSession(t, kind) })
	}
}

func testStaleSession(t *testing.T, kind string) {
	stale := fakeOrder{refuse: wire.StaleSession("session", "forgotten")}
	for _, tt := range []struct {
		name   string
		orders []fakeOrder // of the writes, by turn, then they are served; nil: each first session is stale
		keys   int
		want   wire.Code // of one key; 0: all are set
	}{
		{"once", []fakeOrder{stale}, 200, 0},
		{"every session", nil, 500, 0},
		{"twice", []fakeOrder{stale, stale}, 1, wire.CodeStaleSession},
		{"after a lost answer", []fakeOrder{{hangUp: true}, stale}, 1, wire.CodeMaybeApplied},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFake(t, 1, 1)
			c := f.open(Options{})
			ctx := within(t, 10*time.Second)
			var turn atomic.Int64
			first := sync.Map{} // by lane: the session that it began with
			f.nodes[0].do(func(h wire.Header, body []byte) fakeOrder {
				if h.Type != wire.TypeWrite {
					return fakeOrder{}
				}
				if n := int(turn.Add(1)); n <= len(tt.orders) {
					return tt.orders[n-1]
				}
				if tt.orders != nil {
					return fakeOrder{}
				}
				var cmd shardmap.Command
				command, err := wire.CheckWrite(body)
				if err == nil {
					err = shardmap.ReadCommand(command, &cmd)
				}
				if err != nil {
					t.Error(err)
				}
				if id, _ := first.LoadOrStore(laneOf(cmd.Slot), cmd.Session); id == cmd.Session {
					return stale
				}
				return fakeOrder{}
			})
			told := map[uint64]int{}
			var codes []wire.Code
			tell := func(tag uint64, _ Written, err error) {
				told[tag]++
				if err != nil {
					codes = append(codes, codeOf(err))
				}
			}
			var b interface {
				Set(key, value []byte, tag uint64)
				Wait()
			} = c.Bulk(ctx, 0, tell)
			if kind == "pipe" {
				b = c.Pipe(ctx, 100, func(o *Outcome) { tell(o.Tag, o.Written, o.Err) })
			}
			for i := range tt.keys {
				b.Set(fmt.Append(nil, "key/", i), fmt.Append(nil, "value/", i), uint64(i))
			}
			b.Wait()
			for i := range tt.keys {
				if told[uint64(i)] != 1 {
					t.Errorf("key %d was told of %d times", i, told[uint64(i)])
				}
			}
			if tt.want == 0 && len(codes) > 0 || tt.want != 0 && !slices.Equal(codes, []wire.Code{tt.want}) {
				t.Errorf("got failures %v, want %v", codes, tt.want)
			}
			if tt.want != 0 {
				return
			}
			for i := range tt.keys {
				v, _, ok, err := c.GetOne(ctx, fmt.Append(nil, "key/", i), nil, ReadOptions{})
				if err != nil || !ok || string(v) != fmt.Sprint("value/", i) {
					t.Fatalf("key %d: got %q, %v, %v", i, v, ok, err)
				}
			}
		})
	}
}

// A Bulk whose context ends between a stale refusal and the second try must
// tell of the write all the same.
func TestBulkStaleAtTheEnd(t *testing.T) {
	f := newFake(t, 1, 1)
	c := f.open(Options{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	f.nodes[0].do(func(h wire.Header, _ []byte) fakeOrder {
		if h.Type == wire.TypeWrite {
			return fakeOrder{refuse: wire.StaleSession("session", "forgotten")}
		}
		return fakeOrder{}
	})
	var got error
	b := c.Bulk(ctx, 0, func(_ uint64, _ Written, err error) { got = err })
	b.Set([]byte("k"), []byte("v"), 1)
	until(t, "it waits for its second try", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.stale) == 1
	})
	cancel()
	b.Wait()
	if codeOf(got) != wire.CodeStaleSession {
		t.Errorf("got %v, want stale-session", got)
	}
}

// Of several connections to a node the first must carry what it can, and the
// next help out only then: small batches on many cost more than large ones on
// few. All must stay in use for what one alone would hold up.
func TestConnectionsFillInTurn(t *testing.T) {
	f := newFake(t, 1, 1)
	c := f.open(Options{ConnectionsPerNode: 3})
	if _, err := c.Set(within(t, 10*time.Second), []byte("a"), nil, WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	f.nodes[0].do(func(h wire.Header, _ []byte) fakeOrder { return fakeOrder{silent: h.Type == wire.TypeWrite} })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	b := c.Bulk(ctx, 0, func(uint64, Written, error) {})
	links := (*c.bonds.Load())[0].links
	for _, tt := range []struct {
		writes int // beside those before
		want   [3]int32
	}{
		{busyOpen - 1, [3]int32{busyOpen - 1, 0, 0}},
		{2, [3]int32{busyOpen, 1, 0}},
		{busyOpen, [3]int32{busyOpen, busyOpen, 1}},
	} {
		for i := range tt.writes {
			b.Set(fmt.Append(nil, i), []byte("v"), 0)
		}
		if got := [3]int32{links[0].open.Load(), links[1].open.Load(), links[2].open.Load()}; got != tt.want {
			t.Errorf("after %d more: got %v open, want %v", tt.writes, got, tt.want)
		}
	}
	for range busyOpen {
		b.Set([]byte("x"), nil, 0)
	}
	if n := links[0].open.Load() + links[1].open.Load() + links[2].open.Load(); n != 3*busyOpen+1 {
		t.Errorf("with all busy: got %d open, want %d", n, 3*busyOpen+1)
	}
	cancel()
	b.Wait()
	for i, l := range links {
		if n := l.open.Load(); n != 0 || l.busy() {
			t.Errorf("connection %d has %d open at the end", i, n)
		}
	}
}

// A write that is not answered must end when its own time is over, though the
// Bulk goes on: what comes after it is not to wait for it.
func TestBulkWithin(t *testing.T) {
	f := newFake(t, 1, 1)
	c := f.open(Options{})
	ctx := within(t, 20*time.Second)
	var turn atomic.Int64
	f.nodes[0].do(func(h wire.Header, _ []byte) fakeOrder {
		return fakeOrder{silent: h.Type == wire.TypeWrite && turn.Add(1) == 1}
	})
	got := map[uint64]error{}
	b := c.Bulk(ctx, 0, func(tag uint64, _ Written, err error) { got[tag] = err })
	b.Within(300 * time.Millisecond)
	b.Set([]byte("a"), nil, 1)
	b.Wait()
	b.Set([]byte("b"), nil, 2)
	b.Wait()
	if codeOf(got[1]) != wire.CodeMaybeApplied || got[2] != nil || len(got) != 2 {
		t.Errorf("got %v; want maybe-applied and then none", got)
	}
}

// A set of many keeps the condition of each, whether a plain command or a transaction carries it, and tells which did not
// hold; what contradicts itself is refused and holds up none of the others.
func TestBulkWithConditions(t *testing.T) {
	f := newFake(t, 1, 1)
	f.raise()
	c := f.open(Options{})
	got := map[uint64]error{}
	b := c.Bulk(within(t, 30*time.Second), 0, func(tag uint64, w Written, err error) {
		if got[tag] = err; err == nil && (w.ID.Index == 0 || w.Version == 0) {
			t.Errorf("set %d is told to be at %+v", tag, w)
		}
	})
	absent := WriteOptions{IfAbsent: true}
	short := WriteOptions{IfAbsent: true, HasTTL: true, TTL: time.Minute}
	b.SetWith([]byte("a"), []byte("1"), absent, 1)
	b.Wait()
	b.SetWith([]byte("a"), []byte("2"), absent, 2)
	b.SetWith([]byte("a"), []byte("2"), short, 3)
	b.SetWith([]byte("b"), []byte("1"), short, 4)
	b.SetWith([]byte("c"), nil, WriteOptions{IfAbsent: true, HasVersion: true, IfVersion: 3}, 5)
	b.SetWith([]byte("c"), nil, WriteOptions{HasTTL: true}, 6)
	b.Wait()
	for tag, want := range map[uint64]wire.Code{1: 0, 2: wire.CodeConflict, 3: wire.CodeConflict, 4: 0, 5: wire.CodeBadRequest, 6: wire.CodeBadRequest} {
		if code := codeOf(got[tag]); code != want {
			t.Errorf("set %d: got %v, want code %d", tag, got[tag], want)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if v := string(f.data["a"].value); v != "1" {
		t.Errorf("a has %q, want what was there first", v)
	}
}
