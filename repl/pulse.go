package repl

import "time"

// pulse says when a host gets its ticks: one at a time while it has something to
// do, else several together. If something else wakes the loop, the host gets the
// ticks that are due.
type pulse struct {
	tick   time.Duration
	most   int // ticks at once
	ticker ticker
	slow   bool
	last   time.Time // while slow: the time up to which the host has had its ticks
}

func newPulse(tick time.Duration, most int) *pulse {
	return &pulse{tick: tick, most: most, ticker: newTicker(tick)}
}

// fired returns how many ticks are due when the ticker says so.
func (p *pulse) fired() int {
	if !p.slow {
		return 1
	}
	return max(p.due(), 1)
}

// due returns how many ticks are due when the loop wakes for something else. After
// a time in which the process did not run, there are no more than usual, as if the
// clock had stood still: what the others sent in that time is still to be
// read.
func (p *pulse) due() int {
	if !p.slow {
		return 0
	}
	now := time.Now()
	n := int(now.Sub(p.last) / p.tick)
	if n == 0 {
		return 0
	}
	if n > p.most {
		n, p.last = p.most, now
	} else {
		p.last = p.last.Add(time.Duration(n) * p.tick)
	}
	p.ticker.reset(time.Duration(p.most) * p.tick)
	return n
}

// follow slows the ticker down when the host is idle, and speeds it up when not.
func (p *pulse) follow(idle bool) {
	if idle == p.slow {
		return
	}
	p.slow = idle
	period := p.tick
	if idle {
		p.last = time.Now()
		period *= time.Duration(p.most)
	}
	p.ticker.reset(period)
}

// shortTimer says when a host gets its short ticks. While the host needs none there is no
// timer, and nothing wakes the loop.
type shortTimer struct {
	timer   *time.Timer      // nil: none is due
	channel <-chan time.Time // the timer's, or nil
}

// fired notes that the timer has. The next one begins with follow, so that a loop that was
// late gets one short tick and not all that it missed.
func (s *shortTimer) fired() { s.timer, s.channel = nil, nil }

// follow starts the timer for the next short tick, if one is due and it does not run.
func (s *shortTimer) follow(due bool) {
	if due && s.timer == nil {
		s.timer = time.NewTimer(ShortTick)
		s.channel = s.timer.C
	}
}

func (s *shortTimer) stop() {
	if s.timer != nil {
		s.timer.Stop()
	}
}
