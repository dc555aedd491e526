package mover

import (
	"fmt"
	"testing"
	"time"
)

// course is what passes in a world of these tests: time, what is yet to come, and a log of
// what was.
type course struct {
	t     *testing.T
	now   time.Duration
	later []event
	log   []string
	// planted says that the world is to find a planted bug: it fails by a panic with what is
	// broken.
	planted bool
	pass    func() // lets a little time pass
	stand   func() // notes how all stands, where what was waited for does not come
}

type event struct {
	at time.Duration
	do func()
}

type broken string

// logShown is how many lines of its log a world that fails shows.
const logShown = 120

func (c *course) note(format string, a ...any) {
	c.log = append(c.log, fmt.Sprintf("%9.4f ", c.now.Seconds())+fmt.Sprintf(format, a...))
}

func (c *course) fail(format string, a ...any) {
	c.t.Helper()
	if c.planted {
		panic(broken(fmt.Sprintf(format, a...)))
	}
	for _, l := range c.log[max(0, len(c.log)-logShown):] {
		c.t.Log(l)
	}
	c.t.Fatalf(format, a...)
}

func (c *course) after(d time.Duration, f func()) { c.later = append(c.later, event{c.now + d, f}) }

func (c *course) run(d time.Duration) {
	for end := c.now + d; c.now < end; {
		c.pass()
	}
}

// until runs until something holds.
func (c *course) until(what string, within time.Duration, ok func() bool) {
	c.t.Helper()
	for end := c.now + within; !ok(); {
		if c.now > end {
			c.stand()
			c.fail("not within %s: %s", within, what)
		}
		c.pass()
	}
}
