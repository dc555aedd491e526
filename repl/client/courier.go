package client

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// courier carries calls to nodes and their answers back: it has the core, the
// clock, and the connections, and does what the core says. It knows nothing of
// what the calls ask for.
type courier struct {
	// Set once.
	options    Options
	protection protection
	source     clockSource
	welcomed   func(windowMax uint32) // told the limit that a node keeps to; called under no lock
	kick       chan struct{}          // from event to keeper: the next wake may be earlier; never closed
	heirs      heirs
	stop       chan struct{} // closed by close
	running    sync.WaitGroup

	clock Clock

	// What the usual way of a call reads.
	routes atomic.Pointer[Routes]
	bonds  atomic.Pointer[[]*bond] // by Peer; nil where not connected

	mu     sync.Mutex
	core   *Core
	open   map[*bond]bool // being dialled, or up
	wake   time.Duration  // when the keeper will wake by itself; never: only when it is kicked
	closed bool
}

// never is later than any time of a client.
const never time.Duration = math.MaxInt64

// newCourier returns a courier that runs. seed is of the core's chance.
func newCourier(o Options, source clockSource, seed uint64, welcomed func(windowMax uint32)) *courier {
	c := &courier{
		options:    o,
		protection: protectionOf(&o),
		source:     source,
		welcomed:   welcomed,
		kick:       make(chan struct{}, 1),
		stop:       make(chan struct{}),
		open:       make(map[*bond]bool),
	}
	config := Config{Endpoints: o.Endpoints, Chance: seed, Patience: o.Patience, Forward: o.Forward, Elsewhere: o.Elsewhere, Crowded: c.crowded}
	if c.protection.on {
		config.HelloStagger = HelloStaggerTLS
	}
	c.core = NewCore(config)
	c.heirs = heirs{courier: c, worn: make(chan struct{}, 1)}
	c.routes.Store(c.core.Routes())
	c.bonds.Store(new([]*bond))
	c.running.Add(1)
	go c.keeper()
	return c
}

// close ends all calls, and returns when the goroutines have ended.
func (c *courier) close() {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	c.closed = true
	var links []*link
	for b := range c.open {
		links = append(links, b.links...)
	}
	c.mu.Unlock()
	close(c.stop)
	for _, l := range links {
		l.fail(ErrClosed)
	}
	c.event(func(time.Duration) { c.core.FinishAll(ErrClosed) })
	c.running.Wait()
}

// now is the client's time. Whoever is about to send something again looks
// first, with [Client.look]: this does not see a jump since the last look.
func (c *courier) now() time.Duration { return c.clock.At(c.source.mono()) }

// look is now, after a look whether the host was suspended. The core's events
// carry it.
func (c *courier) look() time.Duration { return c.clock.Look(c.source.both()) }

// event hands one event to the core and carries out what it says.
func (c *courier) event(f func(now time.Duration)) {
	now := c.look()
	c.mu.Lock()
	f(now)
	if c.closed {
		c.core.FinishAll(ErrClosed)
	}
	todo := c.core.Take()
	for i := range todo {
		c.prepare(&todo[i])
	}
	if r := c.core.Routes(); r != c.routes.Load() {
		c.routes.Store(r)
	}
	wake := c.nextWake(now)
	kick := wake < c.wake
	if kick {
		c.wake = wake
	}
	c.mu.Unlock()
	if kick {
		select {
		case c.kick <- struct{}{}:
		default:
		}
	}
	for i := range todo {
		c.perform(&todo[i])
	}
}

// keeper is the client's own goroutine.
func (c *courier) keeper() {
	defer c.running.Done()
	timer := time.NewTimer(0)
	defer timer.Stop()
	looked := time.Duration(0)
	for {
		select {
		case <-c.stop:
			return
		case <-c.kick:
		case <-c.heirs.worn:
			c.heirs.beget(c.look())
		case <-timer.C:
		}
		now := c.look()
		if now-looked >= lookEvery {
			looked = now
			c.lookAfter(now)
		}
		c.event(func(now time.Duration) { c.core.Tick(now) })
		c.mu.Lock()
		wake := c.nextWake(looked)
		c.wake = wake
		c.mu.Unlock()
		timer.Reset(max(wake-c.now(), 0))
	}
}

// nextWake returns when the keeper has something to do, if nothing happens
// before. Held: c.mu.
func (c *courier) nextWake(looked time.Duration) time.Duration {
	wake, ok := c.core.Wake()
	if !ok {
		wake = never
	}
	if len(c.open) > 0 {
		wake = min(wake, looked+lookEvery)
	}
	return wake
}

// lookAfter sees to the health of all connections, and to the calls whose time
// is over on one.
func (c *courier) lookAfter(now time.Duration) {
	c.heirs.beget(now)
	for _, b := range append(c.heirs.retired(), *c.bonds.Load()...) {
		if b == nil {
			continue
		}
		for _, l := range b.links {
			if l.open.Load() > 0 || l.stands.Load() > 0 {
				b.used.Store(int64(now))
			}
		}
		for _, l := range b.links {
			for _, x := range l.look(now) {
				if x.Deadline <= now {
					c.expire(x)
					continue
				}
				c.event(func(now time.Duration) {
					if x.cancelled.Load() {
						c.core.Expire(now, &x.Call)
						return
					}
					c.core.Unanswered(now, &x.Call, b.peer)
				})
			}
		}
	}
}
