package repl

import (
	"sync/atomic"
	"time"
)

// ClockJump is a moment at which the wall clock of a host left the monotonic one: somebody
// set it, or the host was suspended.
type ClockJump struct {
	By    time.Duration // how far the wall clock got ahead; below 0: it went back
	At    time.Duration // when that was seen, by the host's clock
	Count int           // of all since the start, this one included
}

// jumpMin is how far the wall clock must go at once to have jumped: farther than what a
// daemon that keeps it right does in a turn.
const jumpMin = time.Second

// jumps remembers the last jump. One goroutine looks, any may read last.
type jumps struct {
	ahead  time.Duration // of the wall clock, as of the last look
	looked bool
	last   atomic.Pointer[ClockJump] // nil: there was none
}

// look is told what the two clocks show, each from the same moment on.
func (j *jumps) look(wall, mono time.Duration) {
	by, first := wall-mono-j.ahead, !j.looked
	j.ahead, j.looked = wall-mono, true
	if first || by < jumpMin && by > -jumpMin {
		return
	}
	made := &ClockJump{By: by, At: mono, Count: 1}
	if was := j.last.Load(); was != nil {
		made.Count += was.Count
	}
	j.last.Store(made)
}

// ClockJump returns the last jump of the wall clock since the loop was started; its Count is 0
// if there was none. Any goroutine may call it.
func (l *Loop) ClockJump() ClockJump {
	if j := l.jumps.last.Load(); j != nil {
		return *j
	}
	return ClockJump{}
}
