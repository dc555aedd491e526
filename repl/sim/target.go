package sim

import (
	"fmt"
	"time"

	"muster/shardmap/registry"
)

// What instances of services really are. They go up and down and hang while the run has faults,
// and stay as they are afterwards: that is what each status must come to.

const (
	// servicesEvery is how many runs there are to one with services.
	servicesEvery = 6
	// targetCount is how many targets there are. Instances share them.
	targetCount = 6
	// These are the shortest and the longest times for which a target is down, and up.
	downMin, downMax = 500 * time.Millisecond, 40 * time.Second
	upMin, upMax     = time.Second, 2 * time.Minute
	// flapEvery is how many changes there are for each one after which a target flaps for a while.
	flapEvery = 8
	// flapsMost is how often it changes then.
	flapsMost = 14
)

// lags are how much longer than usual polls and answers may be on their way; a run has one of
// them. Those between two nodes stay in order, so that each one that arrives counts. With the
// longest lag, nodes are silent for too long now and then, and their answers arrive nevertheless.
var lags = [...]time.Duration{0, 200 * time.Millisecond, 800 * time.Millisecond, 1300 * time.Millisecond}

// targetState says what a target does with a probe.
type targetState uint8

const (
	targetUp    targetState = iota // it answers
	targetDown                     // it refuses
	targetHangs                    // it does neither
)

// target is what instances stand for.
type target struct {
	host    string
	state   targetState
	changes []targetChange // that it ever had, in order; the first is its beginning
	flaps   int            // changes that follow fast
}

type targetChange struct {
	at time.Duration
	to targetState
}

func (t *target) set(c *cluster, to targetState) {
	t.state = to
	t.changes = append(t.changes, targetChange{c.now, to})
}

// was reports whether the target was up at any moment from some time on, or if up is false
// whether it was not.
func (t *target) was(up bool, from time.Duration) bool {
	for i := len(t.changes) - 1; i >= 0; i-- {
		if (t.changes[i].to == targetUp) == up {
			return true
		}
		if t.changes[i].at <= from {
			break // it was that from then on
		}
	}
	return false
}

// services is what a run has of services.
type services struct {
	c       *cluster
	active  bool
	ended   bool // all were deleted: nobody checks any more
	beats   beats
	lag     time.Duration // the most that polls and answers take on their way, over the usual time
	names   []string
	targets []*target
	reports uint64 // that assigners proposed
	secrets uint64 // of definitions so far
}

// draw decides whether the run has services, by a chance of its own: so runs without any are as
// they would be if there were no services.
func (x *services) draw(c *cluster) {
	own := chance(c.options.Seed*0x9fb21c651e98df25 + 11)
	x.c = c
	x.active = c.options.has(Targets, own.below(servicesEvery) == 0)
}

// init makes the targets, and the names that services may have: each is in a slot of the run.
func (x *services) init() {
	if !x.active {
		return
	}
	c := x.c
	x.lag = lags[c.chance.below(len(lags))]
	for i := range targetCount {
		t := &target{host: fmt.Sprintf("target-%d", i)}
		t.set(c, targetState(c.chance.below(3)))
		x.targets = append(x.targets, t)
		x.changes(t)
	}
	for _, tag := range c.tags {
		if len(x.names) == 0 || c.chance.below(2) == 0 {
			x.names = append(x.names, "{"+tag+"}service")
		}
	}
	x.beats.init(c)
}

// changes plans the next change of a target.
func (x *services) changes(t *target) {
	c := x.c
	d := c.chance.skewed(downMin, downMax)
	switch {
	case t.flaps > 0:
		t.flaps--
		d = c.chance.between(downMin, 3*time.Second)
	case t.state == targetUp:
		d = c.chance.skewed(upMin, upMax)
	}
	c.order.call(d, func() {
		if c.chaos.stopped {
			return
		}
		if t.flaps == 0 && c.chance.below(flapEvery) == 0 {
			t.flaps = c.chance.below(flapsMost)
		}
		to := targetUp
		if t.state == targetUp {
			to = targetDown + targetState(c.chance.below(2))
		}
		t.set(c, to)
		c.result.Fired[Targets]++
		x.changes(t)
	})
}

// target returns what an instance stands for.
func (x *services) target(i *registry.Instance) *target { return x.at(i.Get("host")) }

func (x *services) at(host string) *target {
	for _, t := range x.targets {
		if t.host == host {
			return t
		}
	}
	x.c.fail("no target is called %q", host)
	return nil
}
