package repl

import (
	"testing"
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
	const tick = time.Minute // far longer than this machine stands still between two lines
	p := newPulse(tick, 5)
	defer p.ticker.Stop()
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
	}{{tick / 2, 0}, {tick * 5 / 2, 2}, {4 * tick, 4}, {100 * tick, 5}} {
		p.last = time.Now().Add(-test.passed)
		if got := p.due(); got != test.want {
			t.Errorf("%s after the last ticks %d are due, want %d", test.passed, got, test.want)
		}
	}
	p.last = time.Now()
	if got := p.fired(); got != 1 {
		t.Errorf("the ticker brings %d ticks, want at least 1", got)
	}
	p.follow(false)
	if got := p.due(); got != 0 || p.slow {
		t.Errorf("busy again, it gives %d ticks beside the ticker's", got)
	}
}
