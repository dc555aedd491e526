package wire

import (
	linked "container/list"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"time"
)

// Gate bounds how many handshakes of TLS are worked on at once. A handshake that waits for
// the other side does not count: so a stranger that says nothing holds up nobody, and one
// that begins as many as it can has no more of this process than those few have.
//
// If more want a turn than can have one, some wait in vain, and what matters is who.
// Handshakes that go on come first: half of their price is paid. Of those that begin, hosts
// take turns, so that one host's flood is in its own way; of one host's, the newest is
// first. The oldest has little time left, and first come, first served would work for
// diallers that have just given up: after a thousand of them came back at once, nobody
// would get in any more.
type Gate struct {
	// Members pass it at a gate of their own; nil: there are none. Set before the first handshake.
	Members *Members

	mu    sync.Mutex
	free  int                        // guarded by mu
	begun linked.List                // guarded by mu: the turns of handshakes that go on, oldest first
	hosts []*gateHost                // guarded by mu: those with turns; the first is next
	known map[netip.Prefix]*gateHost // guarded by mu: hosts by their network
}

// gateHost has the turns of the handshakes that begin and come from one host.
type gateHost struct {
	from  netip.Prefix
	turns linked.List // newest last
}

// gateTurn waits for a place. Its fields are guarded by the gate's mu.
type gateTurn struct {
	ready chan struct{} // closed when it has a place
	in    *linked.List  // nil once it has a place
	at    *linked.Element
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

// begin waits for a place for a handshake that begins. The error is one of time: none came
// before until.
func (g *Gate) begin(from netip.Prefix, until time.Time) error {
	return g.wait(until, func() *linked.List {
		h := g.known[from]
		if h == nil {
			h = &gateHost{from: from}
			g.known[from] = h
			g.hosts = append(g.hosts, h)
		}
		return &h.turns
	})
}

// resume waits for a place for a handshake that goes on. Its error is that of begin.
func (g *Gate) resume(until time.Time) error {
	return g.wait(until, func() *linked.List { return &g.begun })
}

func (g *Gate) wait(until time.Time, turns func() *linked.List) error {
	g.mu.Lock()
	if g.free > 0 {
		g.free--
		g.mu.Unlock()
		return nil
	}
	t := &gateTurn{ready: make(chan struct{}), in: turns()}
	t.at = t.in.PushBack(t)
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
		return nil // its place came with the end of its time
	}
	g.take(t)
	return fmt.Errorf("too many handshakes at once: no turn before the hello's time was over: %w", os.ErrDeadlineExceeded)
}

// take removes a turn from where it waits. g.mu is held.
func (g *Gate) take(t *gateTurn) {
	t.in.Remove(t.at)
	t.in = nil
}

// leave gives a place to the next, or back.
func (g *Gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.next()
	if t == nil {
		g.free++
		return
	}
	g.take(t)
	close(t.ready)
}

// next is the turn whose turn it is; nil if none waits. g.mu is held.
func (g *Gate) next() *gateTurn {
	if e := g.begun.Front(); e != nil {
		return e.Value.(*gateTurn)
	}
	for len(g.hosts) > 0 {
		h := g.hosts[0]
		g.hosts = g.hosts[1:]
		e := h.turns.Back()
		if bug(bugOldestFirst) {
			e = h.turns.Front()
		}
		if e == nil { // all its turns are over
			delete(g.known, h.from)
			continue
		}
		g.hosts = append(g.hosts, h)
		return e.Value.(*gateTurn)
	}
	return nil
}
