package client

import (
	"slices"
	"testing"
	"time"
)

// line is a node that does so much in a millisecond, in the order in which it
// came, at the end of a way that takes some time.
type line struct {
	pressure
	now    time.Duration
	each   int           // done in a millisecond
	way    time.Duration // there and back
	queue  []time.Duration
	probed bool
	probe  time.Duration
	left   int // of the queue, before the probe
	took   []time.Duration
	idle   int // how often less was done than could have been
}

func newLine(each int, way time.Duration) *line {
	l := &line{each: each, way: way}
	l.limit.Store(limitNone)
	return l
}

// pass lets a millisecond pass, in which so many calls try, that have so long
// still.
func (l *line) pass(calls int, wait time.Duration) {
	l.now += time.Millisecond
	for range calls {
		x := &Call{Target: ToSlot, Deadline: l.now + wait}
		if l.holds(x, l.now) {
			continue
		}
		l.underWay.Add(1)
		if !l.probed {
			l.probed, l.probe, l.left = true, l.now, len(l.queue)
		}
		l.queue = append(l.queue, l.now)
	}
	done := 0
	for done < l.each && done < len(l.queue) && l.queue[done]+l.way <= l.now {
		l.took = append(l.took, l.now-l.queue[done])
		done++
	}
	if done < l.each {
		l.idle++
	}
	l.queue = l.queue[done:]
	if done == 0 {
		return
	}
	l.left -= done
	among, takes := l.probed && l.left < 0, time.Duration(0)
	if l.probed {
		takes = l.now - l.probe
	}
	l.probed = l.probed && !among
	l.pressure.answered(l.now, done, takes, among)
}

func (l *line) slowest() time.Duration { return slices.Max(l.took) }

// A client must ask a node for no more than it answers in time, and for no less:
// held back too much, the node would be idle. When it keeps up again, all must
// be as before. Who is merely far away, or asks little, is never held back.
func TestPressure(t *testing.T) {
	for _, each := range []int{3, 30, 300} {
		l := newLine(each, time.Millisecond)
		for range 3000 {
			l.pass(5*each, time.Second)
		}
		l.took, l.idle = nil, 0
		for range 5000 {
			l.pass(5*each, time.Second)
		}
		if most := l.slowest(); most > 2*slowAnswer {
			t.Errorf("%d a millisecond: after 3 s of five times as much an answer takes %v, want %v at most", each, most, 2*slowAnswer)
		}
		if l.idle > 50 {
			t.Errorf("%d a millisecond: the node did less than it could in %d ms of 5,000, want 50 at most", each, l.idle)
		}
		for range 3000 {
			l.pass(each/3, time.Second)
		}
		l.took = nil
		for range 100 {
			l.pass(each/3, time.Second)
		}
		if most := l.slowest(); most > 10*time.Millisecond {
			t.Errorf("%d a millisecond: 3 s after the end an answer takes %v", each, most)
		}
		if x := (&Call{Deadline: l.now + time.Second}); l.holds(x, l.now) {
			t.Errorf("%d a millisecond: calls are held back after the end", each)
		}
	}

	far := newLine(100, 300*time.Millisecond)
	for range 3000 {
		far.pass(50, time.Second)
	}
	if limit := far.limit.Load(); limit != limitNone {
		t.Errorf("a node that is 300 ms away got a limit of %d", limit)
	}

	few := newLine(1, 0)
	few.limit.Store(limitMin)
	few.takes.Store(int64(time.Minute))
	few.underWay.Store(limitMin - 1)
	if few.holds(&Call{Deadline: time.Millisecond}, 0) {
		t.Errorf("a call is held back with %d under way, want %d in any case", limitMin-1, limitMin)
	}
	few.underWay.Store(limitMin)
	if !few.holds(&Call{Deadline: time.Hour}, 0) {
		t.Errorf("a call is not held back at the limit")
	}
	if few.holds(&Call{Target: ToPeer, Deadline: time.Hour}, 0) {
		t.Errorf("a question to one node is held back")
	}
}
