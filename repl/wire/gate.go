package wire

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"
)

const (
	// unprovenBurst is how many handshakes one host may begin at once before their diallers have proven
	// anything, and unprovenRate how many more in each second. A dialler that is let in no longer counts, so a
	// thousand clients of one host that come back together wait for nothing but each other.
	unprovenBurst = 64
	unprovenRate  = 100
	unprovenPrice = time.Second / unprovenRate
	// gateHostsMax is how many hosts have an account of their own. All others share one.
	gateHostsMax = 1024
)

// Gate bounds how many handshakes of TLS are worked on at once, and how many one host may begin without
// proving anything. A handshake that waits for the other side does not count as worked on: so a stranger that
// says nothing holds up nobody, and one that begins as many as it can has no more of this process than
// those few have.
//
// If more want a turn than can have one, some wait in vain, and what matters is who.
// Handshakes that go on come first: half of their price is paid. Of those that begin, hosts
// take turns, so that one host's flood is in its own way; of one host's, any may be next.
// First come, first served would work for diallers that are about to give up: after a thousand
// of them came back at once, nobody would get in any more. Were the newest first, whoever
// comes most often would be the only one to get in.
type Gate struct {
	// Members pass it at a gate of their own; nil: there are none. Set before the first handshake.
	Members *Members

	mu    sync.Mutex
	free  int                        // guarded by mu
	begun []*gateTurn                // guarded by mu: the turns of handshakes that go on, oldest first
	hosts []*gateHost                // guarded by mu: those with turns; the first is next
	known map[netip.Prefix]*gateHost // guarded by mu: hosts by their network, at most gateHostsMax and one
	// later hands out places once a host may begin again. It runs only while somebody waits.
	later *time.Timer // guarded by mu; nil before it is needed
}

// gateHost is one host, with the turns of its handshakes that begin.
type gateHost struct {
	turns []*gateTurn // oldest first
	asks  bool        // it is in the gate's hosts
	// paid is when all that it has begun without proving anything is paid for.
	paid time.Time
}

// wait is how long it takes until one more handshake may begin.
func (h *gateHost) wait(now time.Time) time.Duration {
	return h.paid.Sub(now) - (unprovenBurst-1)*unprovenPrice
}

// charge has the host pay for a handshake.
func (h *gateHost) charge(now time.Time) {
	if h.paid.Before(now) {
		h.paid = now
	}
	h.paid = h.paid.Add(unprovenPrice)
}

// gateTurn waits for a place. Its fields are guarded by the gate's mu.
type gateTurn struct {
	ready chan struct{} // closed when it has a place
	in    *[]*gateTurn  // nil once it has a place
}

// hostBits is how much of an address of 128 bits says which host it is: whoever has one such
// address has 2^64 of them.
const hostBits = 64

// NewGate returns a gate for some handshakes at once, at least one.
func NewGate(atOnce int) *Gate {
	return &Gate{free: max(atOnce, 1), known: map[netip.Prefix]*gateHost{}}
}

// HandshakesDefault is how many handshakes are worked on at once where nothing else is
// said: the other processors are for those that have been let in.
func HandshakesDefault() int { return max(1, runtime.GOMAXPROCS(0)/2) }

// bugOldestFirst is planted to show that its test finds it: diallers are served in the order
// in which they came.
const bugOldestFirst = "handshakes served oldest first"

// hostOf says from which host a connection comes.
func hostOf(from net.Addr) netip.Prefix {
	tcp, ok := from.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{} // all others share one turn
	}
	a := tcp.AddrPort().Addr().Unmap().WithZone("")
	p, _ := a.Prefix(min(a.BitLen(), hostBits))
	return p
}

// bugNoAccount is planted to show that its test finds it: a host may begin as many handshakes as it
// can, whatever it proves.
const bugNoAccount = "no account of unproven handshakes"

// begin waits for a place for a handshake that begins, and charges its host. The error is one of time:
// none came before until.
func (g *Gate) begin(from netip.Prefix, until time.Time) error {
	return g.wait(until, func(now time.Time) *[]*gateTurn {
		h := g.host(from, now)
		if !h.asks {
			h.asks = true
			g.hosts = append(g.hosts, h)
		}
		return &h.turns
	})
}

// resume waits for a place for a handshake that goes on. Its error is that of begin.
func (g *Gate) resume(until time.Time) error {
	return g.wait(until, func(time.Time) *[]*gateTurn { return &g.begun })
}

// host is the account of a host. g.mu is held.
func (g *Gate) host(from netip.Prefix, now time.Time) *gateHost {
	if h := g.known[from]; h != nil {
		return h
	}
	if len(g.known) >= gateHostsMax {
		for p, h := range g.known {
			if !h.asks && !h.paid.After(now) {
				delete(g.known, p)
			}
		}
	}
	if len(g.known) >= gateHostsMax {
		from = netip.Prefix{}
		if h := g.known[from]; h != nil {
			return h
		}
	}
	h := &gateHost{paid: now}
	g.known[from] = h
	return h
}

func (g *Gate) wait(until time.Time, turns func(now time.Time) *[]*gateTurn) error {
	now := time.Now()
	g.mu.Lock()
	t := &gateTurn{ready: make(chan struct{}), in: turns(now)}
	*t.in = append(*t.in, t)
	g.hand(now)
	g.mu.Unlock()
	over := time.NewTimer(time.Until(until))
	defer over.Stop()
	select {
	case <-t.ready:
		return nil
	case <-over.C:
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if t.in == nil {
		return nil // it got its place just as its time ran out
	}
	g.take(t)
	return fmt.Errorf("too many handshakes at once: no turn before the hello's time was over: %w", os.ErrDeadlineExceeded)
}

// take removes a turn from where it waits. g.mu is held.
func (g *Gate) take(t *gateTurn) {
	at := slices.Index(*t.in, t)
	*t.in = slices.Delete(*t.in, at, at+1)
	t.in = nil
}

// leave gives a place to the next, or back.
func (g *Gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.free++
	g.hand(time.Now())
}

// refund takes back what a host was charged for a handshake: its dialler was let in, or nothing was
// computed for it.
func (g *Gate) refund(from netip.Prefix) {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	h := g.known[from]
	if h == nil {
		h = g.known[netip.Prefix{}]
	}
	if h != nil {
		h.paid = h.paid.Add(-unprovenPrice)
		g.hand(time.Now())
	}
}

// Charge charges the host of an address for a handshake, because as much was computed for it, and it has proven nothing. It
// reports whether the host could have begun a handshake at once. If not, the caller ends the connection, so that the host
// has to wait where handshakes begin.
func (g *Gate) Charge(from net.Addr) bool {
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	h := g.host(hostOf(from), now)
	within := h.wait(now) <= 0
	h.charge(now)
	return within
}

// hand gives the free places to those whose turn it is. g.mu is held.
func (g *Gate) hand(now time.Time) {
	for g.free > 0 {
		t, after := g.next(now)
		switch {
		case t != nil:
			g.free--
			g.take(t)
			close(t.ready)
			continue
		case after <= 0: // nobody waits
		case g.later == nil:
			g.later = time.AfterFunc(after, func() {
				g.mu.Lock()
				defer g.mu.Unlock()
				g.hand(time.Now())
			})
		default:
			g.later.Reset(after)
		}
		return
	}
}

// next is the turn whose turn it is; nil if none waits, or if none may begin yet but after a while.
// g.mu is held.
func (g *Gate) next(now time.Time) (t *gateTurn, after time.Duration) {
	if len(g.begun) > 0 {
		return g.begun[0], 0
	}
	for range len(g.hosts) {
		h := g.hosts[0]
		g.hosts = g.hosts[1:]
		if len(h.turns) == 0 { // all are over
			h.asks = false
			continue
		}
		g.hosts = append(g.hosts, h)
		if wait := h.wait(now); wait > 0 && !bug(bugNoAccount) {
			if after == 0 || wait < after {
				after = wait
			}
			continue
		}
		h.charge(now)
		if bug(bugOldestFirst) {
			return h.turns[0], 0
		}
		return h.turns[rand.IntN(len(h.turns))], 0
	}
	return nil, after
}
