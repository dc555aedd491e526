package node

import (
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

// take returns what was posted since it was called last, in order.
func (b *mailbox) take() []func(now time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	queued := b.queued
	b.queued = nil
	return queued
}
