package client

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"muster/repl/wire"
	"muster/shardmap"
)

// said counts the frames that nodes were sent, by type.
type said struct {
	mu     sync.Mutex
	frames map[wire.Type]int
}

// hearing counts what the nodes of f are sent from now on.
func hearing(f *fakeCluster) *said {
	s := &said{frames: map[wire.Type]int{}}
	for _, n := range f.nodes {
		n.do(func(h wire.Header, _ []byte) fakeOrder {
			s.mu.Lock()
			s.frames[h.Type]++
			s.mu.Unlock()
			return fakeOrder{}
		})
	}
	return s
}

func (s *said) of(t wire.Type) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.frames[t]
}

// all returns how often each type came, as text.
func (s *said) all() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprint(s.frames)
}

// Nothing is polled: a client that has nothing to ask sends nothing but signs of life, and those only over
// a connection on which a stream is open. Minutes pass, by the client's clock.
func TestIdleClientIsQuiet(t *testing.T) {
	for name, c := range map[string]struct {
		cluster *fakeCluster
		pings   bool
	}{
		"that follows the table": {newFakeOfLevel5(t, 3, 3), true},
		"without streams":        {newFake(t, 3, 3), false},
	} {
		f := c.cluster
		heard := hearing(f)
		client, host := f.openSuspendable()
		for group := 1; group <= 3; group++ { // each is led by another node
			if _, err := client.Set(within(t, busyMax), f.keysOf(group, 1)[0], nil, WriteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		streams := func() (n int) {
			for _, open := range f.followers() {
				n += open
			}
			return n
		}
		until(t, "the table is followed, and its first piece was taken", func() bool {
			return !c.pings || streams() == 1 && heard.of(wire.TypeStreamGrant) > 0
		})
		heard = hearing(f)
		for round := range 6 {
			host.suspend(idleMax + time.Second)
			if c.pings {
				until(t, "the stream is asked for a sign of life", func() bool { return heard.of(wire.TypePing) > round })
				continue
			}
			until(t, "all connections are closed", func() bool {
				for _, n := range f.nodes {
					n.mu.Lock()
					open := len(n.conns)
					n.mu.Unlock()
					if open > 0 {
						return false
					}
				}
				return true
			})
		}
		heard.mu.Lock()
		others := maps.Clone(heard.frames)
		heard.mu.Unlock()
		delete(others, wire.TypePing)
		if len(others) > 0 || !c.pings && heard.of(wire.TypePing) > 0 {
			t.Errorf("%s: it was sent %s", name, heard.all())
		}
		for i, n := range f.nodes {
			if got := n.accepts.Load(); got != 1 {
				t.Errorf("%s: node %d accepted %d connections, want 1", name, i+1, got)
			}
		}
	}
}

// The table is fetched where a hint says that it is old, and nowhere else: not where the hint has all that is
// to be known, as that of a node that knows who leads.
func TestTableIsFetchedOnHints(t *testing.T) {
	f := newFake(t, 3, 3)
	c := f.open(Options{})
	ctx := within(t, busyMax)
	key := f.keysOf(1, 1)[0]
	set := func() {
		t.Helper()
		if _, err := c.Set(ctx, key, nil, WriteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	set()
	heard := hearing(f)
	for i := range 30 {
		f.lead(1, i%3)
		set()
	}
	if n := heard.of(wire.TypeTopology); n != 0 {
		t.Errorf("30 new leaders, of whom nodes told: the table was fetched %d times", n)
	}
	f.move(shardmap.SlotOf(key), 2)
	f.record()
	until(t, "the client goes by the table in which the slot has moved", func() bool {
		set() // a node says that by its table the slot is of another group
		return c.routes.Load().Group[shardmap.SlotOf(key)] == 2
	})
	for range 30 {
		set()
	}
	if n := heard.of(wire.TypeTopology); n != 1 {
		t.Errorf("a slot that moved: the table was fetched %d times, want once", n)
	}
}

// A request says how long its caller waits for it, so that no node works on what nobody waits for any more. It
// is a little less, for the way there, and never more than a write is tried.
func TestDeadlineTravels(t *testing.T) {
	f := newFakeOfLevel5(t, 1, 1)
	c := f.open(Options{})
	if _, err := c.Set(within(t, busyMax), []byte("k"), nil, WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	for name, do := range map[string]func(context.Context) error{
		"set":  func(ctx context.Context) error { _, err := c.Set(ctx, []byte("k"), nil, WriteOptions{}); return err },
		"txn":  func(ctx context.Context) error { _, _, err := c.Incr(ctx, []byte("n"), 1); return err },
		"many": func(ctx context.Context) error { _, err := c.SetMany(ctx, []Pair{{Key: []byte("k")}}); return err },
		"del":  func(ctx context.Context) error { _, err := c.Delete(ctx, []byte("k")); return err },
		"get": func(ctx context.Context) error {
			_, _, err := c.Get(ctx, [][]byte{[]byte("k")}, ReadOptions{})
			return err
		},
		"one": func(ctx context.Context) error {
			_, _, _, err := c.GetOne(ctx, []byte("k"), nil, ReadOptions{})
			return err
		},
		"list": func(ctx context.Context) error {
			for _, err := range c.List(ctx, nil, ListOptions{}) {
				return err
			}
			return nil
		},
		"grant":    func(ctx context.Context) error { _, err := c.Grant(ctx, []byte("k"), time.Minute); return err },
		"topology": func(ctx context.Context) error { _, err := c.Topology(ctx); return err },
		"status":   func(ctx context.Context) error { _, err := c.Status(ctx, ""); return err },
	} {
		for _, limit := range []time.Duration{time.Minute, 0, time.Hour} {
			got := make(chan uint32, 16)
			f.nodes[0].do(func(h wire.Header, _ []byte) fakeOrder {
				switch h.Type { // others are the client's own
				case wire.TypeWrite, wire.TypeGet, wire.TypeScan, wire.TypeTopology, wire.TypeStatus:
					got <- h.Deadline
				}
				return fakeOrder{}
			})
			ctx, cancel := context.Background(), func() {}
			if limit > 0 {
				ctx, cancel = context.WithTimeout(ctx, limit)
			}
			err := do(ctx)
			cancel()
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			most := RetryMax
			if limit > 0 {
				most = min(limit, RetryMax)
			}
			if left := time.Duration(<-got) * time.Millisecond; left > most || left < most-busyMax {
				t.Errorf("%s with %s: its frame says %s, want up to %s", name, limit, left, most)
			}
		}
	}
}
