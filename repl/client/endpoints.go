package client

import (
	"errors"
	"slices"
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
		x := k.peers.all[k.peers.resolve(c.Peer)]
		if k.peers.promptly(c) && x.nobodyThere(now, c.begun) && !bug(bugVacantAwaited) {
			k.todo.finish(c, x.unreachable(c))
			return true
		}
		final := x.refused || lasts(x.cause, c)
		if x.state == peerDown && (final && current(now, x, c) || !final && c.waited && !isCode(x.cause, wire.CodeNotReady)) {
			k.todo.finish(c, x.unreachable(c))
			return true
		}
		return false
	}
	if k.table.known {
		cause := turnedAway(now, &k.peers, c) // the nodes in the table can be asked too
		if cause == nil {
			cause = deniedByAll(&k.peers, c)
		}
		if cause != nil {
			k.todo.finish(c, cause)
		}
		return cause != nil
	}
	for i := range k.peers.endpointCount() {
		if !settled(now, k.peers.endpoint(i), c) {
			return false
		}
	}
	k.todo.finish(c, k.peers.noEndpoint(c))
	return true
}

// bugVacantAwaited is planted to show that its test finds it: a node whose host refuses connections is waited for by
// those who want to know whether it is there.
const bugVacantAwaited = "refused dial waited out"

// promptly reports whether c ends as soon as nothing listens at its peer's addresses. In a client that no node has let in
// yet it does not: what runs first may be a command beside a node that is being started.
func (k *peers) promptly(c *Call) bool { return c.Prompt && k.connected }

// turnedAway returns why no node that is known permits this client to come in, if that is so: it was let in by
// something that counts no longer, most likely the secret.
func turnedAway(now time.Duration, k *peers, c *Call) (cause error) {
	for _, x := range k.all {
		if x.same != NoPeer {
			continue
		}
		// A connection that was cut may be made again, with another certificate.
		if x.state != peerDown || !x.unreached || !isCode(x.cause, wire.CodeUnauthorized) || !current(now, x, c) {
			return nil
		}
		cause = x.cause
	}
	return cause
}

// deniedByAll returns the last refusal of c if no node is left that might permit what it asks: each has refused it for
// good. One that is not connected is waited for as long as an endpoint is.
func deniedByAll(k *peers, c *Call) error {
	e := refusalOf(c.cause)
	if len(c.denied) == 0 || e == nil || e.Retry() != wire.RetryNever {
		return nil
	}
	for p, x := range k.all {
		if k.free(Peer(p)) && !slices.Contains(c.denied, Peer(p)) && (x.state == peerUp || !c.waited) {
			return nil
		}
	}
	return e
}

// settled reports whether an endpoint has had its say, and is of no use to c.
func settled(now time.Duration, x *peer, c *Call) bool {
	switch {
	case x.state == peerUp:
		return x.saidAt >= c.begun && lasts(x.said, c)
	case x.refused, x.state == peerDown && lasts(x.cause, c):
		return current(now, x, c)
	case x.accepted, x.met:
		// It may be a node that was stopped for a while: that is for c's time
		// to say.
		return false
	}
	return c.waited
}

// current reports whether the refusal of x counts for c. A client that lives on
// asks again in the end: its operator may have seen to it.
func current(now time.Duration, x *peer, c *Call) bool {
	return x.saidAt >= c.begun || x.resting(now)
}

// endpointCount returns how many endpoints there are among all peers.
func (k *peers) endpointCount() int { return min(len(k.endpoints), len(k.all)) }

func (k *peers) endpoint(i int) *peer { return k.all[k.resolve(Peer(i))] }

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
		k.todo.finish(c, e)
		return
	}
	k.peers.all[from].said, k.peers.all[from].saidAt = e, now
	if e.Retry() == wire.RetryNever && !slices.Contains(c.denied, from) {
		c.denied = append(c.denied, from)
	}
	k.askOthers(now, c)
}

// Unanswered says that from has had c for long, and has not answered it, though
// its connection lives. Another node may be quicker.
func (k *Core) Unanswered(now time.Duration, c *Call, from Peer) {
	k.adopt(now, c)
	x := k.peers.all[k.peers.resolve(from)]
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
	k.peers.dialOther(now)
	wait := k.chance.pause(c)
	if e := refusalOf(c.cause); e != nil && !k.peers.hopeful() {
		wait = max(wait, min(time.Duration(e.RetryAfterMs)*time.Millisecond, RedialMax))
	}
	k.park(c, onTable, now+wait) // or until another peer is up
}

// noEndpoint says what was found at each endpoint, of which none was of use
// to c.
func (k *peers) noEndpoint(c *Call) error {
	if k.endpointCount() == 1 {
		return k.endpoint(0).unreachable(c)
	}
	var causes []error
	var worst *wire.Error
	answered := false
	for i := range k.endpointCount() {
		x := k.endpoint(i)
		cause := x.found()
		causes = append(causes, cause)
		answered = answered || x.accepted || x.refused || x.met
		// What will be the same next time says more than what may not.
		if e := refusalOf(cause); e != nil && (worst == nil || worst.Retry() != wire.RetryNever && e.Retry() == wire.RetryNever) {
			worst = e
		}
	}
	if !answered {
		return &ErrNoEndpoint{Endpoints: k.endpoints, Causes: causes}
	}
	e := &wire.Error{Code: wire.CodeUnavailable, Object: "endpoints", Text: "none of them can be used", Next: "see to one of them, or name others"}
	if c.Write {
		e.Text += ", nothing was applied"
	}
	if worst != nil {
		e.Code = worst.Code
	}
	var all []string
	first := map[string]string{} // the endpoint that was found to be so first, by what was found without its address
	for i, cause := range causes {
		text := "not asked"
		switch e := refusalOf(cause); {
		case e != nil:
			text = e.Error()
		case cause != nil:
			text = shortly(cause)
		}
		same := strings.ReplaceAll(text, k.endpoints[i], "")
		if as, told := first[same]; told {
			text = "as " + as
		} else {
			first[same] = k.endpoints[i]
		}
		all = append(all, k.endpoints[i]+": "+text)
	}
	e.State = strings.Join(all, "; ")
	return e
}

// found is what x turned out to be; nil if it was not tried.
func (x *peer) found() error {
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

// unreachable says why x was of no use to c.
func (x *peer) unreachable(c *Call) error {
	if x.refused || x.state == peerDown && lasts(x.cause, c) {
		return x.cause
	}
	if x.state == peerUp && x.said != nil {
		return x.said
	}
	if x.accepted {
		cause := x.cause
		if cause == nil {
			cause = errNoHello
		}
		if c.Write {
			return unavailable("node at "+x.addr(), cause)
		}
		return noAnswer("node at "+x.addr(), cause)
	}
	return &ErrNoEndpoint{Endpoints: x.addrs[:1:1], Causes: []error{x.cause}}
}
