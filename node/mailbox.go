package node

import (
	"context"
	"sync"
	"time"
)

// mailbox brings calls to the one goroutine that owns what they change.
type mailbox struct {
	wake chan struct{} // one token: something has changed. From many, to the owner; never closed

	mu     sync.Mutex
	queued []func(now time.Duration) // guarded by mu: for the owner
}

func newMailbox() mailbox { return mailbox{wake: make(chan struct{}, 1)} }

// rouse wakes the owner.
func (b *mailbox) rouse() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// post has f called by the owner.
func (b *mailbox) post(f func(now time.Duration)) {
	b.mu.Lock()
	b.queued = append(b.queued, f)
	b.mu.Unlock()
	b.rouse()
}

// wait waits until the owner has something to do: it was woken, or its timer is due. It
// reports false if ctx ends, the node's, and then the owner ends too.
func (b *mailbox) wait(ctx context.Context, timer *time.Timer) bool {
	select {
	case <-ctx.Done():
		return false
	case <-b.wake:
	case <-timer.C:
	}
	return true
}

// ask has f called by the owner, and waits for its end. It reports false if ctx ends, the
// node's. Then f may be called later, or never: what it writes to is not to be read.
func (b *mailbox) ask(ctx context.Context, f func(now time.Duration)) bool {
	done := make(chan struct{})
	b.post(func(now time.Duration) {
		f(now)
		close(done)
	})
	select {
	case <-done:
		return true
	case <-ctx.Done():
		return false
	}
}

// countsOf has the owner of a mailbox count something. It reports false if ctx ends before that is
// known.
func countsOf[T any](ctx context.Context, b *mailbox, count func(now time.Duration) T) (n T, ok bool) {
	counted := make(chan T, 1) // read only once it is whole: the owner may count after ctx has ended
	if !b.ask(ctx, func(now time.Duration) { counted <- count(now) }) {
		return n, false
	}
	return <-counted, true
}

// take returns what was posted since it was called last, in order.
func (b *mailbox) take() []func(now time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	queued := b.queued
	b.queued = nil
	return queued
}
