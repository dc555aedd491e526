package health

import "time"

// share is what one service has of the places for probes. A service may begin another probe
// while fewer of its own are under way than places are free. So targets that hang leave room: n
// services of them come to hold n/(n+1) of the places, and one that needs few finds them free.
// One that began alone has more, up to half, until its probes end: then 1/2^n of the places
// are free at least.
// Its other checks that are due wait here, and not in the way of those behind them.
type share struct {
	running int      // probes under way, with those that are cancelled and have not ended
	late    schedule // checks that are due, and for which there was no place
	users   int      // checks that have it: when the last one leaves, it goes
	place   int      // among the shares with late checks
}

// shares has the shares with late checks, the one that gets the next free place first.
type shares = queue[*share]

// earlier orders shares by what they have already: the one with the fewest probes under way is
// the first that may begin another, and no service waits for ever for one that has more. Among
// equals the check that is due the longest decides.
func (x *share) earlier(o *share) bool {
	if x.running != o.running {
		return x.running < o.running
	}
	return x.late[0].earlier(o.late[0])
}

func (x *share) moved(place int) { x.place = place }

// free returns how many more probes may begin.
func (c *Checker) free() int { return ProbesMax - len(c.running) }

// join gives a check the share of its service.
func (c *Checker) join(k *checking) {
	x := c.services[k.name]
	if x == nil {
		x = new(share)
		c.services[k.name] = x
	}
	x.users++
	k.share = x
}

// leave takes it away, once the check has ended and its probe too.
func (c *Checker) leave(k *checking) {
	if k.share.users--; k.share.users == 0 {
		delete(c.services, k.name)
	}
}

// runs notes that so many more probes of a share are under way.
func (c *Checker) runs(x *share, more int) {
	x.running += more
	if len(x.late) > 0 {
		c.late.fix(x.place)
	}
}

// postpone has a check that is due wait until its service may begin another probe.
func (c *Checker) postpone(k *checking) {
	c.counts.Late++
	k.late = true
	x := k.share
	x.late.add(k)
	if len(x.late) == 1 {
		c.late.add(x)
	} else {
		c.late.fix(x.place)
	}
}

// recall takes a check out that was postponed.
func (c *Checker) recall(k *checking) {
	x := k.share
	x.late.remove(k.place)
	k.late = false
	if len(x.late) == 0 {
		c.late.remove(x.place) // which does not compare it: nothing of it is late
	} else {
		c.late.fix(x.place)
	}
}

// due takes out a check that may be probed now, or returns nil. Those that are late come first.
// Checks that are due and may not be probed are postponed, each once for each of its probes.
func (c *Checker) due(now time.Duration) *checking {
	free := c.free()
	if len(c.late) > 0 && c.late[0].running < free {
		k := c.late[0].late[0]
		c.recall(k)
		return k
	}
	for len(c.waiting) > 0 && c.waiting[0].next <= now {
		k := c.waiting.remove(0)
		if k.share.running < free {
			return k
		}
		c.postpone(k)
	}
	return nil
}
