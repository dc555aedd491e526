package client

import (
	"sync"

	"muster/shardmap"
)

// A session makes retries safe: a slot remembers, by session and sequence, what
// became of each write. The client has [Lanes] of them, each for a fixed part
// of the slots. A slot so sees one session of a client, and where one group
// stands still, the window of its lanes fills up and the others go on.

// Lanes is the number of sessions of one client.
const Lanes = 16

// WindowDefault is how far the sequences of one session may run ahead of the
// lowest unanswered one, where the options say nothing. It bounds what a slot
// has to remember for this client.
const WindowDefault = 16384

// laneOf returns the lane of a slot: neighbours share one, as they mostly share
// their group.
func laneOf(s shardmap.Slot) int { return int(s) / (shardmap.Slots / Lanes) }

// session gives out sequences and knows the lowest that is unanswered.
type session struct {
	id   uint64 // never 0
	done []uint64
	// Invariant: floor <= next <= floor + window. A sequence in [floor, next)
	// is answered if its bit in done is set; floor itself is not, unless it
	// equals next.
	floor, next uint64
	window      uint64
}

// newSession returns a session for window open sequences, a multiple of 64.
func newSession(id, window uint64) *session {
	return &session{id: id, done: make([]uint64, window/64), floor: 1, next: 1, window: window}
}

// begin gives out the next sequence; false if limit are open.
func (s *session) begin(limit uint64) (sequence, floor uint64, ok bool) {
	if s.next-s.floor >= min(limit, s.window) {
		return 0, 0, false
	}
	s.next++
	return s.next - 1, s.floor, true
}

// end notes that nobody waits for sequence any more. Its frames that may still
// be under way are below the floor of what follows, and so are never applied
// after it.
func (s *session) end(sequence uint64) {
	bit := sequence % s.window
	s.done[bit/64] |= 1 << (bit % 64)
	for s.floor < s.next {
		bit = s.floor % s.window
		if s.done[bit/64]&(1<<(bit%64)) == 0 {
			return
		}
		s.done[bit/64] &^= 1 << (bit % 64)
		s.floor++
	}
}

// lane is the session that is in use for some slots.
type lane struct {
	window uint64
	// space holds a token when a full window may have room again. Who takes
	// it without need passes it on.
	space chan struct{}

	mu    sync.Mutex // held for a few instructions; no other lock is taken under it
	now   *session
	limit uint64 // Invariant: <= window; what the servers keep at most
}

func newLane(id, window uint64) *lane {
	return &lane{window: window, limit: window, space: make(chan struct{}, 1), now: newSession(id, window)}
}

// lower sets a lower limit than the window.
func (l *lane) lower(limit uint64) {
	l.mu.Lock()
	l.limit = max(1, min(l.limit, limit))
	l.mu.Unlock()
}

// most is how many writes may be open at once.
func (l *lane) most() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.limit
}

func (l *lane) begin() (s *session, sequence, floor uint64, ok bool) {
	l.mu.Lock()
	s = l.now
	sequence, floor, ok = s.begin(l.limit)
	l.mu.Unlock()
	return s, sequence, floor, ok
}

func (l *lane) end(s *session, sequence uint64) {
	l.mu.Lock()
	full := s.next-s.floor >= l.limit
	s.end(sequence)
	l.mu.Unlock()
	if full {
		l.pass()
	}
}

// pass wakes one that waits for room.
func (l *lane) pass() {
	select {
	case l.space <- struct{}{}:
	default:
	}
}

// renew replaces a session that the servers no longer know.
func (l *lane) renew(old *session, id uint64) {
	l.mu.Lock()
	if l.now == old {
		l.now = newSession(id, l.window)
	}
	l.mu.Unlock()
	l.pass()
}
