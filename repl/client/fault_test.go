package client

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"muster/repl/wire"
)

// Each of these ends a connection or refuses a request while a hundred callers
// write. Every write must come through, and be applied once: the fake complains
// if a sequence comes with other bytes.
func TestFaultsUnderLoad(t *testing.T) {
	for _, x := range []struct {
		name  string
		fault func(f *fakeCluster, turn int64) fakeOrder
	}{
		{"hang up after the write", func(f *fakeCluster, turn int64) fakeOrder { return fakeOrder{hangUp: turn%97 == 0} }},
		{"busy", func(f *fakeCluster, turn int64) fakeOrder {
			if turn%5 == 0 {
				return fakeOrder{refuse: wire.Busy("group", "full", time.Millisecond)}
			}
			return fakeOrder{}
		}},
		{"maybe applied", func(f *fakeCluster, turn int64) fakeOrder {
			if turn%7 == 0 {
				return fakeOrder{refuse: wire.MaybeApplied("group", "lost its place")}
			}
			return fakeOrder{}
		}},
		{"unavailable", func(f *fakeCluster, turn int64) fakeOrder {
			if turn%11 == 0 {
				return fakeOrder{refuse: wire.Unavailable("group", "no majority")}
			}
			return fakeOrder{}
		}},
		{"leaders change", func(f *fakeCluster, turn int64) fakeOrder {
			if turn%50 == 0 {
				f.lead(int(turn/50)%4+1, int(turn/50)%3)
			}
			return fakeOrder{}
		}},
		{"no leader for a while", func(f *fakeCluster, turn int64) fakeOrder {
			switch turn % 100 {
			case 0:
				f.lead(1, -1)
			case 60:
				f.lead(1, int(turn/100)%3)
			}
			return fakeOrder{}
		}},
	} {
		t.Run(x.name, func(t *testing.T) {
			f := newFake(t, 3, 4)
			c := f.open(Options{})
			var turn atomic.Int64
			for _, n := range f.nodes {
				n.do(func(h wire.Header, _ []byte) fakeOrder {
					if h.Type != wire.TypeWrite {
						return fakeOrder{}
					}
					return x.fault(f, turn.Add(1))
				})
			}
			ctx := within(t, 20*time.Second)
			const callers, each = 100, 20
			var wg sync.WaitGroup
			for g := range callers {
				wg.Add(1)
				go func() {
					defer wg.Done()
					for i := range each {
						if _, err := c.Set(ctx, fmt.Appendf(nil, "%d/%d", g, i), []byte("v"), WriteOptions{IfAbsent: true}); err != nil {
							t.Errorf("%d/%d: %v", g, i, err)
						}
					}
				}()
			}
			if x.name == "no leader for a while" {
				// The last turn may leave the group without one.
				done := make(chan struct{})
				go func() { wg.Wait(); close(done) }()
				for waiting := true; waiting; {
					select {
					case <-done:
						waiting = false
					case <-time.After(300 * time.Millisecond):
						f.lead(1, 0)
					}
				}
			}
			wg.Wait()
			if f.applied != callers*each {
				t.Errorf("got %d writes applied, want %d", f.applied, callers*each)
			}
		})
	}
}

// A node that is stopped and started again under the same address must be found
// again, and what was under way must come through.
func TestRestart(t *testing.T) {
	f := newFake(t, 1, 1)
	c := f.open(Options{})
	ctx := within(t, 10*time.Second)
	if _, err := c.Set(ctx, []byte("a"), nil, WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	f.nodes[0].stop()
	got := make(chan error)
	go func() { _, err := c.Set(ctx, []byte("b"), nil, WriteOptions{}); got <- err }()
	time.Sleep(100 * time.Millisecond) // for it to find the door closed; nothing depends on it
	f.nodes[0].start()
	if err := <-got; err != nil {
		t.Fatal(err)
	}
}

// A node that takes a request and never answers, not even a ping, must be left
// for another.
func TestSilence(t *testing.T) {
	f := newFake(t, 2, 1)
	c := f.open(Options{})
	ctx := within(t, 2*busyMax)
	if _, err := c.Set(ctx, []byte("a"), nil, WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	f.nodes[0].do(func(wire.Header, []byte) fakeOrder { return fakeOrder{silent: true} })
	began := time.Now()
	got := make(chan error)
	go func() { _, err := c.Set(ctx, []byte("b"), nil, WriteOptions{}); got <- err }()
	f.lead(1, 1)
	if err := <-got; err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < silenceMax/2 || took > silenceMax+busyMax {
		t.Errorf("got an answer after %s, want about %s", took, silenceMax)
	}
}

// A server may ask whether its client is still there; without an answer it
// would cut the connection.
func TestPingIsAnswered(t *testing.T) {
	f := newFake(t, 1, 1)
	c := f.open(Options{})
	f.nodes[0].do(func(h wire.Header, _ []byte) fakeOrder { return fakeOrder{ping: h.Type == wire.TypeWrite} })
	if _, err := c.Set(within(t, 10*time.Second), []byte("a"), nil, WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	until(t, "the ping is answered", func() bool { return f.nodes[0].pongs.Load() == 1 })
}

// What a node says about the connection before it hangs up must reach those
// whose requests were on it.
func TestComplaint(t *testing.T) {
	f := newFake(t, 1, 1)
	c := f.open(Options{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var writes atomic.Int64
	f.nodes[0].do(func(h wire.Header, _ []byte) fakeOrder {
		if h.Type == wire.TypeWrite {
			if writes.Add(1) == 3 { // what it said of the first ones has been read
				cancel()
			}
		}
		return fakeOrder{complain: h.Type == wire.TypeWrite}
	})
	_, err := c.Set(ctx, []byte("a"), nil, WriteOptions{})
	if codeOf(err) != wire.CodeMaybeApplied || !strings.Contains(err.Error(), "flags") {
		t.Errorf("got %v", err)
	}
}
