package client

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"time"

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
// It belongs to one goroutine, which calls Set, and Wait at last and whenever it
// likes.
//
// A write whose session the servers no longer know is tried once more, under a
// new session, as [Client.Set] does it: that it was refused as stale, and not as
// maybe-applied, says that no attempt before can have been applied. The second
// try is made by the goroutine that owns the Bulk, in its next Set or Wait, for
// the one that the refusal came to must not wait.
type Bulk struct {
	client *Client
	before []byte // the prefix of its namespace
	ctx    context.Context
	max    int
	within time.Duration // of the owner
	whole  []byte        // of the owner: the key of the write that is begun, with the prefix
	done   func(tag uint64, w Written, err error)
	// room holds a token when something has ended since it was last taken.
	room chan struct{}

	mu    sync.Mutex // no other lock is taken under it
	bytes int
	calls map[*bulkCall]struct{}
	stale []*bulkCall // to be tried again
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
	// again is set once the write is tried under another session.
	again bool
	// key is set if the write is a transaction: whose condition did not hold, where it changed nothing.
	key []byte
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
		client: c, ctx: ctx, max: bytesMax, within: RetryMax, done: done,
		room: make(chan struct{}, 1), calls: make(map[*bulkCall]struct{}),
	}
}

// Within bounds how long each write may take from now on, its retries included;
// [RetryMax] at most, and where it is not called.
func (b *Bulk) Within(d time.Duration) { b.within = min(d, RetryMax) }

// Set sets key to value some time later; what became of it done is told, with
// tag. Key and value are the caller's again when Set returns. It waits while
// too much is under way.
func (b *Bulk) Set(key, value []byte, tag uint64) { b.SetWith(key, value, WriteOptions{}, tag) }

// SetWith is Set with a condition, or a time after which the key ends, as [Client.Set] takes them.
func (b *Bulk) SetWith(key, value []byte, o WriteOptions, tag uint64) {
	key = prefixed(&b.whole, b.before, key)
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
	cmd, err := y.command(key, value, &o)
	if err == nil {
		err = b.client.startWrite(b.ctx, x, &cmd, b.within)
	}
	if err != nil {
		x.end(err)
	}
}

// command returns what sets key as o says: a transaction, if nothing less can.
func (y *bulkCall) command(key, value []byte, o *WriteOptions) (shardmap.Command, error) {
	if err := o.check(); err != nil {
		return shardmap.Command{}, badRequest("set", err)
	}
	if !o.plain() {
		y.key = bytes.Clone(key)
		t := o.txn(key, value)
		return t.command()
	}
	y.call.items[0], y.call.items[1] = key, value
	cmd := shardmap.Command{Kind: shardmap.CommandSet, Slot: shardmap.SlotOf(key), Items: y.call.items[:]}
	cmd.Condition, cmd.Version = o.condition()
	return cmd, nil
}

// outcome returns what became of the write.
func (y *bulkCall) outcome(x *call) (Written, error) {
	if x.err != nil || y.key == nil {
		return Written{Group: x.written.Group, ID: x.written.ID, Version: x.written.Version}, x.err
	}
	r, err := readTxn(x.answer)
	if err == nil && !r.Succeeded {
		err = wire.Conflict(keyObject(y.key), "the condition does not hold")
	}
	return r.Written, err
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
	stale := b.stale
	b.stale = nil
	b.mu.Unlock()
	for _, y := range stale {
		y.ended(y.call) // nobody has it, and it is not tried again
	}
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
		over := b.ctx.Err() != nil
		var stale []*bulkCall
		if !over {
			stale, b.stale = b.stale, nil
		}
		b.mu.Unlock()
		if yes {
			b.resend(stale)
			return !over
		}
		if len(stale) > 0 {
			b.resend(stale)
			continue
		}
		select {
		case <-b.room:
		case <-b.ctx.Done():
			return false
		}
	}
}

func (b *Bulk) stopped(key []byte) error {
	return withCause(b.ctx, unavailable("key "+shardmap.ShowKey(key), errors.New("not sent")))
}

func (b *Bulk) report(tag uint64, w Written, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.done(tag, w, err)
}

// resend sends the same commands again, under new sessions.
func (b *Bulk) resend(stale []*bulkCall) {
	for _, y := range stale {
		x := y.call
		body := x.body
		x.reset()
		x.body = nil // cmd aliases body
		var cmd shardmap.Command
		command, err := wire.CheckWrite(body)
		if err == nil {
			err = shardmap.ReadCommand(command, &cmd)
		}
		if err == nil {
			err = b.client.startWrite(b.ctx, x, &cmd, b.within)
		}
		if err != nil {
			x.end(err)
		}
	}
}

// ended is called when the write has ended, by who ended it.
func (y *bulkCall) ended(x *call) {
	b := y.bulk
	w, err := y.outcome(x)
	stale := x.session != nil && isCode(err, wire.CodeStaleSession)
	if stale {
		x.lane.renew(x.session, randomID())
	}
	b.mu.Lock()
	if stale && !y.again && !b.over {
		y.again = true
		b.stale = append(b.stale, y)
		b.mu.Unlock()
		b.wake()
		return
	}
	b.done(y.tag, w, err)
	b.bytes -= y.size
	delete(b.calls, y)
	if !b.over {
		x.release()
	}
	b.mu.Unlock()
	b.wake()
}

func (b *Bulk) wake() {
	select {
	case b.room <- struct{}{}:
	default:
	}
}
