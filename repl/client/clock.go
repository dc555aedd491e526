package client

import (
	"sync"
	"sync/atomic"
	"time"
)

// clockJumpMin is by how much the wall clock must get ahead of the monotonic one
// until that counts as a jump: more than the two reads of one look lie apart. A
// wall clock that runs a little fast gets there too, in minutes, and then the
// client's time is as fast as that.
const clockJumpMin = 100 * time.Millisecond

// Clock is a client's time: what its monotonic clock measured, and besides what
// its wall clock jumped ahead.
//
// A host that is suspended (a laptop that is closed, a virtual machine that is
// paused) has a monotonic clock that stands still. The servers' time goes on, and
// after a while they forget which writes of a session they have applied. A write
// that is sent again then, as if no time had passed, is applied twice. The wall
// clock tells, so every age that decides whether something may be sent again is
// taken on this clock. One that is set forward ends calls too early, with the
// truth: maybe applied. One that is set back hides nothing but a suspension
// between the same two looks, which are a fraction of a second apart while calls
// are open.
//
// All methods may be called by any number of goroutines.
type Clock struct {
	jumped atomic.Int64 // what the wall clock got ahead so far, in ns
	base   atomic.Int64 // by how much the wall clock was ahead when that was noted

	mu sync.Mutex // held to change them, jumped first; no other lock is taken under it
}

// At returns the client's time where the monotonic clock is at mono. A jump
// since the last look is not in it.
func (k *Clock) At(mono time.Duration) time.Duration {
	return mono + time.Duration(k.jumped.Load())
}

// Look returns the client's time where the two clocks, each from when the client
// was opened, are at wall and mono.
func (k *Clock) Look(wall, mono time.Duration) time.Duration {
	ahead := int64(wall - mono)
	if d := ahead - k.base.Load(); d >= int64(clockJumpMin) || d <= -int64(clockJumpMin) {
		k.note(ahead)
	}
	return k.At(mono)
}

// note takes in a jump, or that the wall clock was set back or runs slow, from
// where on jumps are measured.
func (k *Clock) note(ahead int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	d := ahead - k.base.Load() // another look may have noted it
	if d >= int64(clockJumpMin) && !bug("clock of a suspended host") {
		k.jumped.Add(d)
	}
	if d >= int64(clockJumpMin) || d <= -int64(clockJumpMin) {
		k.base.Store(ahead)
	}
}

// clockSource is where a client reads its clocks, each from the time on when the
// client was opened.
type clockSource struct {
	mono func() time.Duration
	both func() (wall, mono time.Duration)
}

func systemClock() clockSource {
	began := time.Now()
	return clockSource{
		mono: func() time.Duration { return time.Since(began) },
		both: func() (wall, mono time.Duration) {
			now := time.Now()
			return now.Round(0).Sub(began.Round(0)), now.Sub(began)
		},
	}
}
