package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"muster/repl/wire"
	"muster/shardmap"
)

// PipeMax is how many requests a [Pipe] may have under way.
const PipeMax = 65536

// Pipe lets one goroutine have many requests under way, without a goroutine or a
// wake-up for each: what was answered meanwhile is told of in one go. All its
// methods but Wake, and with them done, run on the goroutine that owns it.
//
// It allocates nothing for a request, once as many were under way as it may
// have. A [Bulk] bounds bytes and is for any number of large pairs; a Pipe counts
// requests, and is for many small ones.
type Pipe struct {
	client   *Client
	before   []byte // the prefix of its namespace
	ctx      context.Context
	deadline time.Duration // of ctx, in the client's time; 0 if it has none
	max      int
	done     func(*Outcome)

	// Of the owner.
	all     []*piped // Invariant: len(all) <= max
	free    []*piped
	got     []*piped // what is being told of
	outcome Outcome
	timer   *time.Timer
	whole   []byte // the key of the request that is begun, with the prefix

	// arrived holds a token when something has ended since it was taken.
	arrived chan struct{}

	mu    sync.Mutex // no other lock is taken under it
	ended []*piped
}

// piped is one request of a Pipe, used again and again.
type piped struct {
	call
	pipe *Pipe
	tag  uint64
	// Of the owner.
	open  bool
	again bool // the write is tried under another session already
}

// Outcome is what became of one request of a [Pipe]. It is valid until done
// returns.
type Outcome struct {
	Tag uint64
	Err error
	// At is when the pipe's goroutine took note of it.
	At time.Time

	Written Written // of a set
	// Of a get. Value is the pipe's.
	Found   bool
	Value   []byte
	Version uint64
}

// Pipe returns a Pipe that ends with ctx and has at most inFlight requests under
// way, 1 to [PipeMax]; a number outside is taken for the nearest inside. done is
// called once for each request, in any order, by the methods of the Pipe, and
// must not call them.
func (c *Client) Pipe(ctx context.Context, inFlight int, done func(*Outcome)) *Pipe {
	p := &Pipe{
		client: c, ctx: ctx, max: min(max(inFlight, 1), PipeMax), done: done,
		arrived: make(chan struct{}, 1), timer: time.NewTimer(0),
	}
	if _, ok := ctx.Deadline(); ok {
		p.deadline = c.deadlineOf(ctx)
	}
	return p
}

// Open is how many requests are under way, or have ended and were not told of.
func (p *Pipe) Open() int { return len(p.all) - len(p.free) }

// Full reports whether the next request would have to wait.
func (p *Pipe) Full() bool { return p.Open() >= p.max }

// Reserve waits until the next request does not have to, or the context ends.
func (p *Pipe) Reserve() {
	for p.Full() && p.ctx.Err() == nil {
		if p.tell() {
			continue
		}
		select {
		case <-p.arrived:
		case <-p.ctx.Done():
		}
	}
}

// Set sets key to value some time later. Key and value are the caller's again
// when it returns. It waits while as much as may be is under way.
func (p *Pipe) Set(key, value []byte, tag uint64) {
	key = prefixed(&p.whole, p.before, key)
	y := p.take(key, tag)
	if y == nil {
		return
	}
	x := &y.call
	x.kind = wire.TypeWrite
	x.items[0], x.items[1] = key, value
	cmd := shardmap.Command{Kind: shardmap.CommandSet, Slot: shardmap.SlotOf(key), Items: x.items[:]}
	p.write(y, &cmd)
}

// Get reads key some time later, and waits like [Pipe.Set].
func (p *Pipe) Get(key []byte, tag uint64, o ReadOptions) {
	key = prefixed(&p.whole, p.before, key)
	y := p.take(key, tag)
	if y == nil {
		return
	}
	x := &y.call
	x.items[0] = key
	err := p.client.composeGet(x, shardmap.SlotOf(key), x.items[:1], o)
	x.items[0] = nil
	if err != nil {
		x.end(err)
		return
	}
	p.start(x)
}

func (p *Pipe) write(y *piped, cmd *shardmap.Command) {
	x := &y.call
	err := p.client.admit(cmd)
	if err == nil {
		err = withCause(p.ctx, p.client.beginWrite(x, cmd, p.ctx.Done()))
	}
	x.items = [2][]byte{}
	if err != nil {
		x.end(err)
		return
	}
	p.start(x)
}

func (p *Pipe) start(x *call) {
	now := p.client.look()
	x.Deadline = now + RetryMax
	if p.deadline > 0 {
		x.Deadline = min(x.Deadline, p.deadline)
	}
	p.client.startAt(now, x, p.ctx.Done())
}

// take returns a request that is not in use, nil if the context ended before
// there was one.
func (p *Pipe) take(key []byte, tag uint64) *piped {
	p.Reserve()
	if p.ctx.Err() != nil {
		p.outcome = Outcome{Tag: tag, Err: p.notSent(key), At: time.Now()}
		p.done(&p.outcome)
		return nil
	}
	var y *piped
	if n := len(p.free); n > 0 {
		y = p.free[n-1]
		p.free = p.free[:n-1]
	} else {
		y = &piped{pipe: p}
		y.ended = y.hasEnded
		p.all = append(p.all, y)
	}
	y.begin(tag)
	return y
}

func (p *Pipe) notSent(key []byte) error {
	return withCause(p.ctx, unavailable("key "+shardmap.ShowKey(key), errors.New("not sent")))
}

func (y *piped) begin(tag uint64) {
	y.tag, y.open, y.again = tag, true, false
	y.call.reset()
}

// hasEnded is called when the request has ended, by who ended it.
func (y *piped) hasEnded(*call) {
	p := y.pipe
	p.mu.Lock()
	p.ended = append(p.ended, y)
	first := len(p.ended) == 1
	p.mu.Unlock()
	if first {
		p.Wake()
	}
}

// Wake ends an [Pipe.Await] that waits, or the next that would. Any goroutine may
// call it.
func (p *Pipe) Wake() {
	select {
	case p.arrived <- struct{}{}:
	default:
	}
}

// Poll tells of what has ended, and does not wait.
func (p *Pipe) Poll() { p.tell() }

// Await tells of what has ended; where that is nothing it waits for the next,
// for d at most, or until the context ends.
func (p *Pipe) Await(d time.Duration) {
	if p.tell() || d <= 0 {
		return
	}
	p.timer.Reset(d)
	select {
	case <-p.arrived:
	case <-p.timer.C:
	case <-p.ctx.Done():
	}
	p.timer.Stop()
	p.tell()
}

// Wait returns when all has ended and was told of. If the context ends, so does
// what is under way.
func (p *Pipe) Wait() {
	for p.Open() > 0 && p.ctx.Err() == nil {
		if p.tell() {
			continue
		}
		select {
		case <-p.arrived:
		case <-p.ctx.Done():
		}
	}
	p.tell()
	for _, y := range p.all {
		if y.open {
			p.client.cancel(&y.call)
		}
	}
	for p.Open() > 0 {
		if !p.tell() {
			<-p.arrived
		}
	}
}

// tell tells of what has ended; false if that is nothing.
func (p *Pipe) tell() bool {
	p.mu.Lock()
	p.got, p.ended = p.ended, p.got[:0]
	p.mu.Unlock()
	if len(p.got) == 0 {
		return false
	}
	p.outcome.At = time.Now()
	for i, y := range p.got {
		p.got[i] = nil
		if !p.retry(y) {
			p.tellOf(y)
		}
	}
	return true
}

func (p *Pipe) tellOf(y *piped) {
	x := &y.call
	o := &p.outcome
	*o = Outcome{Tag: y.tag, Err: x.err, At: o.At}
	switch {
	case x.err != nil:
		o.Err = withCause(p.ctx, x.err)
	case x.Write:
		o.Written = Written{Group: x.written.Group, ID: x.written.ID, Version: x.written.Version}
	default:
		var a wire.GetAnswer
		if err := a.Read(x.answer); err != nil {
			o.Err = fmt.Errorf("answer to %s: %w", x.kind, err)
		} else {
			o.Version, o.Value, o.Found, _ = a.Next()
		}
	}
	p.done(o)
	if cap(x.body) > bodyKept {
		x.body = nil
	}
	if cap(x.answer) > bodyKept {
		x.answer = nil
	}
	y.open = false
	p.free = append(p.free, y)
}

// retry tries a write once more whose session the servers no longer know, as
// [Client.Set] does; false if it is not for that.
func (p *Pipe) retry(y *piped) bool {
	x := &y.call
	if x.err == nil || x.session == nil || !isCode(x.err, wire.CodeStaleSession) {
		return false
	}
	x.lane.renew(x.session, randomID())
	if y.again || p.ctx.Err() != nil {
		return false
	}
	y.again = true
	body := x.body
	x.reset()
	x.body = nil // the command aliases it
	var cmd shardmap.Command
	command, err := wire.CheckWrite(body)
	if err == nil {
		err = shardmap.ReadCommand(command, &cmd)
	}
	if err != nil {
		x.end(err)
		return true
	}
	p.write(y, &cmd)
	return true
}
