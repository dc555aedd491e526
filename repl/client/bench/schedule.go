package bench

import (
	"sync"
	"time"
)

const (
	// LateAfter is how long after it was due an operation of an open loop may
	// be started and not be called late: what a busy machine takes to wake
	// somebody.
	LateAfter = time.Millisecond
	// paceMin is the shortest sleep of the pacer: over ten thousand a second
	// those that fell due meanwhile are started together, up to so much late.
	// That is in their figures.
	paceMin = 100 * time.Microsecond
	// paceMax bounds its sleep, so that an interrupted run ends.
	paceMax = 100 * time.Millisecond
)

// schedule says when what is due in an open loop. Its pacer releases what fell
// due, and callers that are free take it, in order.
type schedule struct {
	plan   *Plan
	began  time.Time
	length time.Duration
	total  int64 // due before the end
	alarm  *alarm
	pacer  sync.WaitGroup

	// Of who takes: guarded by mu if there are several.
	taken int64 // Invariant: <= released, where callers wait for release

	mu       sync.Mutex
	free     sync.Cond // something is released, or it is over
	released int64     // Invariant: <= total
	over     bool
}

func newSchedule(p *Plan, began time.Time, length time.Duration) (*schedule, error) {
	a, err := newAlarm()
	if err != nil {
		return nil, err
	}
	s := &schedule{plan: p, began: began, length: length, total: p.dueBy(length), alarm: a}
	s.free.L = &s.mu
	if !p.Pipelined {
		s.start(s.signal)
	}
	return s, nil
}

// start starts the pacer. It calls wake with how many fell due.
func (s *schedule) start(wake func(n int64)) {
	s.pacer.Go(func() {
		for s.pace(wake) {
		}
	})
}

// pace releases what is due and sleeps until more is; false once all was.
func (s *schedule) pace(wake func(n int64)) bool {
	now := time.Since(s.began)
	s.mu.Lock()
	before := s.released
	for s.released < s.total && s.plan.due(s.released) <= now {
		s.released++
	}
	n, over, next := s.released-before, s.over || s.released == s.total, s.plan.due(s.released)
	s.mu.Unlock()
	if n > 0 {
		wake(n)
	}
	return !over && s.alarm.sleep(min(max(next-now, paceMin), paceMax)) == nil
}

// signal wakes one caller for each that fell due.
func (s *schedule) signal(n int64) {
	if n >= int64(s.plan.InFlight) {
		s.free.Broadcast()
		return
	}
	for range n {
		s.free.Signal()
	}
}

// take waits for the next that is released and returns when it was due; false
// once it is over.
func (s *schedule) take() (due time.Time, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.taken == s.released && s.taken < s.total && !s.over {
		s.free.Wait()
	}
	if s.over || s.taken == s.total {
		return time.Time{}, false
	}
	s.taken++
	return s.began.Add(s.plan.due(s.taken - 1)), true
}

// left reports whether something is not taken. For a single taker.
func (s *schedule) left() bool { return s.taken < s.total }

// next is when the next is due. For a single taker.
func (s *schedule) next() time.Duration { return s.plan.due(s.taken) }

// miss counts what was due and not taken, with the time that it had waited when
// the loop was over.
func (s *schedule) miss(x *caller) {
	for ; s.taken < s.total; s.taken++ {
		x.miss++
		x.took.record(s.length - s.plan.due(s.taken))
	}
}

// stop ends it, before its time too.
func (s *schedule) stop() {
	s.mu.Lock()
	s.over = true
	s.mu.Unlock()
	s.free.Broadcast()
}

// wait waits for the pacer, after stop.
func (s *schedule) wait() {
	s.pacer.Wait()
	s.alarm.close()
}
