package client

import (
	"context"
	"errors"
	"sync"

	"muster/repl/wire"
	"muster/shardmap"
)

// BulkBytesDefault is how many bytes of keys and values a [Bulk] has under way
// where nothing else is said: enough to keep the disks of a cluster busy, little
// enough for any machine.
const BulkBytesDefault = 8 << 20

// bulkWritesMax is how many writes a [Bulk] has under way; small ones would
// otherwise be a hundred thousand.
const bulkWritesMax = 4096

// bulkCost is what a write counts beyond its key and value.
const bulkCost = 256

// Bulk sets any number of keys, many at a time, each by a command of its own.
// It belongs to one goroutine, which calls Set and at last Wait.
type Bulk struct {
	client *Client
	ctx    context.Context
	max    int
	done   func(tag uint64, w Written, err error)
	// room holds a token when something has ended since it was last taken.
	room chan struct{}

	mu    sync.Mutex // no other lock is taken under it
	bytes int
	calls map[*bulkCall]struct{}
	// over is set once Wait cancels what is left. A call that it may still
	// hold is not used again then.
	over bool
}

// bulkCall is one write of a Bulk.
type bulkCall struct {
	bulk *Bulk
	call *call
	tag  uint64
	size int
}

// Bulk returns a Bulk that ends with ctx and has at most bytesMax bytes under
// way; 0 is [BulkBytesDefault], and a single larger pair goes alone. done is
// called once for each Set, in any order, one at a time, from a goroutine that
// all answers wait for: it must be quick and must not call the client.
func (c *Client) Bulk(ctx context.Context, bytesMax int, done func(tag uint64, w Written, err error)) *Bulk {
	if bytesMax <= 0 {
		bytesMax = BulkBytesDefault
	}
	return &Bulk{
		client: c, ctx: ctx, max: bytesMax, done: done,
		room: make(chan struct{}, 1), calls: make(map[*bulkCall]struct{}),
	}
}

// Set sets key to value some time later; what became of it done is told, with
// tag. Key and value are the caller's again when Set returns. It waits while
// too much is under way.
func (b *Bulk) Set(key, value []byte, tag uint64) {
	size := len(key) + len(value) + bulkCost
	if !b.await(func() bool { return b.bytes+size <= b.max && len(b.calls) < bulkWritesMax || len(b.calls) == 0 }) {
		b.report(tag, Written{}, b.stopped(key))
		return
	}
	x := newCall(wire.TypeWrite)
	y := &bulkCall{bulk: b, call: x, tag: tag, size: size}
	x.ended = y.ended
	b.mu.Lock()
	b.bytes += size
	b.calls[y] = struct{}{}
	b.mu.Unlock()
	cmd := shardmap.Command{Kind: shardmap.CommandSet, Slot: shardmap.SlotOf(key)}
	x.items[0], x.items[1] = key, value
	cmd.Items = x.items[:]
	if err := b.client.startWrite(b.ctx, x, &cmd); err != nil {
		x.end(err)
	}
}

// Wait returns when all that was set has ended.
func (b *Bulk) Wait() {
	if b.await(func() bool { return len(b.calls) == 0 }) {
		return
	}
	// The context is over: what is still under way ends now.
	b.mu.Lock()
	b.over = true
	var left []*call
	for y := range b.calls {
		left = append(left, y.call)
	}
	b.mu.Unlock()
	for _, x := range left {
		b.client.cancel(x)
	}
	for {
		b.mu.Lock()
		n := len(b.calls)
		b.mu.Unlock()
		if n == 0 {
			return
		}
		<-b.room
	}
}

// await waits until ok, asked under the lock, says yes; false if the context
// ended before.
func (b *Bulk) await(ok func() bool) bool {
	for {
		b.mu.Lock()
		yes := ok()
		b.mu.Unlock()
		if yes {
			return b.ctx.Err() == nil
		}
		select {
		case <-b.room:
		case <-b.ctx.Done():
			return false
		}
	}
}

func (b *Bulk) stopped(key []byte) error {
	return withCause(unavailable("key "+show(key), errors.New("not sent")), context.Cause(b.ctx))
}

func (b *Bulk) report(tag uint64, w Written, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.done(tag, w, err)
}

// ended is called when the write has ended, by who ended it.
func (y *bulkCall) ended(x *call) {
	b := y.bulk
	w := Written{Group: x.written.Group, ID: x.written.ID, Version: x.written.Version}
	err := x.err
	b.mu.Lock()
	b.done(y.tag, w, err)
	b.bytes -= y.size
	delete(b.calls, y)
	if !b.over {
		x.release()
	}
	b.mu.Unlock()
	select {
	case b.room <- struct{}{}:
	default:
	}
}
