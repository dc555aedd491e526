package client

import (
	"fmt"
	"time"

	"muster/repl/wire"
)

// streamCore is the synchronous core of a stream of some kind: [Stream] is that of a
// listing. It finds no node and sends nothing; the duties of its owner are those of
// [Stream]. Any goroutine may call its methods.
type streamCore interface {
	// Begin begins an attempt: it appends the body of the request that opens it. The
	// attempt's number tells its pieces from those of others.
	Begin(b []byte) (body []byte, attempt uint64)
	// Piece takes the body of a piece of an attempt, and keeps none of it. One of an
	// attempt that is over is ignored.
	Piece(attempt uint64, body []byte)
	// Ended takes the last frame of an attempt. It returns why another one is to be
	// made, or nil if the stream is over.
	Ended(attempt uint64, e *wire.StreamEnd) *wire.Error
	// Grant returns the window to grant to the node of an attempt, if one is due.
	Grant() (g wire.StreamGrant, attempt uint64, due bool)
	// Brought reports whether this attempt has brought something.
	Brought() bool
	// Complete reports whether nothing more is to come of any attempt.
	Complete() bool
	// Finish says that there will be no further attempt; err says why, where more was
	// to come.
	Finish(err error)
}

// streamCall is what a call has that opens a stream. Unlike others it is not used
// again: its pieces are handed on by a reader that has not taken it off its link.
type streamCall struct {
	core streamCore
	// tell is called, by a reader, after each piece that the core was given. It must
	// not wait.
	tell func()
	// attempt is that of the stream, guarded by the mutex of the link that the call
	// waits on.
	attempt uint64
	// standing says that the stream lasts as long as its connection, and that nobody
	// waits for its pieces: it does not make a connection busy, nor its silence suspect.
	standing bool
}

// stands is for how many it counts among those that nobody waits for.
func (s *streamCall) stands() int {
	if s.standing {
		return 1
	}
	return 0
}

// newStreamCall returns a call that opens the stream of a core.
func newStreamCall(kind wire.Type, core streamCore, tell func()) *call {
	x := &call{kind: kind, stream: &streamCall{core: core, tell: tell}}
	x.Call = Call{Owner: x, place: -1, onPeer: NoPeer}
	return x
}

// waker returns a function that puts a token into came, which has room for one.
func waker(came chan<- struct{}) func() {
	return func() {
		select {
		case came <- struct{}{}:
		default:
		}
	}
}

// grant sends the grant that is due.
func (c *call) grant() {
	g, attempt, due := c.stream.core.Grant()
	if !due {
		return
	}
	l := c.at.Load()
	if l == nil {
		return // not sent yet: the request will say it
	}
	l.mu.Lock()
	id := c.id.Load()
	// Where another attempt is under way by now, its request has said it.
	wake := l.up && l.pending.get(id) == c && c.stream.attempt == attempt
	if wake {
		l.out = wire.AppendFrame(l.out, wire.TypeStreamGrant, id, &g)
		wake = l.filled()
	}
	l.mu.Unlock()
	if wake {
		l.wake <- struct{}{}
	}
}

// forget takes c off the link, and has its node forget it too if it is a stream. It
// returns whether write has to be woken. Held: l.mu.
func (l *link) forget(c *call, id uint64) (wake bool) {
	l.pending.take(id)
	if c.stream == nil || !l.up {
		return false
	}
	l.pending.stands -= c.stream.stands()
	l.out = wire.AppendFrame(l.out, wire.TypeStreamCancel, id, &wire.Empty{})
	return l.filled()
}

// streamed takes a frame of a stream's attempt. All but the last leave x on its link.
func (c *courier) streamed(x *call, from Peer, attempt uint64, h wire.Header, body []byte) {
	s := x.stream
	switch {
	case h.Flags&wire.FlagMore != 0 && h.Type.Question() == x.kind:
		s.core.Piece(attempt, body)
		s.tell()
	case h.Flags&wire.FlagMore != 0:
		s.core.Finish(fmt.Errorf("node answered %s with %s", x.kind, h.Type))
		c.cancel(x)
	case h.Type == wire.TypeError:
		c.refused(x, from, body)
	case h.Type != wire.TypeStreamEnd:
		x.end(fmt.Errorf("node answered %s with %s", x.kind, h.Type))
	default:
		e := new(wire.StreamEnd)
		if err := e.Read(body); err != nil {
			x.end(fmt.Errorf("end of %s: %w", x.kind, err))
			return
		}
		switch why := s.core.Ended(attempt, e); {
		case why == nil:
			x.end(nil)
		case x.direct:
			x.end(why)
		default:
			c.refusedBy(x, from, why)
		}
	}
}

// goesOn sees to it that a stream whose attempt failed is tried anew as a call that
// has not failed yet, if the attempt brought something. It reports false if there is
// nothing more to come. Held: c.mu.
func (c *courier) goesOn(now time.Duration, x *call) bool {
	if x.stream == nil {
		return true
	}
	if x.stream.core.Brought() {
		x.Call.Progressed(now)
	}
	return !x.stream.core.Complete()
}

// whyEnded is why a node ended a stream that was to bring more.
func whyEnded(e *wire.StreamEnd) *wire.Error {
	if e.Why.Code == 0 {
		return wire.Unavailable("stream", "the node ended it: "+e.Reason.String())
	}
	return &e.Why
}
