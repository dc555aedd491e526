package repl

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"muster/raft"
	"muster/repl/wire"
)

// beatCounter is a transport that counts the heartbeats to each node.
type beatCounter struct {
	Transport
	sent map[raft.NodeID]int
}

func (b *beatCounter) SendBeat(to raft.NodeID, beat *wire.Beat, answer bool) {
	if !answer {
		b.sent[to]++
	}
	b.Transport.SendBeat(to, beat, answer)
}

// Nodes whose groups all rest say that they are there, and no more often than
// it takes to be believed. They are given their ticks some at a time, and nobody
// wakes for that; one command, and all is as always.
func TestIdleHostsSpeakSeldom(t *testing.T) {
	c := written(t, 95, 5)
	c.until("all groups rest", c.resting)
	counts := map[*testNode]*beatCounter{}
	for _, n := range c.nodes {
		counts[n] = &beatCounter{Transport: n.host.cfg.Transport, sent: map[raft.NodeID]int{}}
		n.host.cfg.Transport = counts[n]
	}
	const timeouts = 50
	round := func() {
		for len(c.net) > 0 {
			p := c.net[0]
			c.net = c.net[1:]
			c.deliver(p)
		}
	}
	for range timeouts * idleBeatsPerTimeout {
		for _, n := range c.nodes {
			if !n.host.Idle() || !c.resting() {
				t.Fatalf("node %d is idle: %v", n.id, n.host.Idle())
			}
			for range n.host.IdleTicks() {
				n.host.Tick()
			}
			n.turn()
			round()
		}
	}
	for n, count := range counts {
		for to, sent := range count.sent {
			if most := timeouts * idleBeatsPerTimeout * 5 / 4; sent > most || sent < timeouts*idleBeatsPerTimeout/2 {
				t.Errorf("node %d sent %d heartbeats to node %d in %d election time-outs, want at most %d", n.id, sent, to, timeouts, most)
			}
		}
	}
	lead := c.leadsNow(1)
	c.propose(lead, 1, 1<<40)
	if lead.host.Idle() {
		t.Error("a host with a command is idle")
	}
	c.until("it is acknowledged", func() bool { return c.acked[1<<40] })
	c.until("all groups rest", c.resting)
	for _, n := range c.nodes {
		if n.batch == nil && n.work == nil && !n.host.Idle() {
			t.Errorf("node %d has %d groups awake, and all rest", n.id, n.host.awake)
		}
	}
}

// What wakes a loop that gives ticks seldom brings those that are due, so that
// the host's clock is right when it is told something; and a process that stood
// still is not given the ticks of that time.
func TestPulse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const tick, most = 50 * time.Millisecond, 5
		p := &pulse{tick: tick, most: most, ticker: plainTicker{time.NewTicker(tick)}}
		defer p.ticker.stop()
		if got := p.due(); got != 0 {
			t.Errorf("busy, it gives %d ticks beside the ticker's", got)
		}
		if got := p.fired(); got != 1 {
			t.Errorf("busy, the ticker brings %d ticks", got)
		}
		p.follow(true)
		for _, test := range []struct {
			passed time.Duration
			want   int
		}{
			{tick / 2, 0}, {tick * 5 / 2, 3}, {4 * tick, 4}, {100 * tick, most},
			{most * tick, most}, {(most + 1) * tick, most}, {tick - 1, 0}, {1, 1},
		} {
			time.Sleep(test.passed)
			if got := p.due(); got != test.want {
				t.Errorf("%s after the last ticks %d are due, want %d", test.passed, got, test.want)
			}
		}
		if got := p.fired(); got != 1 {
			t.Errorf("the ticker brings %d ticks, want at least 1", got)
		}
		p.follow(false)
		if got := p.due(); got != 0 || p.slow {
			t.Errorf("busy again, it gives %d ticks beside the ticker's", got)
		}
	})
}

// Idle nodes began to be so at any time, and yet come to wake at the same one: each of
// them once for its ticks and for what the others say. And their clocks go right.
func TestPulsesMeet(t *testing.T) {
	for _, offsets := range [][]time.Duration{
		{0, 120 * time.Millisecond}, {0, 10 * time.Millisecond}, {0, 240 * time.Millisecond}, {0, 0},
		{0, 90 * time.Millisecond, 170 * time.Millisecond}, {0, 45 * time.Millisecond, 49 * time.Millisecond, 130 * time.Millisecond, 245 * time.Millisecond},
	} {
		t.Run(fmt.Sprint(offsets), func(t *testing.T) { synctest.Test(t, func(t *testing.T) { pulsesMeet(t, offsets) }) })
	}
}

// pulsesMeet runs loops that become idle at these times, and do nothing but speak.
func pulsesMeet(t *testing.T, offsets []time.Duration) {
	const (
		tick, most = 50 * time.Millisecond, 5
		latency    = 200 * time.Microsecond
		together   = time.Millisecond
		settled    = 10 * time.Second // so long they may take to meet
		measured   = 10 * time.Second
	)
	type loop struct {
		wake  chan struct{}
		wakes int // how often it woke, once settled; what is due together counts as one
		ticks int // all
	}
	began := time.Now()
	stop := make(chan struct{})
	var all []*loop
	for range offsets {
		all = append(all, &loop{wake: make(chan struct{}, 1)})
	}
	var ended sync.WaitGroup
	for i, l := range all {
		ended.Go(func() {
			time.Sleep(offsets[i])
			p := &pulse{tick: tick, most: most, ticker: plainTicker{time.NewTicker(tick)}}
			defer p.ticker.stop()
			p.follow(true)
			spoke, wokenAt := 0, time.Now()
			for {
				select {
				case <-stop:
					return
				case <-p.ticker.channel():
					l.ticks += p.fired()
				case <-l.wake:
					l.ticks += p.due()
				}
				now := time.Now()
				if now.Sub(began) > settled && now.Sub(wokenAt) > together {
					l.wakes++
				}
				wokenAt = now
				if l.ticks-spoke < most-idleBeatSlack {
					continue
				}
				spoke = l.ticks
				for _, other := range all {
					if other != l {
						time.AfterFunc(latency, func() {
							select {
							case other.wake <- struct{}{}:
							default:
							}
						})
					}
				}
			}
		})
	}
	time.Sleep(settled + measured)
	close(stop)
	ended.Wait()
	const pulses = int(measured / (most * tick))
	for i, l := range all {
		took := time.Since(began) - offsets[i]
		if want := int(took / tick); l.ticks < want-most-1 || l.ticks > want {
			t.Errorf("loop %d got %d ticks, want %d", i, l.ticks, want)
		}
		if l.wakes > pulses+1 {
			t.Errorf("loop %d woke %d times in %d pulses", i, l.wakes, pulses)
		}
	}
}
