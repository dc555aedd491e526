package client

import (
	"sync"

	"muster/repl/wire"
)

// attempts is what [Stream] and [WatchStream] have in common: one attempt after another, and
// the window in which pieces arrive, whatever they bring.
type attempts struct {
	// Set once.
	window uint64 // bytes of pieces that it holds at most, but for a row that is larger
	piece  uint32 // the size of the pieces that are asked for

	mu sync.Mutex // no other lock is taken under it

	// Guarded by mu. Of this attempt:
	attempt  uint64
	received uint64 // bytes of its pieces
	granted  uint64
	brought  bool // it brought something; a first piece that only says where it begins is nothing

	// Guarded by mu. Of all:
	held    uint64 // bytes of the pieces that were not taken, and of the one that was taken last
	taken   uint64 // bytes of that one
	over    bool   // nothing more will arrive
	failure error  // why it is over, where more was to come
}

// begin begins an attempt, with all the room that there is. s.mu is held.
func (s *attempts) begin() {
	s.attempt++
	s.received, s.granted, s.brought = 0, s.room(), false
}

// room returns how many more bytes may arrive. s.mu is held.
func (s *attempts) room() uint64 {
	if s.held >= s.window {
		return 0
	}
	return s.window - s.held
}

// release gives up the piece that was taken last. s.mu is held.
func (s *attempts) release() {
	s.held -= s.taken
	s.taken = 0
}

// Grant returns the window to grant to the node of an attempt. It is due where
// pieces were used since the last, so that another has room.
func (s *attempts) Grant() (g wire.StreamGrant, attempt uint64, due bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	limit := s.received + s.room()
	if s.over || s.attempt == 0 || limit < s.granted+uint64(s.piece) {
		return g, s.attempt, false
	}
	s.granted = limit
	return wire.StreamGrant{Limit: limit}, s.attempt, true
}

// Brought reports whether this attempt has brought something.
func (s *attempts) Brought() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.brought
}

// Complete reports whether nothing more is to come of any attempt.
func (s *attempts) Complete() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over
}

// Finish says that nothing more will arrive; err says why, where more was to come.
func (s *attempts) Finish(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.over {
		s.over, s.failure = true, err
	}
}
