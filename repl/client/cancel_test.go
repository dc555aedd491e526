package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"muster/repl/wire"
)

// The context of a write ends just as the answer maybe-applied has been taken
// off its connection: the caller must still be told that it may be applied.
func TestCancelledAsItIsRefused(t *testing.T) {
	f := newFake(t, 1, 1)
	c := f.open(Options{})
	if _, err := c.Set(within(t, 10*time.Second), []byte("a"), nil, WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	x := newCall(wire.TypeWrite)
	x.Write, x.Deadline = true, c.now()+time.Minute
	x.cancelled.Store(true) // do: <-ctx.Done(), c.cancel(x): not on the link any more, not in the core yet
	c.refused(x, 0, wire.MaybeApplied("group 1", "its leader changed").Append(nil))
	<-x.done
	if codeOf(x.err) != wire.CodeMaybeApplied {
		t.Errorf("got %v, want maybe-applied", x.err)
	}
}

// A caller whose context ends must return at once, with an error that tells
// whether its write may have been applied, and that is found as a context's
// error too.
func TestContextEnds(t *testing.T) {
	f := newFake(t, 1, 1)
	c := f.open(Options{})
	if _, err := c.Set(within(t, 10*time.Second), []byte("a"), nil, WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	var came atomic.Int64
	f.nodes[0].do(func(h wire.Header, _ []byte) fakeOrder {
		if h.Type != wire.TypePing {
			came.Add(1)
		}
		return fakeOrder{silent: true}
	})
	for _, x := range []struct {
		name string
		do   func(context.Context) error
		code wire.Code
	}{
		{"write", func(ctx context.Context) error { _, err := c.Set(ctx, []byte("b"), nil, WriteOptions{}); return err }, wire.CodeMaybeApplied},
		{"read", func(ctx context.Context) error {
			_, _, err := c.Get(ctx, [][]byte{[]byte("b")}, ReadOptions{})
			return err
		}, wire.CodeUnavailable},
		{"list", func(ctx context.Context) error {
			for _, err := range c.List(ctx, nil, ListOptions{}) {
				return err
			}
			return nil
		}, wire.CodeUnavailable},
	} {
		var err error
		// On a busy machine the time may be over before it is sent.
		for d := 50 * time.Millisecond; d < busyMax; d *= 2 {
			before, began := came.Load(), time.Now()
			ctx, cancel := context.WithTimeout(context.Background(), d)
			err = x.do(ctx)
			cancel()
			if took := time.Since(began); took > d+busyMax {
				t.Errorf("%s: returned after %s, and had %s", x.name, took, d)
			}
			if came.Load() > before {
				break
			}
		}
		if codeOf(err) != x.code || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: got %v, want %s and the context's error", x.name, err, x.code)
		}
	}
	// Without a leader nothing is sent that may be applied.
	f.nodes[0].do(nil)
	f.lead(1, -1)
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if _, err := c.Set(ctx, []byte("c"), nil, WriteOptions{}); codeOf(err) != wire.CodeUnavailable {
		t.Errorf("no leader: got %v, want unavailable", err)
	}
}

// Many callers give up while answers and lost connections cross them: each call
// must end once, which its recycled object would show.
func TestCancelRaces(t *testing.T) {
	f := newFake(t, 2, 2)
	c := f.open(Options{})
	var turn atomic.Int64
	for _, n := range f.nodes {
		n.do(func(h wire.Header, _ []byte) fakeOrder {
			k := turn.Add(1)
			return fakeOrder{hangUp: k%501 == 0, silent: h.Type == wire.TypeWrite && k%13 == 0}
		})
	}
	var wg sync.WaitGroup
	for g := range 50 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range 40 {
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(i%7)*300*time.Microsecond)
				_, err := c.Set(ctx, fmt.Appendf(nil, "%d/%d", g, i), []byte("v"), WriteOptions{})
				if err != nil && codeOf(err) == 0 && !errors.As(err, new(*ErrNoEndpoint)) {
					t.Errorf("got %v, want a code", err)
				}
				cancel()
			}
		}()
	}
	wg.Wait()
	for _, n := range f.nodes {
		n.do(nil)
	}
	if _, err := c.Set(within(t, 10*time.Second), []byte("after"), nil, WriteOptions{}); err != nil {
		t.Fatal(err)
	}
}

// lateContext is over and does not say so yet, as one whose timer has no
// processor.
type lateContext struct {
	context.Context
	at time.Time
}

func (c lateContext) Deadline() (time.Time, bool) { return c.at, true }

// A call may end by its deadline before the context that it is taken from says
// that it has ended: the caller must find the same reason. One would doubt it
// because two timers run for one time, and either may be the first.
func TestDeadlineBeforeContext(t *testing.T) {
	f := newFake(t, 1, 1)
	c := f.open(Options{})
	if _, err := c.Set(within(t, 10*time.Second), []byte("a"), nil, WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	f.nodes[0].do(func(wire.Header, []byte) fakeOrder { return fakeOrder{silent: true} })
	for _, x := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"set", func(ctx context.Context) error { _, err := c.Set(ctx, []byte("b"), nil, WriteOptions{}); return err }},
		{"delete", func(ctx context.Context) error { _, err := c.Delete(ctx, []byte("b")); return err }},
		{"list", func(ctx context.Context) error {
			for _, err := range c.List(ctx, nil, ListOptions{}) {
				return err
			}
			return nil
		}},
	} {
		ctx := lateContext{within(t, 10*time.Second), time.Now().Add(20 * time.Millisecond)}
		if err := x.do(ctx); !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
			t.Errorf("%s: got %v, want the deadline's error", x.name, err)
		}
	}
}
