package mover

import (
	"time"

	"muster/shardmap"
)

// rate holds what is sent before the seal to a number of bytes per second.
type rate struct {
	per  int64 // bytes per second; 0: any
	left int64 // bytes that may be sent now; below 0: more was sent than was due
	at   time.Duration
}

func (r *rate) set(now time.Duration, per int64) {
	if per != r.per {
		r.fill(now)
		r.per, r.left, r.at = per, min(r.left, 0), now
	}
}

// fill adds what has become due. What was not used is not kept beyond one chunk.
func (r *rate) fill(now time.Duration) {
	if r.per > 0 {
		due := int64(float64(r.per) * (now - r.at).Seconds())
		if due == 0 {
			return
		}
		r.left = min(r.left+due, shardmap.ChunkSize)
	}
	r.at = now
}

func (r *rate) spend(now time.Duration, n int) {
	if r.per > 0 {
		r.fill(now)
		r.left -= int64(n)
	}
}

// wait returns how long nothing may be sent.
func (r *rate) wait(now time.Duration) time.Duration {
	if r.per == 0 {
		return 0
	}
	r.fill(now)
	if r.left >= 0 {
		return 0
	}
	return time.Duration(float64(-r.left)/float64(r.per)*float64(time.Second)) + time.Millisecond
}
