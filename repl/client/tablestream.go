package client

import (
	"sync"

	"muster/repl/wire"
)

// TableStream is the stream of the table that [Core] asks for with an [ActFollow]: a
// synchronous core like [Stream], whose pieces are tables. It makes one attempt only: when it
// ends, [Core] asks for another one.
//
// # Duties of the owner
//
//  1. Send what [TableStream.Begin] returns. Hand in each piece with [TableStream.Piece],
//     then hand the table that [TableStream.Take] returns, if any, to [Core.Pushed].
//  2. After that send the grant that [TableStream.Grant] may return.
//  3. When the stream has ended call [Core.Unfollowed]; if its connection has, after
//     [Core.Disconnected].
type TableStream struct {
	mu sync.Mutex // no other lock is taken under it

	// Guarded by mu.
	received uint64 // bytes of pieces
	granted  uint64
	newest   *wire.TopologyAnswer // nil: it was taken
	over     bool
}

// tableWindow bounds the bytes of tables under way: a node sends only the newest, while the
// one before may not have been read.
const tableWindow = 2 * wire.StreamPieceMax

// onlyAttempt is the number of the one attempt.
const onlyAttempt = 1

// Begin appends the body of the request that opens the stream. The first piece is the table
// as it is, and says that the stream is open.
func (s *TableStream) Begin(b []byte) (body []byte, attempt uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.granted = tableWindow
	return (&wire.TableStream{Window: tableWindow, PieceBytes: wire.StreamPieceMax}).Append(b), onlyAttempt
}

// Piece takes a piece. One that can't be read ends the stream.
func (s *TableStream) Piece(_ uint64, body []byte) {
	t := new(wire.TopologyAnswer)
	err := t.Read(body)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over = s.over || err != nil; s.over {
		return
	}
	s.received += uint64(len(body))
	s.newest = t
}

// Take returns the newest table that came since it was last called; nil if none did.
func (s *TableStream) Take() *wire.TopologyAnswer {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.newest
	s.newest = nil
	return t
}

// Grant returns the window to grant, if there is more than the node knows of.
func (s *TableStream) Grant() (g wire.StreamGrant, attempt uint64, due bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	limit := s.received + tableWindow
	if s.over || limit == s.granted {
		return g, onlyAttempt, false
	}
	s.granted = limit
	return wire.StreamGrant{Limit: limit}, onlyAttempt, true
}

// Ended takes the last frame of the stream, and returns why it ended.
func (s *TableStream) Ended(_ uint64, e *wire.StreamEnd) *wire.Error { return whyEnded(e) }

// Brought reports whether the stream has brought something.
func (s *TableStream) Brought() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.received > 0
}

// Complete reports whether the stream is over.
func (s *TableStream) Complete() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over
}

// Finish says that nothing more will arrive.
func (s *TableStream) Finish(error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
}
