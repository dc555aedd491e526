package client

import (
	"fmt"
	"time"

	"muster/repl/wire"
)

// streamCall is what a call has that opens a stream. Unlike others it is not used
// again: its pieces are handed on by a reader that has not taken it off its link.
type streamCall struct {
	core *Stream
	came chan<- struct{} // told of pieces and of the end
	// attempt is that of the stream, guarded by the mutex of the link that the call
	// waits on.
	attempt uint64
}

// newStreamCall returns a call that opens s.
func newStreamCall(kind wire.Type, s *Stream, came chan<- struct{}) *call {
	x := &call{kind: kind, stream: &streamCall{core: s, came: came}}
	x.Call = Call{Owner: x, place: -1, onPeer: NoPeer}
	return x
}

// tell wakes whoever waits for the stream.
func (s *streamCall) tell() {
	select {
	case s.came <- struct{}{}:
	default:
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
		if e.Reason == wire.EndDone {
			x.end(nil)
			return
		}
		if e.Why.Code == 0 {
			e.Why = *wire.Unavailable("stream", "the node ended it: "+e.Reason.String())
		}
		c.refusedBy(x, from, &e.Why)
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
