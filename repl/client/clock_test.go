package client

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"muster/repl/wire"
)

// The client's time goes on while its host is suspended, and never back.
func TestClock(t *testing.T) {
	type look struct{ wall, mono, want time.Duration }
	const s = time.Second
	for name, looks := range map[string][]look{
		"both go on":                     {{s, s, s}, {2 * s, 2 * s, 2 * s}},
		"suspended for ten minutes":      {{s, s, s}, {602 * s, 2 * s, 602 * s}, {603 * s, 3 * s, 603 * s}},
		"suspended twice":                {{11 * s, s, 11 * s}, {22 * s, 2 * s, 22 * s}},
		"suspended by looks that cross":  {{11 * s, s, 11 * s}, {11 * s, s, 11 * s}},
		"set back":                       {{10 * s, 10 * s, 10 * s}, {-3600 * s, 11 * s, 11 * s}, {-3599 * s, 12 * s, 12 * s}},
		"set back, then suspended":       {{-3600 * s, s, s}, {-3000 * s, 2 * s, 601 * s}},
		"runs fast by less than a jump":  {{s + clockJumpMin/2, s, s}, {2*s + clockJumpMin/2, 2 * s, 2 * s}},
		"runs fast until that is a jump": {{s + clockJumpMin/2, s, s}, {2*s + clockJumpMin, 2 * s, 2*s + clockJumpMin}},
	} {
		var k Clock
		for i, l := range looks {
			if got := k.Look(l.wall, l.mono); got != l.want {
				t.Errorf("%s: look %d: %s, want %s", name, i, got, l.want)
			}
			if got := k.At(l.mono); got != l.want {
				t.Errorf("%s: after look %d it is %s, want %s", name, i, got, l.want)
			}
		}
	}
}

// suspendable is a source of clocks whose host can be suspended.
type suspendable struct {
	mu    sync.Mutex
	slept time.Duration
	real  clockSource
}

func (s *suspendable) source() clockSource {
	return clockSource{mono: s.real.mono, both: func() (wall, mono time.Duration) {
		s.mu.Lock()
		defer s.mu.Unlock()
		wall, mono = s.real.both()
		return wall + s.slept, mono
	}}
}

func (s *suspendable) suspend(d time.Duration) {
	s.mu.Lock()
	s.slept += d
	s.mu.Unlock()
}

// openSuspendable opens a client whose host can be suspended.
func (c *fakeCluster) openSuspendable() (*Client, *suspendable) {
	s := &suspendable{real: systemClock()}
	var endpoints []string
	for _, n := range c.nodes {
		endpoints = append(endpoints, n.addr)
	}
	cl, err := open(Options{Insecure: true, Endpoints: endpoints}, s.source())
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { cl.Close() })
	return cl, s
}

// A host is suspended while a write is under way that was applied and not
// answered; when it goes on, the servers have forgotten the session. The write
// must not be sent again: a server would take it for a new one. One would doubt
// it: the deadline of the call lies far ahead, by a clock that stood still.
func TestSuspendedHost(t *testing.T) {
	c := newFake(t, 1, 1)
	cl, host := c.openSuspendable()
	ctx := t.Context()
	if _, err := cl.Set(ctx, []byte("k"), []byte("0"), WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	n := c.nodes[0]
	var once sync.Once
	n.do(func(h wire.Header, _ []byte) (order fakeOrder) {
		if h.Type == wire.TypeWrite {
			once.Do(func() {
				host.suspend(11 * time.Minute)
				order.hangUp = true // applied, and the connection is gone
			})
			c.mu.Lock()
			clear(c.outcomes) // of what came before
			c.mu.Unlock()
		}
		return order
	})
	_, err := cl.Set(ctx, []byte("k"), []byte("1"), WriteOptions{})
	var e *wire.Error
	if !errors.As(err, &e) || e.Code != wire.CodeMaybeApplied {
		t.Errorf("got %v, want maybe-applied", err)
	}
	n.do(nil)
	// What is begun afterwards is as good as ever.
	if _, err := cl.Set(ctx, []byte("k"), []byte("2"), WriteOptions{}); err != nil {
		t.Error(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.applied != 3 {
		t.Errorf("%d writes were applied, want 3", c.applied)
	}
}

// The same with a write that waits in the core for its next try: for a pause to
// be over, for a leader, for a connection. And a read begun after a suspension
// in which nothing looked at the clock has all its time.
func TestSuspendedWhileItWaits(t *testing.T) {
	c := newFake(t, 1, 1)
	cl, host := c.openSuspendable()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := cl.Set(ctx, []byte("k"), []byte("0"), WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	n := c.nodes[0]
	var mu sync.Mutex
	writes := 0
	n.do(func(h wire.Header, _ []byte) fakeOrder {
		if h.Type != wire.TypeWrite {
			return fakeOrder{}
		}
		mu.Lock()
		defer mu.Unlock()
		writes++
		if writes == 3 {
			host.suspend(6 * time.Minute)
		}
		if writes == 1 {
			return fakeOrder{refuse: wire.MaybeApplied("group 1", "its leader changed")}
		}
		return fakeOrder{refuse: wire.Busy("group 1", "full", time.Millisecond)}
	})
	_, err := cl.Set(ctx, []byte("k"), []byte("1"), WriteOptions{})
	if !isCode(err, wire.CodeMaybeApplied) {
		t.Errorf("got %v, want maybe-applied", err)
	}
	mu.Lock()
	if writes != 3 {
		t.Errorf("the write was sent %d times, want 3", writes)
	}
	mu.Unlock()
	n.do(nil)
	host.suspend(time.Hour)
	if _, _, err := cl.Get(ctx, [][]byte{[]byte("k")}, ReadOptions{}); err != nil {
		t.Errorf("a read after a suspension: %v", err)
	}
}
