package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"muster/repl/wire"
)

// Carrying out what the core says, and telling it what connections did.

var errSilent = errors.New("no answer in time")

// askTimeout bounds the question after the table.
const askTimeout = 2 * time.Second

// prepare does the part of an action that must be seen by the next event. Held:
// c.mu.
func (c *courier) prepare(a *Action) {
	switch a.Kind {
	case ActDial:
		if c.closed {
			return
		}
		b := newBond(c, a.Peer, a.Addr)
		b.serves = true
		b.begin()
	case ActHangUp:
		for b := range c.open {
			if b.peer == a.Peer {
				c.drop(b)
				c.running.Add(1)
				go func() {
					defer c.running.Done()
					b.fail(errStopped)
				}()
			}
		}
	}
}

// newBond makes the connections to a peer at addr, which begin dials.
func newBond(c *courier, p Peer, addr string) *bond {
	b := &bond{peer: p, missing: c.options.ConnectionsPerNode}
	b.pressure.limit.Store(limitNone)
	for range b.missing {
		ctx, end := context.WithCancel(context.Background())
		b.links = append(b.links, &link{
			courier: c, bond: b, addr: addr, ctx: ctx, end: end,
			wake: make(chan struct{}, 1), space: make(chan struct{}, 1),
		})
	}
	return b
}

// begin dials the links. Held: courier.mu.
func (b *bond) begin() {
	c := b.links[0].courier
	c.open[b] = true
	c.running.Add(len(b.links))
	for _, l := range b.links {
		go l.write()
	}
}

// perform does the rest of an action.
func (c *courier) perform(a *Action) {
	switch a.Kind {
	case ActSend:
		x := a.Call.Owner.(*call)
		result := sentDown
		if l := c.linkTo(a.Peer, x.Slot); l != nil {
			// A write may have been sent before. If the host stood still since
			// that was decided, it is too old to be sent again.
			now := c.look()
			if now >= x.Deadline {
				c.event(func(now time.Duration) { c.core.ExpireUnsent(now, &x.Call) })
				return
			}
			// The servers know outcomes by session and user. A write that may have been applied for one would be
			// applied again for another: for a client that had the cluster's secret, and has a certificate now.
			if x.Maybe && x.as != l.as && !bug("write tried again as another user") {
				c.event(func(now time.Duration) { c.core.Expire(now, &x.Call) })
				return
			}
			if l.bond.pressure.holds(&x.Call, now) {
				c.hand(x, func(now time.Duration) { c.core.Crowded(now, &x.Call) })
				return
			}
			result = l.send(x, now)
		}
		switch result {
		case sentDown:
			c.hand(x, func(now time.Duration) { c.core.Unsent(now, &x.Call, a.Peer) })
		case sentCancelled:
			c.event(func(now time.Duration) { c.core.ExpireUnsent(now, &x.Call) })
		}
	case ActFinish:
		a.Call.Owner.(*call).end(a.Err)
	case ActAsk:
		c.ask(a.Peer)
	case ActFollow:
		c.follow(a.Peer, a.Number)
	}
}

// ask asks p for the table.
func (c *courier) ask(p Peer) {
	x := newCall(wire.TypeTopology)
	x.direct = true
	x.Deadline = c.now() + askTimeout
	x.body = (&wire.Empty{}).Append(x.body[:0])
	x.ended = func(x *call) {
		var t wire.TopologyAnswer
		err := x.err
		if err == nil {
			err = t.Read(x.answer)
		}
		c.event(func(now time.Duration) {
			if err != nil {
				c.core.TableFailed(now, p, err)
			} else {
				c.core.Table(now, p, &t)
			}
		})
		x.release()
	}
	if l := c.linkTo(p, 0); l == nil || l.send(x, c.now()) != sentOut {
		x.end(errStopped)
	}
}

// follow opens a stream of the table at p.
func (c *courier) follow(p Peer, number uint64) {
	s := new(TableStream)
	var x *call
	x = newStreamCall(wire.TypeTableStream, s, func() {
		if t := s.Take(); t != nil {
			c.event(func(now time.Duration) { c.core.Pushed(now, number, t) })
		}
		if s.Complete() {
			c.cancel(x)
			return
		}
		x.grant()
	})
	x.direct, x.stream.standing = true, true
	x.Deadline = c.now() + askTimeout // of the first piece; the others come when they come
	x.ended = func(*call) {
		c.event(func(now time.Duration) { c.core.Unfollowed(now, number) })
	}
	if l := c.linkTo(p, 0); l == nil || l.send(x, c.now()) != sentOut {
		x.end(errStopped)
	}
}

// answered ends x with what came for it, or hands the refusal to the core.
func (c *courier) answered(x *call, from Peer, kind wire.Type, body []byte) {
	if x.Scouts() && kind != wire.TypeError {
		c.event(func(now time.Duration) { c.core.Scouts.Answered(now, &x.Call, from) })
	}
	switch {
	case kind == wire.TypeError:
		c.refused(x, from, body)
	case kind.Question() != x.kind:
		x.end(fmt.Errorf("node answered %s with %s", x.kind, kind))
	case kind == wire.TypeWriteAnswer:
		if err := x.written.Read(body); err != nil {
			x.end(fmt.Errorf("answer to %s: %w", x.kind, err))
			return
		}
		x.end(nil)
	default:
		x.answer = append(x.answer[:0], body...)
		x.end(nil)
	}
}

func (c *courier) refused(x *call, from Peer, body []byte) {
	e := new(wire.Error)
	if err := e.Read(body); err != nil {
		x.end(fmt.Errorf("error that answers %s: %w", x.kind, err))
		return
	}
	if x.direct {
		x.end(e)
		return
	}
	c.refusedBy(x, from, e)
}

// refusedBy hands the refusal of x by a node to the core.
func (c *courier) refusedBy(x *call, from Peer, e *wire.Error) {
	over := false
	c.event(func(now time.Duration) {
		switch {
		case x.cancelled.Load() && e.Code == wire.CodeMaybeApplied:
			c.core.Expire(now, &x.Call)
		case x.cancelled.Load():
			c.core.ExpireUnsent(now, &x.Call)
		case !c.goesOn(now, x):
			over = true
		default:
			c.core.Refused(now, &x.Call, from, e)
		}
	})
	if over {
		x.end(nil)
	}
}

// linkAccepted notes that l is connected, and says hello now.
func (c *courier) linkAccepted(l *link) {
	c.event(func(time.Duration) {
		if b := l.bond; !b.failed && b.serves {
			c.core.Accepted(b.peer)
		}
	})
}

// linkUp notes that l said hello. A bond is up when all its links are.
func (c *courier) linkUp(l *link, g *wire.Greeting) {
	c.welcomed(g.Welcome.WindowMax)
	var retired *bond
	b, over := l.bond, false
	c.event(func(now time.Duration) {
		b.missing--
		if b.failed || b.missing > 0 || c.closed {
			return
		}
		b.node, b.cluster = g.Challenge.Node, g.Challenge.ClusterID
		if b.former != nil {
			retired = c.heirs.inherit(now, b)
			over = retired == nil
			return
		}
		c.publish(b.peer, b)
		c.options.Log.Info("node connected", "node", g.Challenge.Node, "addr", l.addr)
		c.core.Connected(now, b.peer, g.Challenge.Node, g.Challenge.ClusterID)
	})
	switch {
	case over:
		b.fail(errStopped)
	case retired != nil:
		c.heirs.retire(retired)
	}
}

// linkDown notes that l ended, and with it its bond. A nil err: it was idle.
func (c *courier) linkDown(l *link, lost []*call, err error) {
	b := l.bond
	var direct, over []*call // told apart now: the others are others' from the event on
	c.event(func(now time.Duration) {
		if !b.failed {
			c.drop(b)
			if err != nil && !errors.Is(err, ErrClosed) {
				c.options.Log.Info("node not connected", "addr", l.addr, "cause", err)
			}
			c.heirs.unborn(now, b)
			if b.serves {
				c.core.Disconnected(now, b.peer, err)
			}
		}
		for _, x := range lost {
			switch {
			case x.direct:
				direct = append(direct, x)
			case x.cancelled.Load() || c.closed:
				c.core.Expire(now, &x.Call)
			case !c.goesOn(now, x):
				over = append(over, x)
			default:
				c.core.Lost(now, &x.Call, b.peer, err)
			}
		}
	})
	for _, x := range direct {
		x.end(errStopped)
	}
	for _, x := range over {
		x.end(nil)
	}
	b.fail(err)
}

// fail ends the links of a bond.
func (b *bond) fail(err error) {
	for _, l := range b.links {
		l.fail(err)
	}
}

// drop forgets b. Held: c.mu.
func (c *courier) drop(b *bond) {
	b.failed = true
	delete(c.open, b)
	if bonds := *c.bonds.Load(); int(b.peer) < len(bonds) && bonds[b.peer] == b {
		c.publish(b.peer, nil)
	}
}

// publish makes b what calls to p use. Held: c.mu.
func (c *courier) publish(p Peer, b *bond) {
	bonds := slices.Clone(*c.bonds.Load())
	for len(bonds) <= int(p) {
		bonds = append(bonds, nil)
	}
	bonds[p] = b
	c.bonds.Store(&bonds)
}
