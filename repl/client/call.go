package client

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"muster/repl/wire"
	"muster/shardmap"
)

// call is one request on its way. It is in one place at a time: in a link's
// table of pending, in the core, or in the hands of the goroutine that moves it
// from one to the other. Whoever takes it out of its place ends it or puts it
// into the next, so that it ends once.
type call struct {
	Call

	kind wire.Type
	body []byte        // Invariant: the same for all attempts
	done chan struct{} // one token when it has ended, if ended is nil
	// ended, if not nil, is called instead, by the goroutine that ended the
	// call: it must not wait for anything that goroutine does.
	ended func(*call)
	// direct calls are sent on one connection and never seen by the core.
	direct bool
	// patient is until when its node may take to answer, before another is
	// asked; 0: as long as the call may. Set when it is sent.
	patient time.Duration
	// waits says that its node answers once something has happened: no other is
	// asked meanwhile.
	waits bool

	// at is the last link that it was sent on, id its number there.
	at        atomic.Pointer[link]
	id        atomic.Uint64
	cancelled atomic.Bool

	// The end: written by who ends it.
	err     error
	written wire.WriteAnswer
	answer  []byte // body of any other answer

	// stream is set if many answers may come, until the last.
	stream *streamCall

	// Of a write, for its caller.
	session *session
	as      string // whom the connection spoke for that it was put on last
	lane    *lane
	seq     uint64
	items   [2][]byte
}

// bodyKept is the largest buffer that stays with a call in the pool.
const bodyKept = 64 << 10

var calls = sync.Pool{New: func() any { return &call{done: make(chan struct{}, 1)} }}

func newCall(kind wire.Type) *call {
	c := calls.Get().(*call)
	c.kind = kind
	c.Call = Call{Owner: c, place: -1, onPeer: NoPeer}
	return c
}

// release gives c back. Nothing may hold it any more.
func (c *call) release() {
	if cap(c.body) > bodyKept {
		c.body = nil
	}
	if cap(c.answer) > bodyKept {
		c.answer = nil
	}
	c.body, c.answer = c.body[:0], c.answer[:0]
	c.ended, c.direct, c.waits, c.patient, c.err, c.session, c.lane, c.seq = nil, false, false, 0, nil, nil, nil, 0
	c.items = [2][]byte{}
	c.written = wire.WriteAnswer{}
	c.at.Store(nil)
	c.cancelled.Store(false)
	calls.Put(c)
}

// reset lets c be started again.
func (c *call) reset() {
	c.Call = Call{Owner: c, place: -1, onPeer: NoPeer}
	c.err, c.session, c.lane = nil, nil, nil
}

// flags returns those of its frame.
func (c *call) flags() uint16 {
	if c.Forward && (c.kind.Forwards() || c.kind == wire.TypeScan || c.kind == wire.TypeBackup || c.kind == wire.TypeSlotView) {
		return wire.FlagForward
	}
	return 0
}

// end ends c. The answer stands in it.
func (c *call) end(err error) {
	c.err = err
	if c.session != nil {
		c.lane.end(c.session, c.seq)
	}
	if c.ended != nil {
		c.ended(c)
		return
	}
	c.done <- struct{}{}
}

// start sends c on its way. The usual way does not touch the core. It waits
// while the connection's buffer is full, and for nothing else.
func (c *courier) start(x *call, done <-chan struct{}) { c.startAt(c.now(), x, done) }

// startAt is start for who has looked at the clock already.
func (c *courier) startAt(now time.Duration, x *call, done <-chan struct{}) {
	if l := c.linkFor(x); l != nil {
		if l.bond.pressure.holds(&x.Call, now) {
			c.hand(x, func(now time.Duration) { c.core.Crowded(now, &x.Call) })
			return
		}
		l.awaitSpace(done)
		switch l.send(x, now) {
		case sentOut:
			return
		case sentCancelled:
			c.event(func(now time.Duration) { c.core.ExpireUnsent(now, &x.Call) })
			return
		}
	}
	c.hand(x, func(now time.Duration) { c.core.Submit(now, &x.Call) })
}

// hand hands x to the core with an event, unless it was cancelled meanwhile.
func (c *courier) hand(x *call, f func(now time.Duration)) {
	c.event(func(now time.Duration) {
		if x.cancelled.Load() {
			c.core.ExpireUnsent(now, &x.Call)
			return
		}
		f(now)
	})
}

// expire ends x, which was taken off its connection without an answer.
func (c *courier) expire(x *call) {
	if x.direct {
		x.end(errSilent)
		return
	}
	c.event(func(now time.Duration) { c.core.Expire(now, &x.Call) })
}

// linkFor returns the connection that a call to a slot or to one peer uses while
// nothing is wrong; nil if that is for the core to say.
func (c *courier) linkFor(x *call) *link {
	if x.Target == ToPeer {
		return c.linkTo(x.Peer, x.Slot)
	}
	x.Forward = c.options.Forward == ForwardAlways && x.Target == ToSlot
	r := c.routes.Load()
	if x.Target != ToSlot || x.ValueBytes > r.ValueMax {
		return nil
	}
	p := r.Peer[x.Slot]
	if x.AnyReplica {
		p = r.replica(x.Slot)
	}
	return c.linkTo(p, x.Slot)
}

// linkTo returns a connection to p: the first that is not busy, for few that
// carry much cost both sides less than many that carry little. Where all are
// busy the slots are spread over them.
func (c *courier) linkTo(p Peer, slot shardmap.Slot) *link {
	bonds := *c.bonds.Load()
	if p < 0 || int(p) >= len(bonds) || bonds[p] == nil {
		return nil
	}
	links := bonds[p].links
	for _, l := range links {
		if !l.busy() {
			return l
		}
	}
	return links[int(slot)%len(links)]
}

// do runs c to its end, or to ctx's.
func (c *courier) do(ctx context.Context, x *call) error {
	done := ctx.Done()
	c.start(x, done)
	if done == nil {
		<-x.done
		return x.err
	}
	select {
	case <-x.done:
	case <-done:
		c.cancel(x)
		<-x.done
	}
	return withCause(ctx, x.err)
}

// withCause adds why the caller's context ended, if it did, so that errors.Is
// finds it. The text is left as it is: it says already that there was no result
// in time. A call may end by its deadline a moment before the context's timer
// runs, which ends it for the same reason.
func withCause(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	cause := over(ctx)
	if at, ok := ctx.Deadline(); cause == nil && ok && !time.Now().Before(at) {
		cause = context.DeadlineExceeded
	}
	if cause == nil {
		return err
	}
	switch err.(type) {
	case *wire.Error, *ErrNoEndpoint:
		return &caused{err, cause}
	}
	return err
}

// cancel ends x wherever it is. If it is on its way from one place to the next,
// whoever carries it sees the mark: the mark is set before the places are
// searched, and a carrier notes the new place before it looks for the mark.
func (c *courier) cancel(x *call) {
	x.cancelled.Store(true)
	if l := x.at.Load(); l != nil && l.take(x) {
		c.expire(x)
		return
	}
	c.event(func(time.Duration) { c.core.Cancel(&x.Call) })
}

// deadlineOf returns when a call that begins now must have ended.
func (c *courier) deadlineOf(ctx context.Context) time.Duration {
	wait := RetryMax
	if at, ok := ctx.Deadline(); ok {
		wait = min(time.Until(at), RetryMax)
	}
	return c.look() + wait // read last: when the call's time is over, ctx's is too
}
