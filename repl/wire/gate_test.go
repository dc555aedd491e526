package wire_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
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
				wire.LetInHandshake(gate, g.from)
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
		if n, _ := wire.GateHosts(gate); n != 0 {
			t.Errorf("%d hosts still wait at the gate", n)
		}
		if err := wire.BeginHandshake(gate, gateHost(1), time.Now()); err != nil {
			t.Errorf("got %v with a free place", err)
		}
	})
}

// A host that begins handshakes and proves nothing by them must cost a node a bounded part of its time,
// however fast it is: the place that it leaves free is of no use to it. It must keep out neither other hosts,
// nor those of its own who prove who they are.
func TestGateKeepsAccount(t *testing.T) {
	if wrong := gateUnpaid(t); wrong != "" {
		t.Error(wrong)
	}
}

// gateUnpaid says what is wrong with how many handshakes a gate begins that prove nothing; "" if nothing is.
func gateUnpaid(t *testing.T) (wrong string) {
	const (
		span = time.Minute
		work = 200 * time.Microsecond
		most = wire.UnprovenBurst + wire.UnprovenRate*int(span/time.Second)
	)
	synctest.Test(t, func(*testing.T) {
		gate := wire.NewGate(1)
		began := time.Now()
		var begun, own, others atomic.Int64
		var all sync.WaitGroup
		for range 100 { // each begins one after the other
			all.Go(func() {
				for time.Since(began) < span {
					if wire.BeginHandshake(gate, gateHost(1), began.Add(span)) == nil {
						begun.Add(1)
						time.Sleep(work) // in the bubble's time
						wire.LeaveGate(gate)
					}
				}
			})
		}
		good := func(from net.Addr, let *atomic.Int64) {
			for time.Since(began) < span {
				if wire.BeginHandshake(gate, from, time.Now().Add(wire.HelloTimeout)) == nil {
					time.Sleep(work)
					wire.LeaveGate(gate)
					wire.LetInHandshake(gate, from)
					let.Add(1)
				}
				time.Sleep(time.Second / 20)
			}
		}
		all.Go(func() { good(gateHost(1), &own) })
		all.Go(func() { good(gateHost(2), &others) })
		all.Wait()
		switch {
		case int(begun.Load()) > most:
			wrong = fmt.Sprintf("%d handshakes that prove nothing were begun in %v; want %d at most", begun.Load(), span, most)
		case int(begun.Load()) < most*9/10:
			wrong = fmt.Sprintf("only %d handshakes of strangers were begun in %v; want about %d", begun.Load(), span, most)
		case others.Load() < 1100: // 20 in a second
			wrong = fmt.Sprintf("%d of some 1,200 handshakes of another host were let in", others.Load())
		case own.Load() < 20: // one in a second or so: it has a hundredth of the turns
			wrong = fmt.Sprintf("%d good handshakes of the host itself were let in", own.Load())
		}
	})
	return wrong
}

// Many good clients of one host come back at once: the account must not hold them up.
func TestGateLetsStormsPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const clients, work = 2000, 300 * time.Microsecond
		gate := wire.NewGate(1)
		began := time.Now()
		var all sync.WaitGroup
		for range clients {
			all.Go(func() {
				if err := wire.BeginHandshake(gate, gateHost(1), began.Add(wire.HelloTimeout)); err != nil {
					t.Error(err)
					return
				}
				time.Sleep(work)
				wire.LeaveGate(gate)
				time.Sleep(10 * time.Millisecond) // the rest of its hello is on its way
				wire.LetInHandshake(gate, gateHost(1))
			})
		}
		all.Wait()
		if took, want := time.Since(began), clients*work; took > want+time.Second {
			t.Errorf("%d clients were let in after %v; the work takes %v", clients, took, want)
		}
	})
}

// A stranger who has as many addresses as he likes must not fill the memory, nor get more than the hosts
// that a gate can tell apart.
func TestGateForgetsHosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := wire.NewGate(1)
		from := func(i int) net.Addr { return &net.TCPAddr{IP: net.IPv4(10, 1, byte(i>>8), byte(i)), Port: 1} }
		begun := 0
		flood := func() {
			for i := range 4 * wire.GateHostsMax {
				if wire.BeginHandshake(gate, from(i), time.Now()) == nil {
					begun++
					wire.LeaveGate(gate)
				}
			}
		}
		flood()
		if _, known := wire.GateHosts(gate); known != wire.GateHostsMax+1 {
			t.Errorf("the gate keeps account of %d hosts, want %d", known, wire.GateHostsMax+1)
		}
		if want := wire.GateHostsMax + wire.UnprovenBurst; begun != want {
			t.Errorf("%d handshakes were begun, want one of each host that is known and %d of the rest", begun, want)
		}
		time.Sleep(time.Second) // in the bubble's time: all have paid
		flood()
		if _, known := wire.GateHosts(gate); known > wire.GateHostsMax+1 {
			t.Errorf("the gate keeps account of %d hosts, want %d at most", known, wire.GateHostsMax+1)
		}
	})
}

// A charge counts as a handshake: a host that is charged more often than it may begin handshakes is told to wait, for as
// long as it would have to for those, and no other host is.
func TestGateCharges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := wire.NewGate(1)
		many := 0
		for gate.Charge(gateHost(1)) {
			many++
		}
		if many != 64 {
			t.Errorf("%d at once are let go on, want 64", many)
		}
		if !gate.Charge(gateHost(2)) {
			t.Error("another host has to wait")
		}
		time.Sleep(100 * time.Millisecond)
		many = 0
		for gate.Charge(gateHost(1)) {
			many++
		}
		if many != 9 { // and one was charged that was told to wait
			t.Errorf("%d more are let go on after a tenth of a second, want 9", many)
		}
	})
}
