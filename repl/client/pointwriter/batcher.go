package pointwriter

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"muster/repl/client"
	"muster/shardmap/points/line"
)

// Options say where a [Batcher] writes, and how much it collects. Each field that is not given means what its comment says.
type Options struct {
	Database  string         // by name
	Policy    string         // by name; empty: the database's default
	Level     Level          // 0: [Quorum]
	Precision line.Precision // of the times in lines; 0: nanoseconds

	// BatchBytes is how many bytes of lines are written at once, as soon as there are so many: 4 KiB to [line.TextMax]. 0:
	// [BatchBytesDefault].
	BatchBytes int
	// BufferBytes bounds the lines that are collected or under way, in bytes, BatchBytes at least: [Batcher.Write] waits while
	// there are more. 0: four times BatchBytes.
	BufferBytes int
	// Interval is after how long lines are written that are fewer. 0: [IntervalDefault].
	Interval time.Duration
	// Patience is for how long a batch is tried again whose points fail. 0: [client.RetryMax].
	Patience time.Duration
	// Refused is told of each batch of which not all is stored, with the error if nothing of it is; it must not call the
	// batcher. Nil: [Batcher.Flush] and [Batcher.Close] alone tell of it.
	Refused func(r Result, err error)
	// Now returns the time, which lines without one get; nil: that of this host.
	Now func() time.Time
}

// The defaults of Options, and the least that a batch may have.
const (
	BatchBytesDefault = 1 << 20
	IntervalDefault   = time.Second
	batchBytesMin     = 4 << 10
	bufferBatches     = 4
)

// ErrClosed is what a batcher that was closed answers.
var ErrClosed = errors.New("the writer of points is closed")

// Batcher collects lines and writes them, many together, in the order in which they came, so that of points of one series and
// time the last one counts. Any number of goroutines use it.
type Batcher struct {
	// Set once.
	options Options
	gateway *Gateway
	cluster Cluster
	ended   chan struct{} // closed by run, when it has ended
	cancel  context.CancelFunc

	mu      sync.Mutex // guards what follows
	full    [][]byte   // batches that wait to be written, the oldest first
	filling []byte     // the batch that lines come to
	began   time.Time  // when its first line came
	bytes   int        // of all of these, and of the batch under way
	closed  bool
	stamp   int64
	added   uint64        // batches
	written uint64        // batches that have ended, whatever became of them
	failed  error         // the first batch that was not stored whole since the last Flush
	changed chan struct{} // closed and made anew by whoever changes something that others wait for
}

// Open returns a batcher that writes by a client, which must not be closed before it. An error names the option that is
// wrong. Whether the database is there shows when the first batch is written.
func Open(c *client.Client, o Options) (*Batcher, error) { return open(Of(c), o) }

func open(c Cluster, o Options) (*Batcher, error) {
	if err := o.check(c); err != nil {
		return nil, fmt.Errorf("open writer of points: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	b := &Batcher{options: o, gateway: NewGateway(0), cluster: c, ended: make(chan struct{}), cancel: cancel, changed: make(chan struct{})}
	go b.run(ctx)
	return b, nil
}

// check fills in what is not given.
func (o *Options) check(c Cluster) error {
	if o.BatchBytes == 0 {
		o.BatchBytes = BatchBytesDefault
	}
	if o.BufferBytes == 0 {
		o.BufferBytes = bufferBatches * o.BatchBytes
	}
	if o.Interval == 0 {
		o.Interval = IntervalDefault
	}
	if o.Patience == 0 {
		o.Patience = client.RetryMax
	}
	if o.Precision == 0 {
		o.Precision = line.Nanosecond
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	switch {
	case o.Database == "":
		return errors.New("field Database: empty; want the name of a database")
	case o.BatchBytes < batchBytesMin || o.BatchBytes > line.TextMax:
		return fmt.Errorf("field BatchBytes: %d; want %d to %d", o.BatchBytes, batchBytesMin, line.TextMax)
	case o.BufferBytes < o.BatchBytes:
		return fmt.Errorf("field BufferBytes: %d; want %d at least, which is a batch", o.BufferBytes, o.BatchBytes)
	case o.Interval < 0:
		return fmt.Errorf("field Interval: %s; want more than 0", o.Interval)
	case o.Patience < 0:
		return fmt.Errorf("field Patience: %s; want more than 0", o.Patience)
	}
	return c.Takes(o.Level)
}

// Write takes lines of line protocol, whole ones, at most BatchBytes of them at once; they are the caller's again when it
// returns. A line without a time gets that of now. It waits while too much is collected or under way, until ctx ends: then, as with any
// error, none of the lines was taken.
func (b *Batcher) Write(ctx context.Context, lines []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		now := max(b.options.Now().UnixNano(), b.stamp+1) // no two calls have one time
		from := len(b.filling)
		stamped := line.Stamp(b.filling, lines, b.options.Precision, now)
		n := len(stamped) - from
		switch {
		case b.closed:
			return ErrClosed
		case n > b.options.BatchBytes:
			return fmt.Errorf("write %d bytes of points: more than a batch of %d; write them in parts", n, b.options.BatchBytes)
		case n == 0:
			return nil
		case b.bytes+n <= b.options.BufferBytes:
			b.stamp = now
			b.take(stamped, from)
			return nil
		}
		if err := b.wait(ctx); err != nil {
			return fmt.Errorf("write %d bytes of points: %d wait already: %w", n, b.bytes, err)
		}
	}
}

// take takes lines to the batch that fills, which has them from a place on; or to the next one, if they are too much for it.
// The caller holds mu.
func (b *Batcher) take(stamped []byte, from int) {
	b.bytes += len(stamped) - from
	if from > 0 && len(stamped) > b.options.BatchBytes {
		rest := append([]byte(nil), stamped[from:]...)
		b.filling = stamped[:from]
		b.cut()
		b.filling, from = rest, 0
	} else {
		b.filling = stamped
	}
	if from == 0 {
		b.began = time.Now()
		b.wake()
	}
	if len(b.filling) >= b.options.BatchBytes {
		b.cut()
	}
}

// cut ends the batch that fills. The caller holds mu.
func (b *Batcher) cut() {
	if len(b.filling) == 0 {
		return
	}
	b.full, b.filling = append(b.full, b.filling), nil
	b.added++
	b.wake()
}

// wake tells all who wait that something has changed. The caller holds mu.
func (b *Batcher) wake() {
	close(b.changed)
	b.changed = make(chan struct{})
}

// wait waits for a change. The caller holds mu, which is free meanwhile.
func (b *Batcher) wait(ctx context.Context) error {
	changed := b.changed
	b.mu.Unlock()
	defer b.mu.Lock()
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Flush has all lines written that were taken before it, and returns when they have been. The error is about the first batch
// since the last Flush of which not all is stored, or that ctx has ended before.
func (b *Batcher) Flush(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cut()
	return b.flushed(ctx)
}

// flushed waits for all batches that there are. The caller holds mu.
func (b *Batcher) flushed(ctx context.Context) error {
	for last := b.added; b.written < last; {
		if err := b.wait(ctx); err != nil {
			return fmt.Errorf("flush points: %d bytes are not written yet: %w", b.bytes, err)
		}
	}
	err := b.failed
	b.failed = nil
	return err
}

// Close is Flush, after which nothing more is taken. If ctx ends before all is written, what is left is given up, as Refused is
// told. It returns when the batcher's goroutine has ended.
func (b *Batcher) Close(ctx context.Context) error {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		<-b.ended
		return nil
	}
	b.closed = true
	b.cut()
	b.wake()
	err := b.flushed(ctx)
	b.mu.Unlock()
	b.cancel()
	<-b.ended
	return err
}

// run writes batches, one after the other, until the batcher is closed and all have ended.
func (b *Batcher) run(ctx context.Context) {
	defer close(b.ended)
	for {
		text, ok := b.next()
		if !ok {
			return
		}
		r, err := b.write(ctx, text)
		if refused := b.options.Refused; refused != nil && (err != nil || !r.Whole()) {
			refused(r, err)
		}
		b.mu.Lock()
		b.written++
		b.bytes -= len(text)
		if err == nil && !r.Whole() {
			err = errors.New(r.String())
		}
		if err != nil && b.failed == nil {
			b.failed = fmt.Errorf("write points to %s: %w", b.options.Database, err)
		}
		b.wake()
		b.mu.Unlock()
	}
}

// next returns the next batch, once it is full or its time has come; false: there will be none.
func (b *Batcher) next() ([]byte, bool) {
	timer := time.NewTimer(b.options.Interval)
	defer timer.Stop()
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		if len(b.filling) > 0 && time.Since(b.began) >= b.options.Interval {
			b.cut()
		}
		if len(b.full) > 0 {
			text := b.full[0]
			b.full[0] = nil
			b.full = b.full[1:]
			return text, true
		}
		if b.closed {
			return nil, false
		}
		var due <-chan time.Time
		if len(b.filling) > 0 {
			timer.Reset(b.options.Interval - time.Since(b.began))
			due = timer.C
		}
		changed := b.changed
		b.mu.Unlock()
		select {
		case <-changed:
		case <-due:
		}
		b.mu.Lock()
	}
}

// write writes a batch until none of its points fail.
func (b *Batcher) write(ctx context.Context, text []byte) (Result, error) {
	ctx, cancel := context.WithTimeout(ctx, b.options.Patience)
	defer cancel()
	o := &b.options
	return b.gateway.WriteAgain(ctx, b.cluster, &Request{Database: o.Database, Policy: o.Policy, Level: o.Level, Precision: o.Precision, Now: o.Now().UnixNano(), Text: text})
}
