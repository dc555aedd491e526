package client

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// A node that is asked for more than it can do answers late, and what it answers
// too late was work for nothing. It can't help that by refusing: to refuse costs
// a good part of what to answer costs, and is followed by a retry. So it is the
// client that holds back. While answers take longer than they should, as much is
// under way to a node as it answers in the time that they should take; other
// calls wait in the core, and try again until their time is over.
//
// With servers held to a tenth of a core each, and five times asked of them what
// they can do by requests that wait for a second, 4 % of what they can do was
// answered in time without this, groups lost their leaders, and it took 15 s
// after the end until all was normal. What lay before the nodes, in buffers of
// both sides, was several seconds of work, and much of it given up.
//
// It does not know of other clients, but meets what they do in its answers. A
// thousand that have limitMin under way each are still 64,000 requests.
const (
	// slowAnswer is how long answers may take, beside what they take at
	// least over that line. A disk that stalls, or a processor that is
	// given away for a period of its group, takes less.
	slowAnswer = 250 * time.Millisecond
	// limitMin is what may be under way to a node in any case. Who has less
	// is never held back.
	limitMin = 64
	// limitNone is the limit while answers come in time: none.
	limitNone = 1 << 20
	// spare is how many times as long as an answer takes a call must have
	// left, to be sent to a node that is late: many others have more.
	spare = 2
	// raiseEvery is the least time between two raises of the limit, each by
	// an eighth.
	raiseEvery = 10 * time.Millisecond
)

var errCrowded = errors.New("its node answers late, and has as many requests as it can answer in time")

// pressure is what is known of how a peer keeps up. It lives as long as the
// connections to it.
type pressure struct {
	// underWay counts what was sent and not answered, also what nobody waits
	// for any more: the node does not know that. A node answers every request.
	underWay atomic.Int32
	limit    atomic.Int32
	takes    atomic.Int64 // how long the answer took, or takes, that was looked at last

	mu      sync.Mutex    // no other lock is taken under it
	least   time.Duration // guarded by mu: the shortest that an answer took
	changed time.Duration // guarded by mu: when the limit was, in the client's time
	since   time.Duration // guarded by mu: from when on count is
	count   int           // guarded by mu: of answers
	rate    float64       // guarded by mu: of answers a second, before since; 0 while not known
}

// holds reports whether x had better wait: as much is under way as may be, or the
// answer would come too late for it.
func (p *pressure) holds(x *Call, now time.Duration) bool {
	limit := p.limit.Load()
	if x.Target > ToGroup || limit == limitNone {
		return false
	}
	under := p.underWay.Load()
	return under >= limit || under >= limitMin && x.Deadline-now < spare*time.Duration(p.takes.Load())
}

// crowded reports whether a call to p had better wait.
func (c *courier) crowded(now time.Duration, p Peer, x *Call) bool {
	bonds := *c.bonds.Load()
	return int(p) < len(bonds) && bonds[p] != nil && bonds[p].pressure.holds(x, now)
}

// answered takes note of n answers at now. One request is looked at, at a time:
// it takes so long, and its answer is among them or not; 0: none is.
func (p *pressure) answered(now time.Duration, n int, takes time.Duration, among bool) {
	p.underWay.Add(int32(-n))
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count += n
	if past := now - p.since; past >= slowAnswer {
		p.rate = float64(p.count) / past.Seconds()
		p.since, p.count = now, 0
	}
	if among && (p.least == 0 || takes < p.least) {
		p.least = takes
	}
	slow := slowAnswer + 2*p.least
	limit := p.limit.Load()
	switch {
	case takes > slow && p.rate > 0:
		// A node that is late has all that it can do: as many as it answers
		// in half the time keep it busy, and leave room for what others ask.
		p.takes.Store(int64(takes))
		limit = max(limitMin, int32(min(p.rate*(slow/2).Seconds(), limitNone-1)))
	case among && limit != limitNone:
		p.takes.Store(int64(takes))
		if takes > slow/2 || now-p.changed < max(takes, raiseEvery) {
			return
		}
		if limit += limit / 8; limit > limitNone/2 {
			limit = limitNone
		}
	default:
		return
	}
	p.limit.Store(limit)
	p.changed = now
}
