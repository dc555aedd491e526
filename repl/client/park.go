package client

import (
	"slices"
	"time"
)

// parkedOn says what else than the time ends a call's wait.
type parkedOn uint8

const (
	onTime  parkedOn = iota // nothing else
	onPeer                  // Call.onPeer is up, or is not to be had
	onTable                 // a table came, or some peer is up
	onGroup                 // the call's group has another leader
	onMove                  // the call's slot is known to be of another group than was asked
)

// park holds the calls that wait, as a heap with the first to wake on top.
// Looking for those that wait for an event is a walk over all of them: events
// are rare, and a node's failure concerns most of them anyway.
type park struct {
	heap []*Call
}

func (p *park) len() int { return len(p.heap) }

func (p *park) first() (time.Duration, bool) {
	if len(p.heap) == 0 {
		return 0, false
	}
	return p.heap[0].wake, true
}

func (p *park) add(c *Call, on parkedOn, wake time.Duration) {
	if c.place >= 0 {
		panic("client: a call is parked twice")
	}
	c.on, c.wake, c.place = on, wake, len(p.heap)
	p.heap = append(p.heap, c)
	p.up(c.place)
}

// remove takes c out; false if it is not there.
func (p *park) remove(c *Call) bool {
	i := c.place
	if i < 0 || i >= len(p.heap) || p.heap[i] != c {
		return false
	}
	last := len(p.heap) - 1
	p.swap(i, last)
	p.heap[last] = nil
	p.heap = p.heap[:last]
	if i < last {
		p.down(i)
		p.up(i)
	}
	c.place = -1
	return true
}

// due takes out the calls whose time has come, those that came first to the
// core first.
func (p *park) due(now time.Duration) []*Call {
	var out []*Call
	for len(p.heap) > 0 && p.heap[0].wake <= now {
		c := p.heap[0]
		p.remove(c)
		out = append(out, c)
	}
	return inOrder(out)
}

// matching takes out the calls that f says yes to.
func (p *park) matching(f func(*Call) bool) []*Call {
	var out []*Call
	kept := p.heap[:0]
	for _, c := range p.heap {
		if f(c) {
			c.place = -1
			out = append(out, c)
		} else {
			kept = append(kept, c)
		}
	}
	if len(out) == 0 {
		return nil
	}
	clear(p.heap[len(kept):])
	p.heap = kept
	for i, c := range p.heap {
		c.place = i
	}
	for i := len(p.heap)/2 - 1; i >= 0; i-- {
		p.down(i)
	}
	return inOrder(out)
}

func (p *park) all() []*Call { return p.matching(func(*Call) bool { return true }) }

func inOrder(calls []*Call) []*Call {
	slices.SortFunc(calls, func(a, b *Call) int {
		if a.ticket < b.ticket {
			return -1
		}
		return 1
	})
	return calls
}

func (p *park) before(i, j int) bool {
	a, b := p.heap[i], p.heap[j]
	return a.wake < b.wake || a.wake == b.wake && a.ticket < b.ticket
}

func (p *park) swap(i, j int) {
	p.heap[i], p.heap[j] = p.heap[j], p.heap[i]
	p.heap[i].place, p.heap[j].place = i, j
}

func (p *park) up(i int) {
	for i > 0 && p.before(i, (i-1)/2) {
		p.swap(i, (i-1)/2)
		i = (i - 1) / 2
	}
}

func (p *park) down(i int) {
	for {
		least := i
		for j := 2*i + 1; j <= 2*i+2 && j < len(p.heap); j++ {
			if p.before(j, least) {
				least = j
			}
		}
		if least == i {
			return
		}
		p.swap(i, least)
		i = least
	}
}
