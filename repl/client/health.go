package client

import (
	"fmt"
	"time"

	"muster/repl/wire"
)

// Times of a connection.
const (
	// pingAfter is how long a connection with open requests may be silent
	// before it is asked for a sign of life, silenceMax how long before it
	// is given up. A leader that was stopped is replaced within two seconds;
	// its clients should not find out much later.
	pingAfter  = time.Second
	silenceMax = 3 * time.Second
	// idleMax is when the connections to a peer are closed for want of
	// requests. One without requests of its own, among others that have some,
	// is asked for a sign of life after quietMax, for a server closes what is
	// silent for 60 s.
	idleMax  = 45 * time.Second
	quietMax = 20 * time.Second
	// unansweredDoublings bounds how long a node may take to answer what
	// others could answer too, before they are asked: silenceMax, and twice as
	// long each time, up to four times.
	unansweredDoublings = 2
)

// health is what the keeper finds about a link.
type health uint8

const (
	healthy    health = iota
	healthPing        // ask for a sign of life
	healthDead        // give it up
	healthIdle        // close it and those to the same peer, nobody needs them
)

// judge decides about a link by how many requests wait, when it was last heard and
// last written to, whether a ping is under way, and when its bond was last used.
func judge(now, heard, spoke, asked time.Duration, open int, used time.Duration) health {
	silent := now - heard
	if open == 0 {
		if now-used >= idleMax {
			return healthIdle
		}
		silent -= quietMax - pingAfter // it has so much longer
	}
	switch {
	case silent >= silenceMax && asked != 0:
		return healthDead
	case silent >= pingAfter && asked == 0:
		return healthPing
	case open > 0 && now-spoke >= quietMax && asked == 0:
		// A node may have much to say that nobody answers, as a stream does.
		return healthPing
	}
	return healthy
}

// look judges the link and returns the calls whose time is over, and those that
// another node had better be asked.
func (l *link) look(now time.Duration) (overdue []*call) {
	l.mu.Lock()
	if !l.up {
		l.mu.Unlock()
		return nil
	}
	wake := false
	for i := range l.pending.places {
		x := &l.pending.places[i]
		if c := x.call; c != nil && (c.Deadline <= now || c.patient != 0 && c.patient <= now) {
			overdue = append(overdue, c)
			wake = l.forget(c, uint64(x.uses)<<32|uint64(i)) || wake
		}
	}
	l.counted()
	if l.batches != l.seen {
		l.seen, l.spoke = l.batches, now
	}
	verdict := judge(now, time.Duration(l.heard.Load()), l.spoke, time.Duration(l.asked.Load()), l.pending.open-l.pending.stands, time.Duration(l.bond.used.Load()))
	retired := l.retired
	if verdict == healthPing {
		l.asked.Store(int64(now))
		wake = l.put(wire.TypePing, 0) || wake
	}
	l.mu.Unlock()
	if wake {
		l.wake <- struct{}{}
	}
	if retired && l.bond.through() {
		verdict = healthIdle // what it waited for last was given up
	}
	switch verdict {
	case healthDead:
		l.fail(fmt.Errorf("connection to %s: silent for %s", l.addr, (now - time.Duration(l.heard.Load())).Round(time.Millisecond)))
	case healthIdle:
		l.fail(nil)
	}
	return overdue
}
