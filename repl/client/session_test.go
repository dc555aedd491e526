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

// With one write of a session stuck, no more than the window may run ahead of
// it; the others wait, and go on when it ends.
func TestWindow(t *testing.T) {
	f := newFake(t, 1, 1)
	c := f.open(Options{WindowMax: 64})
	ctx := within(t, 10*time.Second)
	key := []byte("{one}slot")
	if _, err := c.Set(ctx, key, nil, WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	var seen atomic.Int64
	f.nodes[0].do(func(h wire.Header, body []byte) fakeOrder {
		if h.Type != wire.TypeWrite {
			return fakeOrder{}
		}
		return fakeOrder{silent: seen.Add(1) == 1}
	})
	stuck, end := context.WithCancel(ctx)
	first := make(chan error, 1)
	go func() { _, err := c.Set(stuck, key, []byte("stuck"), WriteOptions{}); first <- err }()
	until(t, "the first is seen", func() bool { return seen.Load() == 1 })
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if _, err := c.Set(ctx, fmt.Appendf(nil, "{one}%d", i), nil, WriteOptions{}); err != nil {
				t.Error(err)
			}
		}()
	}
	until(t, "the window is full", func() bool { return seen.Load() == 64 })
	time.Sleep(20 * time.Millisecond) // for a 65th to be wrong; it may come later, but then the fake's Validate would say so
	if n := seen.Load(); n != 64 {
		t.Errorf("got %d writes ahead of the stuck one, want 63", n-1)
	}
	end()
	if err := <-first; codeOf(err) != wire.CodeMaybeApplied || !errors.Is(err, context.Canceled) {
		t.Errorf("stuck: got %v", err)
	}
	wg.Wait()
}

// A session that the servers no longer know is replaced, if nothing may have
// been applied under it.
func TestStaleSession(t *testing.T) {
	f := newFake(t, 1, 1)
	c := f.open(Options{})
	ctx := within(t, 10*time.Second)
	var left atomic.Int64
	left.Store(1)
	f.nodes[0].do(func(h wire.Header, _ []byte) fakeOrder {
		if h.Type == wire.TypeWrite && left.Add(-1) >= 0 {
			return fakeOrder{refuse: wire.StaleSession("session", "forgotten")}
		}
		return fakeOrder{}
	})
	if _, err := c.Set(ctx, []byte("k"), nil, WriteOptions{}); err != nil {
		t.Errorf("once: %v", err)
	}
	left.Store(2)
	if _, err := c.Set(ctx, []byte("k"), nil, WriteOptions{}); codeOf(err) != wire.CodeStaleSession {
		t.Errorf("twice: got %v, want stale-session", err)
	}
}

// Nodes know the outcome of a write by its session and by the user who sent it. A client that was let in by the
// secret, and has a certificate when it connects again, is another user: a write of before, whose outcome is not known,
// must not be sent again, or it would be done twice.
func TestNoRetryAsAnotherUser(t *testing.T) {
	if wrong := retriedAsAnother(t); wrong != "" {
		t.Error(wrong)
	}
}

// retriedAsAnother says whether a write that was sent as one user is sent again as another.
func retriedAsAnother(t *testing.T) string {
	f := newFake(t, 1, 1)
	c := f.open(Options{})
	ctx := within(t, 10*time.Second)
	if _, err := c.Set(ctx, []byte("k"), nil, WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	var writes atomic.Int64
	was := ""
	f.nodes[0].do(func(h wire.Header, _ []byte) fakeOrder {
		if h.Type != wire.TypeWrite {
			return fakeOrder{}
		}
		first := writes.Add(1) == 1
		if first {
			c.mu.Lock()
			for b := range c.open {
				for _, l := range b.links {
					l.mu.Lock()
					if x := l.pending.get(h.Request); x != nil {
						x.as = was
					}
					l.mu.Unlock()
				}
			}
			c.mu.Unlock()
		}
		return fakeOrder{hangUp: first}
	})
	if _, err := c.Set(ctx, []byte("k"), nil, WriteOptions{}); err != nil || writes.Load() != 2 {
		return fmt.Sprintf("as the same user: %v, after %d attempts", err, writes.Load())
	}
	writes.Store(0)
	was = "somebody else"
	_, err := c.Set(ctx, []byte("k"), nil, WriteOptions{})
	if codeOf(err) != wire.CodeMaybeApplied || writes.Load() != 1 {
		return fmt.Sprintf("as another user: got %v after %d attempts, want maybe-applied after one", err, writes.Load())
	}
	return ""
}
