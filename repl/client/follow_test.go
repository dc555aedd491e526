package client

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"muster/repl/wire"
	"muster/shardmap"
)

// From level 5 on a client has each table as soon as its node has it, by one stream, so
// that slots that moved meet no call in the wrong place; another node sends it when the
// first is gone. One would doubt it: nothing asks.
func TestTableIsFollowed(t *testing.T) {
	f := newFakeOfLevel5(t, 3, 4)
	c := f.open(Options{})
	ctx := within(t, busyMax+10*time.Second)
	keys := f.keysOf(1, 40)
	for _, k := range keys { // also connects to all nodes
		if _, err := c.Set(ctx, k, nil, WriteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, k := range f.keysOf(2, 1) {
		if _, err := c.Set(ctx, k, nil, WriteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	var followed int
	one := func() bool {
		open := 0
		for i, n := range f.followers() {
			if open += n; n > 0 {
				followed = i
			}
		}
		return open == 1
	}
	for round := range 6 {
		until(t, "one node is followed", one)
		for _, k := range keys {
			f.move(shardmap.SlotOf(k), 1+(round+1)%3)
		}
		f.record()
		f.push()
		epoch := f.epoch
		until(t, "the table is here", func() bool { return c.routes.Load().Epoch == epoch })
		for _, k := range keys {
			if _, err := c.Set(ctx, k, nil, WriteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		f.mu.Lock()
		if f.refused != 0 {
			t.Fatalf("round %d: %d calls met a slot that had moved", round, f.refused)
		}
		f.mu.Unlock()
		if round%2 == 1 {
			f.nodes[followed].stop()
			until(t, "nobody is followed there", func() bool { return f.followers()[followed] == 0 })
			f.nodes[followed].start()
			if _, err := c.Set(ctx, keys[0], nil, WriteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Where no node has a stream of the table to give, the client asks for tables as ever, and
// is not in the way with its attempts.
func TestTableIsAskedForInstead(t *testing.T) {
	f := newFakeOfLevel5(t, 3, 4)
	c := f.open(Options{})
	var tries atomic.Int64
	for _, n := range f.nodes {
		n.do(func(h wire.Header, _ []byte) fakeOrder {
			if h.Type != wire.TypeTableStream {
				return fakeOrder{}
			}
			tries.Add(1)
			return fakeOrder{refuse: wire.NotReady("stream of the table", "this node keeps none", "ask again once it does", 0)}
		})
	}
	ctx := within(t, busyMax+10*time.Second)
	keys := f.keysOf(1, 20)
	for round := range 4 {
		for _, k := range keys {
			if _, err := c.Set(ctx, k, nil, WriteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		for _, k := range keys {
			f.move(shardmap.SlotOf(k), 1+(round+1)%3)
		}
		f.record()
	}
	if n := tries.Load(); n == 0 || n > 40 {
		t.Errorf("%d attempts", n)
	}
}

// The stream of the table keeps its own connection of an idle client open, and no other: a
// client that has nothing to ask for a while still learns of what moves.
func TestIdleClientFollows(t *testing.T) {
	f := newFakeOfLevel5(t, 3, 3)
	host := &suspendable{real: systemClock()}
	o := Options{Insecure: true}
	for _, n := range f.nodes {
		o.Endpoints = append(o.Endpoints, n.addr)
	}
	c, err := open(o, host.source())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	for group := 1; group <= 3; group++ { // each is led by another node
		if _, err := c.Set(within(t, busyMax), f.keysOf(group, 1)[0], nil, WriteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	followed := func() (open, streams int) {
		for i, n := range f.followers() {
			streams += n
			f.nodes[i].mu.Lock()
			open += len(f.nodes[i].conns)
			f.nodes[i].mu.Unlock()
		}
		return open, streams
	}
	until(t, "all are connected, and one is followed", func() bool {
		open, streams := followed()
		return open == 3 && streams == 1
	})
	for range 3 {
		host.suspend(idleMax + time.Second)
		until(t, "the other connections are closed", func() bool {
			open, _ := followed()
			return open == 1
		})
	}
	if open, streams := followed(); open != 1 || streams != 1 {
		t.Errorf("%d connections and %d streams", open, streams)
	}
	accepted := int64(0)
	for _, n := range f.nodes {
		accepted += n.accepts.Load()
	}
	if accepted != 3 {
		t.Errorf("%d connections were made, want the first 3", accepted)
	}
	slot := shardmap.SlotOf(f.keysOf(1, 1)[0])
	f.move(slot, 2)
	f.record()
	f.push()
	until(t, "the client knows", func() bool { return c.routes.Load().Group[slot] == 2 })
}

// A client that was there before an upgrade hears of it when it first asks for what the
// cluster has since then, and follows the table from then on. One would doubt it: its table
// is of the old level, and nothing that it does is refused.
func TestClientLearnsOfTheLevel(t *testing.T) {
	for _, c := range []struct {
		what string
		ask  func(*Client) error
	}{
		{"watch", func(c *Client) error {
			ctx, cancel := context.WithTimeout(context.Background(), busyMax)
			defer cancel()
			w := c.Watch(ctx, WatchQuery{Key: []byte("k")})
			ended := make(chan error, 1)
			go func() {
				defer w.Close()
				_, err := w.Next()
				ended <- err
			}()
			until(t, "the client knows of the level", func() bool {
				return len(ended) > 0 || c.routes.Load().Level >= shardmap.LeasesLevel
			})
			cancel() // the fake opens no watch, so this one would wait for it
			return <-ended
		}},
		{"list leases", func(c *Client) error {
			for _, err := range c.Leases(within(t, busyMax)) {
				return err
			}
			return nil
		}},
	} {
		f := newFake(t, 3, 3)
		client := f.open(Options{})
		if _, err := client.Set(within(t, busyMax), f.keysOf(1, 1)[0], nil, WriteOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := c.ask(client); !isCode(err, wire.CodeLevel) {
			t.Errorf("%s before the upgrade: got %v, want %s", c.what, err, wire.CodeLevel)
		}
		f.raise()
		if err := c.ask(client); isCode(err, wire.CodeLevel) {
			t.Errorf("%s after the upgrade: %v", c.what, err)
		}
		if level := client.routes.Load().Level; level != shardmap.LeasesLevel {
			t.Errorf("%s: the client knows level %d, want %d", c.what, level, shardmap.LeasesLevel)
		}
		until(t, "one node is followed", func() bool {
			open := 0
			for _, n := range f.followers() {
				open += n
			}
			return open == 1
		})
	}
}
