package client

import (
	"errors"
	"strings"
	"time"

	"muster/repl/wire"
)

// Any one good endpoint must do. An endpoint is no good if nothing listens
// there, if it refuses the hello, if it says nothing, or if it answers that it
// belongs to no cluster; none of that says anything about the next one. So the
// core goes on to the others until it has a table, or an answer to a question
// that any node can answer, and gives up only when all of them have had their
// say.

// hopeless ends c if nobody can do what it wants: the one node that it is for,
// or, while there is no table yet, any of the endpoints.
func (k *Core) hopeless(now time.Duration, c *Call) bool {
	c.waited = c.waited || now >= c.begun+k.config.Patience
	if c.Target == ToPeer {
		x := k.peers[k.resolve(c.Peer)]
		if x.state == peerDown && (x.refused && k.current(now, x, c) || !x.refused && c.waited) {
			k.finish(c, k.unreachable(x, c))
			return true
		}
		return false
	}
	if k.known {
		return false // the nodes in the table can be asked too
	}
	for i := range k.endpoints() {
		if !k.settled(now, k.endpoint(i), c) {
			return false
		}
	}
	k.finish(c, k.noEndpoint(c))
	return true
}

// settled reports whether an endpoint has had its say, and is of no use to c.
func (k *Core) settled(now time.Duration, x *peer, c *Call) bool {
	switch {
	case x.state == peerUp:
		return x.saidAt >= c.begun && lasts(x.said, c)
	case x.refused:
		return k.current(now, x, c)
	case x.accepted, x.met:
		// It may be a node that was stopped for a while: that is for c's time
		// to say.
		return false
	}
	return c.waited
}

// current reports whether the refusal of x counts for c. A client that lives on
// asks again in the end: its operator may have seen to it.
func (k *Core) current(now time.Duration, x *peer, c *Call) bool {
	return x.saidAt >= c.begun || x.resting(now)
}

// endpoints returns how many there are. The first peers are the endpoints, in
// their order.
func (k *Core) endpoints() int { return min(len(k.config.Endpoints), len(k.peers)) }

func (k *Core) endpoint(i int) *peer { return k.peers[k.resolve(Peer(i))] }

// lasts reports whether what a node said to c, or to a question after the table
// for it, will be the same if it is asked again: it refuses us, or it belongs
// to no cluster and does not say when to come back. A cluster may be about to be
// founded, so that a write or a read waits for that; a question how things are
// has its answer.
func lasts(said error, c *Call) bool {
	var e *wire.Error
	if said == nil || !errors.As(said, &e) {
		return false
	}
	question := c.Target >= ToPeer && c.Target != ToTable && !c.Write
	return e.Retry() == wire.RetryNever || e.Code == wire.CodeNotReady && e.RetryAfterMs == 0 && question
}

// hopeful reports whether a peer is connected that may yet be of use.
func (k *Core) hopeful() bool {
	for _, x := range k.peers {
		if x.state == peerUp && x.same == NoPeer && x.said == nil {
			return true
		}
	}
	return false
}

// dialOther dials one more peer if none that is connected is of use. It need not
// wait for those.
func (k *Core) dialOther(now time.Duration) {
	if !k.hopeful() {
		k.dialAfter = min(k.dialAfter, now)
		k.dialOne(now)
	}
}

// aboutRequest reports whether a refusal is of the request, so that no other node
// would take it either.
func aboutRequest(e *wire.Error) bool {
	switch e.Code {
	case wire.CodeUnauthorized, wire.CodeWrongCluster, wire.CodeWrongVersion, wire.CodeUnknownNode:
		return false
	}
	return e.Retry() == wire.RetryNever
}

// refusedByOne handles the refusal of one of the nodes that may answer c. The
// others are asked, also those that are not connected yet.
func (k *Core) refusedByOne(now time.Duration, c *Call, from Peer, e *wire.Error) {
	if aboutRequest(e) {
		k.finish(c, e)
		return
	}
	k.peers[from].said, k.peers[from].saidAt = e, now
	k.askOthers(now, c)
}

// Unanswered says that from has had c for long, and has not answered it, though
// its connection lives. Another node may be quicker.
func (k *Core) Unanswered(now time.Duration, c *Call, from Peer) {
	k.adopt(now, c)
	x := k.peers[k.resolve(from)]
	x.said, x.saidAt = errUnanswered, now
	c.turn++
	c.cause = errUnanswered
	k.askOthers(now, c)
}

var errUnanswered = errors.New("it is connected, but does not answer")

// askOthers has c tried again, by another peer if there is one.
func (k *Core) askOthers(now time.Duration, c *Call) {
	if k.hopeless(now, c) {
		return
	}
	k.dialOther(now)
	wait := k.pause(c)
	if e := refusalOf(c.cause); e != nil && !k.hopeful() {
		wait = max(wait, min(time.Duration(e.RetryAfterMs)*time.Millisecond, RedialMax))
	}
	k.park(c, onTable, now+wait) // or until another peer is up
}

// noEndpoint says what was found at each endpoint, of which none was of use
// to c.
func (k *Core) noEndpoint(c *Call) error {
	if k.endpoints() == 1 {
		return k.unreachable(k.endpoint(0), c)
	}
	var causes []error
	var worst *wire.Error
	answered := false
	for i := range k.endpoints() {
		x := k.endpoint(i)
		cause := k.found(x)
		causes = append(causes, cause)
		answered = answered || x.accepted || x.refused || x.met
		// What will be the same next time says more than what may not.
		if e := refusalOf(cause); e != nil && (worst == nil || worst.Retry() != wire.RetryNever && e.Retry() == wire.RetryNever) {
			worst = e
		}
	}
	if !answered {
		return &ErrNoEndpoint{Endpoints: k.config.Endpoints, Causes: causes}
	}
	e := &wire.Error{Code: wire.CodeUnavailable, Object: "endpoints", Text: "none of them can be used", Next: "see to one of them, or name others with --endpoints"}
	if c.Write {
		e.Text += ", nothing was applied"
	}
	if worst != nil {
		e.Code = worst.Code
	}
	var all []string
	for i, cause := range causes {
		text := "not asked"
		switch e := refusalOf(cause); {
		case e != nil:
			text = e.Error()
		case cause != nil:
			text = shortly(cause)
		}
		all = append(all, k.config.Endpoints[i]+": "+text)
	}
	e.State = strings.Join(all, "; ")
	return e
}

// found is what x turned out to be; nil if it was not tried.
func (k *Core) found(x *peer) error {
	switch {
	case x.state == peerUp && x.said != nil:
		return x.said
	case x.state == peerUp:
		return errUnanswered
	case x.cause != nil:
		return x.cause
	case x.accepted:
		return errNoHello
	}
	return nil
}
