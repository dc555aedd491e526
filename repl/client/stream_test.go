package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"muster/repl/wire"
)

// streamed is a cluster with some megabytes of keys, k/00000 and so on.
func streamed(t *testing.T, keys, size int) (*fakeCluster, *Client) {
	f := newFake(t, 3, 8)
	c := f.open(Options{})
	value := bytes.Repeat([]byte("v"), size)
	f.mu.Lock()
	for i := range keys {
		f.data[fmt.Sprintf("k/%05d", i)] = fakeValue{value: value, version: 1}
	}
	f.mu.Unlock()
	return f, c
}

// openStreams counts the streams that are open at all nodes.
func (c *fakeCluster) openStreams() (n int64) {
	for _, x := range c.nodes {
		n += x.streams.Load()
	}
	return n
}

// A listing has every key once, in order, though nodes hang up in the middle of
// streams, end them, and hand over their groups. One would doubt it: pieces are on
// their way when a connection ends, and several streams share it.
func TestListGoesOnWhereItWas(t *testing.T) {
	const keys = 8000
	f, c := streamed(t, keys, 3000)
	var pieces, faults atomic.Int64
	for i, n := range f.nodes {
		order := func(uint64) fakeOrder {
			switch p := pieces.Add(1); {
			case p%11 == 7:
				faults.Add(1)
				return fakeOrder{hangUp: true}
			case p%13 == 5:
				faults.Add(1)
				f.leaders[int(p)%len(f.leaders)] = (i + 1) % len(f.nodes) // under f.mu, which who asks holds
			case p%17 == 11:
				faults.Add(1)
				return fakeOrder{refuse: wire.Busy("reads", "many", time.Millisecond)}
			}
			return fakeOrder{}
		}
		n.piece.Store(&order)
	}
	got := 0
	for item, err := range c.List(within(t, 30*time.Second), []byte("k/"), ListOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("k/%05d", got); string(item.Key) != want || len(item.Value) != 3000 {
			t.Fatalf("key %q with %d bytes, want %q", item.Key, len(item.Value), want)
		}
		got++
	}
	if got != keys || faults.Load() < 5 {
		t.Errorf("%d keys of %d, and %d faults", got, keys, faults.Load())
	}
	until(t, "no stream is open", func() bool { return f.openStreams() == 0 })
}

// A caller that stops, or whose context ends, leaves no stream open; one that is slow
// has all streams wait, and no node sends more than it may.
func TestListIsGivenUp(t *testing.T) {
	f, c := streamed(t, 6000, 10000)
	var pieces atomic.Int64
	order := func(uint64) fakeOrder { pieces.Add(1); return fakeOrder{} }
	for _, n := range f.nodes {
		n.piece.Store(&order)
	}
	for range c.List(within(t, 30*time.Second), nil, ListOptions{}) {
		until(t, "streams are open", func() bool { return f.openStreams() > 0 })
		break
	}
	until(t, "no stream is open", func() bool { return f.openStreams() == 0 })

	ctx, cancel := context.WithCancel(within(t, 30*time.Second))
	defer cancel()
	n := 0
	for _, err := range c.List(ctx, nil, ListOptions{}) {
		if n++; n == 10 {
			cancel()
		}
		if err != nil {
			if !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
			break
		}
	}
	if n == 6000 {
		t.Error("a listing of 60 MB ended before its context")
	}
	until(t, "no stream is open", func() bool { return f.openStreams() == 0 })

	pieces.Store(0)
	for range c.List(within(t, 30*time.Second), nil, ListOptions{}) {
		window, piece := windowOf(8)
		full := int64(8 * (window / uint64(piece))) // less or as many: pieces are not all full
		until(t, "all that may be sent was", func() bool { return pieces.Load() >= full-8 })
		if got := pieces.Load(); got > full+8 {
			t.Errorf("%d pieces were sent to a caller that took one row; %d are the window", got, full)
		}
		break
	}
}

// Requests that are few rows long are not streamed more.
func TestListOfSomeRowsStreamsNoMore(t *testing.T) {
	f, c := streamed(t, 1000, 100)
	var rows atomic.Int64
	for _, n := range f.nodes {
		n.do(func(h wire.Header, body []byte) fakeOrder {
			var q wire.Scan
			if h.Type == wire.TypeScan && q.Read(body) == nil {
				rows.Add(int64(q.Limit))
			}
			return fakeOrder{}
		})
	}
	n := 0
	for _, err := range c.List(within(t, 30*time.Second), nil, ListOptions{Limit: 10}) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 10 || rows.Load() != 8*10 {
		t.Errorf("%d rows, and %d were asked of 8 groups", n, rows.Load())
	}
}
