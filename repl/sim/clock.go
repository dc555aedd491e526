package sim

import (
	"time"

	"muster/repl"
)

const wallApart = 50 * time.Hour

// driftMax is how fast or slow a clock may be, in millionths.
const driftMax = 50_000

// hostClock is a monotonic clock that may differ from the world's, and the ticks that it
// gives.
type hostClock struct {
	n        *node
	base, at time.Duration // it was base when the world's was at
	rate     int64         // millionths
	planned  uint64        // the number of the tick that is planned
	slept    bool          // it stood still, and the host is to hear of it
	// shortPlanned: a short tick is.
	shortPlanned bool
}

// now is the process's monotonic clock.
func (t *hostClock) now() time.Duration {
	return t.base + max(t.n.c.now-t.at, 0)*time.Duration(t.rate)/1e6
}

// wall is the time that the host shows people, in ms since 1970. Hosts are days apart, so
// that a decision by it would show.
func (t *hostClock) wall() uint64 {
	const founded = 1_700_000_000_000
	return founded + uint64((t.n.c.now + time.Duration(t.n.index)*wallApart).Milliseconds())
}

func (t *hostClock) setRate(rate int64) {
	t.base, t.at, t.rate = t.now(), t.n.c.now, rate
}

// stand stops the clock for a while.
func (t *hostClock) stand(d time.Duration) { t.base, t.at, t.slept = t.now(), t.n.c.now+d, true }

// plan plans the next tick, in place of the one that was planned.
func (t *hostClock) plan(d time.Duration) {
	t.planned++
	e := t.n.event(evTick)
	e.number = t.planned
	t.n.c.after(d, e)
}

// shortTickMax bounds how late a short tick is: later ones come after a tick, and change
// nothing any more.
const shortTickMax = 2 * tick

// planShort plans a short tick, if the host needs one and none is planned. A busy host
// gets it late, and one whose timer is coarse may have it early.
func (t *hostClock) planShort() {
	if t.shortPlanned || !t.n.host.Hints.Due() {
		return
	}
	t.shortPlanned = true
	t.n.c.after(t.n.c.chaos.tickDelay(t.n, t.n.c.chance.skewed(repl.ShortTick/2, shortTickMax)), t.n.event(evShort))
}

// ticked takes one tick, and plans the next.
func (t *hostClock) ticked() {
	next := time.Duration(int64(tick) * 1e6 / t.rate)
	t.plan(t.n.c.chaos.tickDelay(t.n, next))
	if t.n.writer.batch == nil && t.n.c.now >= t.n.writer.roomAt {
		t.n.writer.roomAt = t.n.c.now + roomPause
		if t.n.writer.tidy(t.n.store.MakeRoom); !t.n.up {
			return
		}
	}
	t.n.files.measure()
	t.n.host.Tick()
	if t.n.turn(); t.n.up && t.n.c.flaws.active {
		t.n.c.flaws.look(t.n)
	}
}
