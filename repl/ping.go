package repl

import (
	"fmt"
	"sync/atomic"
	"time"
)

// pinging is what the writer and the reader of one connection know of its pings.
//
// It has no timer, which would wake a node at rest. The writer looks whenever it has
// something to send, and it has at least the heartbeats: so a ping goes with one of
// them, and that an answer is overdue is noticed with one. Nobody misses a connection
// on which nothing is sent.
type pinging struct {
	began time.Time     // when the connection was made; set once
	due   time.Duration // of the next ping, after began; owned by the writer
	// first, if not nil, is closed with the first answer; owned by the reader, and set before it begins.
	first chan struct{}

	// since is when the ping that is under way left, or when the other side said
	// something after that, in nanoseconds after began; 0: none is under way.
	since atomic.Int64
}

// look reports whether a ping is to be sent now, a time after p.began, and an error if
// the one under way was not answered in time. The writer calls it.
func (p *pinging) look(now time.Duration) (ping bool, err error) {
	if since := time.Duration(p.since.Load()); since != 0 {
		if now-since >= peerPongMax {
			err = fmt.Errorf("a ping was not answered within %s", peerPongMax)
		}
		return false, err
	}
	if now < p.due {
		return false, nil
	}
	p.due = now + peerPingPause
	p.since.Store(int64(now))
	return true, nil
}

// heard notes that the other side said something: a long answer that is on its way is
// as good a sign of life as the pong behind it. The reader calls it.
func (p *pinging) heard() {
	if since := p.since.Load(); since != 0 {
		p.since.CompareAndSwap(since, int64(time.Since(p.began)))
	}
}

// answered notes that the ping has been answered. The reader calls it.
func (p *pinging) answered() {
	p.since.Store(0)
	if p.first != nil {
		close(p.first)
		p.first = nil
	}
}
