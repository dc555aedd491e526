package wire_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"muster/repl/wire"
)

// gateHost is some host's address.
func gateHost(i int) net.Addr {
	return &net.TCPAddr{IP: net.IPv4(192, 0, 2, byte(i)), Port: 1}
}

// gateWork is how long a handshake is worked on, and gateHalf how much of that is done before it
// waits for the dialler.
const (
	gateWork = 10 * time.Millisecond
	gateHalf = gateWork / 2
)

// gateGoer is a dialler that gives up after a time.
type gateGoer struct {
	after time.Duration // it comes
	from  net.Addr
	stays time.Duration
}

// gateServed runs handshakes through a gate for one at once, and returns how many of the diallers
// of each host were let in.
func gateServed(goers []gateGoer) map[string]int {
	served := map[string]*atomic.Int64{}
	for _, g := range goers {
		served[g.from.String()] = new(atomic.Int64)
	}
	gate := wire.NewGate(1)
	for _, g := range goers {
		go func() {
			time.Sleep(g.after) // in the bubble's time: this is when it comes
			ctx, cancel := context.WithTimeout(context.Background(), g.stays)
			defer cancel()
			until, _ := ctx.Deadline()
			if wire.BeginHandshake(gate, g.from, until) != nil {
				return
			}
			time.Sleep(gateHalf)
			wire.LeaveGate(gate)
			if wire.ResumeHandshake(gate, until) != nil {
				return
			}
			time.Sleep(gateHalf)
			wire.LeaveGate(gate)
			if ctx.Err() == nil {
				served[g.from.String()].Add(1)
			}
		}()
	}
	synctest.Wait()
	time.Sleep(time.Minute)
	synctest.Wait()
	got := map[string]int{}
	for from, n := range served {
		got[from] = int(n.Load())
	}
	return got
}

// gateStorm is many diallers that come back again and again, faster than the gate lets them in: those
// of one host, as after the restart of a node, or a flood beside a few others.
func gateStorm(from net.Addr, each, span time.Duration) (goers []gateGoer) {
	for after := time.Duration(0); after < span; after += each {
		goers = append(goers, gateGoer{after: after, from: from, stays: time.Second})
	}
	return goers
}

// However many diallers come, the work must go into those that still wait. One would doubt it: with more
// diallers than a node can serve, those that have waited longest are the next to give up.
func TestGateServesTheLiving(t *testing.T) {
	if wrong := gateStarves(t); wrong != "" {
		t.Error(wrong)
	}
}

// gateStarves says what is wrong with whom a gate lets in; "" if nothing is.
func gateStarves(t *testing.T) (wrong string) {
	synctest.Test(t, func(*testing.T) {
		const span = 20 * time.Second
		one := gateHost(1)
		n := gateServed(gateStorm(one, gateWork/4, span))[one.String()] // four times what can be served
		if most := int(span / gateWork); n < most*8/10 {
			wrong = fmt.Sprintf("%d of the %d handshakes that fit into the time let somebody in", n, most)
		}
	})
	return wrong
}

// A host that floods a node must not keep others out: each of theirs comes within its time.
func TestGateIsFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		goers := gateStorm(gateHost(1), gateWork/10, 10*time.Second)
		want := map[string]int{}
		for i := 2; i < 6; i++ {
			for after := 500 * time.Millisecond; after < 10*time.Second; after += 500 * time.Millisecond {
				goers = append(goers, gateGoer{after: after, from: gateHost(i), stays: 100 * time.Millisecond})
				want[gateHost(i).String()]++
			}
		}
		got := gateServed(goers)
		for from, n := range want {
			if got[from] != n {
				t.Errorf("%d of the %d handshakes from %s were let in, beside a flood", got[from], n, from)
			}
		}
	})
}

// A dialler whose turn does not come in time is told so by the end of its connection, and leaves nothing
// behind in the gate.
func TestGateTurnEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := wire.NewGate(1)
		if err := wire.BeginHandshake(gate, gateHost(1), time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		for i := range 20 {
			if err := wire.BeginHandshake(gate, gateHost(i), time.Now().Add(time.Second)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("got %v", err)
			}
		}
		if err := wire.ResumeHandshake(gate, time.Now().Add(-time.Second)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		wire.LeaveGate(gate)
		if n := wire.GateHosts(gate); n != 0 {
			t.Errorf("the gate still knows %d hosts", n)
		}
		if err := wire.BeginHandshake(gate, gateHost(1), time.Now()); err != nil {
			t.Errorf("got %v with a free place", err)
		}
	})
}
