package client

import (
	"time"

	"muster/repl/wire"
)

// The keys of a connection over TLS should protect no more than [Options.KeyBytes], and only another connection
// has others. So when one of a bond's links has carried as much, the bond gets an heir:
//
//	worn      told by the link; wakes the keeper
//	beget     dials the same node at the same address. The core hears nothing of it: the peer stays up
//	inherit   once all links of the heir are up: calls go over it from now on
//	retire    requests that the former has sent are answered over it. Streams move: each goes on over the heir behind the
//	          last piece that arrived, as after a lost connection. Then the former ends
//
// If the heir can't be had, the former goes on, and it is tried again.

// bugWornKept is planted to show that its test finds it: a connection goes on, however much its keys have
// protected.
const bugWornKept = "client's worn connection not replaced"

// heirs sees to the bonds of a courier that have carried enough.
type heirs struct {
	courier *courier
	worn    chan struct{} // one token: from links, to the keeper; never closed
}

// heirPauseMax bounds the pause between two attempts to get an heir.
const heirPauseMax = 10 * time.Second

// wears has the keeper see to l's bond once the connection has carried what it may.
func (l *link) wears(t *wire.TLSConn) {
	if bug(bugWornKept) {
		return
	}
	t.WearsAt(l.courier.options.KeyBytes, func() {
		l.bond.worn.Store(true)
		select {
		case l.courier.heirs.worn <- struct{}{}:
		default: // it is about to look
		}
	})
}

// beget dials an heir for each bond that wants one.
func (h *heirs) beget(now time.Duration) {
	c := h.courier
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, b := range *c.bonds.Load() {
		if b == nil || !b.worn.Load() || b.heir != nil || now < b.again || c.closed {
			continue
		}
		b.heir = newBond(c, b.peer, b.links[0].addr)
		b.heir.former = b
		b.heir.begin()
	}
}

// inherit puts b, which is up, in the place of its former, and returns that; nil if that is gone by now, or another
// node answers to b. Then b ends. Held: courier.mu.
func (h *heirs) inherit(now time.Duration, b *bond) (retired *bond) {
	c, f := h.courier, b.former
	if f.failed || f.node != b.node || f.cluster != b.cluster {
		h.unborn(now, b)
		c.drop(b)
		return nil
	}
	f.serves, b.serves, b.former = false, true, nil
	c.publish(b.peer, b)
	c.options.Log.Info("node connected anew", "node", b.node, "addr", b.links[0].addr)
	return f
}

// unborn notes that b will not take the place of its former, which goes on. Held: courier.mu.
func (h *heirs) unborn(now time.Duration, b *bond) {
	if f := b.former; f != nil && f.heir == b {
		f.heir = nil
		f.again = now + min(PauseMin<<min(f.fails, 10), heirPauseMax)
		f.fails++
	}
}

// retire has a bond that has an heir end once all that was sent over it is answered.
func (h *heirs) retire(b *bond) {
	var streams []*call
	for _, l := range b.links {
		streams = append(streams, l.retire()...)
	}
	for _, x := range streams {
		h.move(x)
	}
	if b.through() {
		b.fail(nil)
	}
}

// retire has the link take no more calls, and returns the streams that it had.
func (l *link) retire() (streams []*call) {
	wake := false
	l.mu.Lock()
	l.retired = true
	for i := range l.pending.places {
		x := &l.pending.places[i]
		if c := x.call; c != nil && c.stream != nil {
			streams = append(streams, c)
			wake = l.forget(c, uint64(x.uses)<<32|uint64(i)) || wake
		}
	}
	l.counted()
	l.mu.Unlock()
	if wake {
		l.wake <- struct{}{}
	}
	return streams
}

// through reports whether a bond is retired, and nobody waits for an answer on it. It stays so.
func (b *bond) through() bool {
	for _, l := range b.links {
		l.mu.Lock()
		waits := !l.retired || l.pending.open > 0
		l.mu.Unlock()
		if waits {
			return false
		}
	}
	return true
}

// move continues a stream over another connection. It was taken off one that still stands.
func (h *heirs) move(x *call) {
	c := h.courier
	if x.direct {
		x.end(errStopped) // the core asks for another stream of the table
		return
	}
	over := false
	c.event(func(now time.Duration) {
		switch {
		case x.cancelled.Load():
			c.core.ExpireUnsent(now, &x.Call)
		case !c.goesOn(now, x):
			over = true
		default:
			if x.Deadline == never { // some of it has come, so the next attempt has all the time that there is
				x.Call.Progressed(now)
			}
			c.core.Submit(now, &x.Call)
		}
	})
	if over {
		x.end(nil)
	}
}

// retired returns the bonds that have an heir, and are not through with what was asked over them.
func (h *heirs) retired() (all []*bond) {
	c := h.courier
	c.mu.Lock()
	defer c.mu.Unlock()
	for b := range c.open {
		if !b.serves && b.heir != nil {
			all = append(all, b)
		}
	}
	return all
}
