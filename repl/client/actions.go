package client

import "time"

// ActionKind says what the owner of a core is to do.
type ActionKind uint8

const (
	// ActSend sends the call's bytes, the same each time, to Peer.
	ActSend ActionKind = iota + 1
	// ActFinish ends the call with Err; nil for a call to the table.
	ActFinish
	// ActDial connects to Peer at Addr; Connected or Disconnected follows,
	// Accepted may come before.
	ActDial
	// ActHangUp closes the connection to Peer; Disconnected does not follow.
	ActHangUp
	// ActAsk asks Peer for the table; Table or TableFailed follows.
	ActAsk
	// ActFollow opens a stream of the table at Peer: a [TableStream]. Its tables are for
	// Pushed, and Unfollowed is when it ends, both with Number.
	ActFollow
)

// Action is one thing to do.
type Action struct {
	Kind   ActionKind
	Peer   Peer
	Call   *Call
	Addr   string
	Number uint64 // of an ActFollow
	Err    error
}

// actions are what the owner is to do next, in order. All parts of a core add to
// one of them.
type actions struct{ list []Action }

func (a *actions) add(one Action) { a.list = append(a.list, one) }

func (a *actions) send(p Peer, c *Call) { a.add(Action{Kind: ActSend, Peer: p, Call: c}) }

// finish ends c. A write of which an attempt may have been applied can't end with
// an error that says that nothing was.
func (a *actions) finish(c *Call, err error) {
	if c.Maybe && err != nil && !settles(err) {
		err = maybeApplied(c, err)
	}
	a.add(Action{Kind: ActFinish, Call: c, Err: err})
}

// take returns the actions since it was last called.
func (a *actions) take() []Action {
	list := a.list
	a.list = nil
	return list
}

// chance is where a core draws from, so that the same events give the same
// actions (splitmix64).
type chance struct{ state uint64 }

// below returns a number below n.
func (r *chance) below(n time.Duration) time.Duration {
	r.state += 0x9e3779b97f4a7c15
	z := r.state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return time.Duration((z ^ z>>31) % uint64(n))
}

// pause returns how long c waits before it is tried again: twice as long each
// time, and between half and all of that, so that calls that were refused
// together do not come back together.
func (r *chance) pause(c *Call) time.Duration {
	d := PauseMin << min(c.pauses, 8)
	if d > PauseMax {
		d = PauseMax
	}
	c.pauses++
	c.hops, c.told = 0, 0
	return d/2 + r.below(d/2+1)
}
