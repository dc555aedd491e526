// Package client is the Go library for programs that use a cluster.
//
// It does not know how a cluster works: who leads is what nodes tell, and what
// a command does to a slot is the nodes' affair. It keeps no copy of any data.
//
// [Open] gives a [Client], which any number of goroutines share. Its calls take
// a context first, and end with a typed error: a [*wire.Error] with a code, or
// [*ErrNoEndpoint]. A write is sent as often as needed and applied once; if
// that can't be known the error says so (code maybe-applied).
//
// # The ways through it
//
//	core.go    where a call goes, when it is tried again, when it is given up:
//	           a state machine without goroutines; route.go, peer.go, retry.go
//	           are its events, park.go holds the calls that wait in it,
//	           endpoints.go says when an endpoint is of no use and the next is
//	           asked
//	session.go what makes retries safe; clock.go how old one is
//	call.go    one request, from place to place
//	conn.go    one connection; pending.go holds the calls that wait on it,
//	           health.go says when it is given up, pressure.go when its node
//	           has enough to do
//	client.go  starts and ends it all; perform.go carries out what the core says;
//	           address.go reads the addresses that it is given
//	write.go   read.go list.go bulk.go pipe.go admin.go    what a user calls;
//	           fan.go has the calls that become several requests, errors.go how
//	           they fail
//
// A call whose slot has a known leader goes to that connection's buffer at
// once, and its answer back to the caller; the core sees only calls with which
// something is wrong.
//
// # Goroutines
//
//	keeper     one per client: the core's ticks, the health of connections.
//	           Started by Open, ended by Close
//	write      one per connection; see link
//	read       one per connection; see link
//	hang up    one per ActHangUp, in prepare: closes the connections of a peer,
//	           for which no lock may be held, and ends
//
// # Locks
//
// Client.mu guards the core. A link's and a lane's mutex are taken under no
// other lock and hold none.
package client

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"muster/shardmap"
)

// Options say what a client connects to and how.
type Options struct {
	// Endpoints are addresses of nodes, host:port, or host where the port is
	// [PortDefault]. One that can be used is enough; the others are learnt
	// from it. Local reads go to the first.
	Endpoints []string
	// Cluster is the name that the cluster must have; empty for any.
	Cluster string
	// Secret is what the cluster's nodes share; empty if they have none.
	Secret []byte
	// ConnectionsPerNode is one where it is not given, which is mostly enough:
	// all calls share it. Of more, each is used only while those before it
	// are busy.
	ConnectionsPerNode int
	// DialTimeout bounds how long a node may take to accept a connection
	// and say hello; 2 s where it is not given.
	DialTimeout time.Duration
	// Patience is how long a call waits while no endpoint has ever accepted
	// a connection; [PatienceDefault] where it is not given.
	Patience time.Duration
	// WindowMax is how many writes may be open in each of the client's
	// [Lanes] sessions; [WindowDefault] where it is not given.
	WindowMax int
	// Log gets one line per connection that is made or lost.
	Log *slog.Logger
}

// Limits of Options.
const (
	dialTimeoutDefault = 2 * time.Second
	// connectionsMax bounds the connections to one node; more than a few
	// cost both sides more than they spare.
	connectionsMax = 64
	// lookEvery is how often the health of connections is looked at.
	lookEvery = 250 * time.Millisecond
)

// Client uses one cluster. Its methods may be called by any number of
// goroutines.
type Client struct {
	options Options
	source  clockSource
	clock   Clock
	lanes   [Lanes]*lane
	kick    chan struct{} // from event to keeper: the next wake may be earlier; never closed
	stop    chan struct{} // closed by Close
	running sync.WaitGroup

	// What the usual way of a call reads.
	routes atomic.Pointer[Routes]
	bonds  atomic.Pointer[[]*bond] // by Peer; nil where not connected

	mu     sync.Mutex
	core   *Core
	open   map[*bond]bool // being dialled, or up
	wake   time.Duration  // when the keeper will wake by itself
	closed bool
}

// Open returns a client. It connects when the first call needs it.
func Open(o Options) (*Client, error) { return open(o, systemClock()) }

func open(o Options, source clockSource) (*Client, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	var seed [8 * (Lanes + 1)]byte
	if _, err := rand.Read(seed[:]); err != nil {
		return nil, fmt.Errorf("open client: random session ids: %w", err)
	}
	c := &Client{
		options: o,
		source:  source,
		kick:    make(chan struct{}, 1),
		stop:    make(chan struct{}),
		open:    make(map[*bond]bool),
	}
	for i := range c.lanes {
		id := binary.LittleEndian.Uint64(seed[8*i:]) | 1 // never 0
		c.lanes[i] = newLane(id, uint64(o.WindowMax))
	}
	c.core = NewCore(Config{
		Endpoints: o.Endpoints,
		Chance:    binary.LittleEndian.Uint64(seed[8*Lanes:]),
		Patience:  o.Patience,
		Crowded:   c.crowded,
	})
	c.routes.Store(c.core.Routes())
	c.bonds.Store(new([]*bond))
	c.running.Add(1)
	go c.keeper()
	return c, nil
}

func (o *Options) check() error {
	if len(o.Endpoints) == 0 {
		return errors.New("open client: no endpoints given; want at least one host:port")
	}
	endpoints := make([]string, len(o.Endpoints))
	for i, e := range o.Endpoints {
		var err error
		if endpoints[i], err = Endpoint(e); err != nil {
			return fmt.Errorf("open client: endpoint %w", err)
		}
	}
	o.Endpoints = endpoints
	if o.ConnectionsPerNode == 0 {
		o.ConnectionsPerNode = 1
	}
	if o.ConnectionsPerNode < 0 || o.ConnectionsPerNode > connectionsMax {
		return fmt.Errorf("open client: %d connections per node; want 1 to %d", o.ConnectionsPerNode, connectionsMax)
	}
	if o.DialTimeout <= 0 {
		o.DialTimeout = dialTimeoutDefault
	}
	if o.WindowMax == 0 {
		o.WindowMax = WindowDefault
	}
	if o.WindowMax < 64 || o.WindowMax > shardmap.SessionWindowMax {
		return fmt.Errorf("open client: window of %d writes; want 64 to %d", o.WindowMax, shardmap.SessionWindowMax)
	}
	o.WindowMax &^= 63
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Close ends all calls with [ErrClosed], or with maybe-applied, and returns when
// the client's goroutines have ended.
func (c *Client) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
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
	return nil
}

// now is the client's time. Whoever is about to send something again looks
// first, with [Client.look]: this does not see a jump since the last look.
func (c *Client) now() time.Duration { return c.clock.At(c.source.mono()) }

// look is now, after a look whether the host was suspended. The core's events
// carry it.
func (c *Client) look() time.Duration { return c.clock.Look(c.source.both()) }

// event hands one event to the core and carries out what it says.
func (c *Client) event(f func(now time.Duration)) {
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
func (c *Client) keeper() {
	defer c.running.Done()
	timer := time.NewTimer(0)
	defer timer.Stop()
	looked := time.Duration(0)
	for {
		select {
		case <-c.stop:
			return
		case <-c.kick:
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
func (c *Client) nextWake(looked time.Duration) time.Duration {
	wake, ok := c.core.Wake()
	if !ok {
		wake = 1 << 62 // until somebody kicks
	}
	if len(c.open) > 0 {
		wake = min(wake, looked+lookEvery)
	}
	return wake
}

// lookAfter sees to the health of all connections, and to the calls whose time
// is over on one.
func (c *Client) lookAfter(now time.Duration) {
	for _, b := range *c.bonds.Load() {
		if b == nil {
			continue
		}
		for _, l := range b.links {
			if l.open.Load() > 0 {
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
						c.core.Expire(now, &x.Call, true)
						return
					}
					c.core.Unanswered(now, &x.Call, b.peer)
				})
			}
		}
	}
}
