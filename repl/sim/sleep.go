package sim

import (
	"time"

	"muster/repl/client"
	"muster/shardmap"
)

const (
	// serverSilence is after how long a server closes a client's silent connection, as
	// in node/limits.go.
	serverSilence = 60 * time.Second
	// longSleep is longer than sessions are kept, by the time that slots take to meet
	// new sessions and forget the old one. A run with such a sleep is that much
	// longer, so only some have one.
	longSleep      = time.Duration(shardmap.SessionKeep) + time.Minute
	longSleepEvery = 4
	// longSleepers is how many clients sleep so long in such a run. More than one,
	// because a write that is applied and unanswered when its client falls asleep is
	// rare; the others bring new sessions.
	longSleepers = clientCount / 2
)

// sleeper is the host of a client, which can be suspended. Then its monotonic clock
// stands still, and its wall clock does not.
type sleeper struct {
	clock client.Clock
	due   time.Duration // how long it sleeps as soon as it has requests under way; 0: not at all
	began time.Duration
	until time.Duration // 0: it is awake
	slept time.Duration // in total
	long  bool          // it had its long sleep
	late  []*event      // what happened to it meanwhile, in order
}

// now is the client's time, the only one that the core sees.
func (cl *simClient) now() time.Duration {
	return cl.host.clock.Look(cl.c.now, cl.c.now-cl.host.slept)
}

// ofClient returns the client to which an event happens; nil if it happens to none.
func (e *event) ofClient() *simClient {
	switch e.kind {
	case evAnswer, evDialled, evReset, evListen:
		return e.conn.client
	case evTable, evWake, evBegin, evRush, evListing, evWatch:
		return e.client
	case evDeadline:
		return e.op.client
	}
	return nil
}

// asleep reports whether the client's host is suspended.
func (cl *simClient) asleep() bool { return cl.host.until > 0 }

// misses keeps what happens to the client's host while that is suspended.
func (cl *simClient) misses(e *event) { cl.host.late = append(cl.host.late, e) }

// awake ends the sleep. What happened meanwhile happens now, in its order: frames of one
// connection do not overtake each other.
func (cl *simClient) awake() {
	if cl.host.until == 0 {
		return
	}
	d := cl.c.now - cl.host.began
	cl.host.slept += d
	cl.host.until = 0
	for _, e := range cl.host.late {
		cl.c.queue.push(cl.c.now, e)
	}
	cl.host.late = nil
	cl.c.note(-cl.id, "goes on after %s", d)
	if d >= serverSilence {
		for _, k := range append([]*conn(nil), cl.conns...) {
			if k != nil {
				k.lost(errReset)
			}
		}
	}
}

// maySleep suspends the host, if that is due and requests are under way whose answers it
// will miss.
func (cl *simClient) maySleep() {
	x := &cl.c.chaos
	if x.longSleeps > 0 && cl.c.now >= x.longSleepAt && !cl.host.long && !x.stopped {
		x.longSleeps--
		cl.host.long = true
		cl.host.due = longSleep + cl.c.chance.between(0, 30*time.Second)
	}
	if cl.host.due == 0 || x.stopped {
		return
	}
	for _, k := range cl.conns {
		if k == nil || !k.up || len(k.open) == 0 {
			continue
		}
		cl.c.note(-cl.id, "%s for %s", ClientSleep, cl.host.due)
		cl.c.result.Fired[ClientSleep]++
		until := cl.c.now + cl.host.due
		cl.host.began, cl.host.until, cl.host.due = cl.c.now, until, 0
		cl.c.order.call(until-cl.c.now, func() {
			if cl.host.until == until { // else it was woken before
				cl.awake()
			}
		})
		return
	}
}

// awaken ends all sleeps.
func (c *cluster) awaken() {
	for _, cl := range c.clients {
		cl.host.due = 0
		cl.awake()
	}
}

// renew gives a client another session now and then, as if it were another
// process: a slot forgets old sessions when it meets new ones.
func (cl *simClient) renew() {
	if cl.c.chance.below(sessionOps) != 0 {
		return
	}
	for _, o := range cl.open {
		if !o.reads() {
			return
		}
	}
	cl.session, cl.next = cl.c.chance.next()|1, 1
	cl.c.users.owns(cl)
}
