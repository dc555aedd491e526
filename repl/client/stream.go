package client

import (
	"bytes"
	"errors"
	"fmt"

	"muster/repl/wire"
	"muster/shardmap"
)

// Stream is the listing of one group: an answer in many pieces, which goes on at
// whoever leads, whatever becomes of nodes and connections meanwhile. It is a
// synchronous core, like [Core], which finds the node: it is told what arrived,
// and says what to send.
//
// It begins anew after the last key that arrived. What arrived is kept until it is
// used, and nothing else is, so nothing comes twice and nothing is left out.
//
// # Duties of the owner
//
//  1. Before each attempt call [Stream.Begin], and send what it returns. Hand in
//     each piece of that attempt with [Stream.Piece], in order.
//  2. Where an attempt ends by an error, and the stream is not [Stream.Complete],
//     make the next one where and when [Core] says. Tell the core
//     ([Call.Progressed]) if the attempt [Stream.Brought] something.
//  3. When there will be no further attempt, call [Stream.Finish].
//  4. After [Stream.Piece] and [Listing.Next] send the grant that [Stream.Grant]
//     may return, over the connection of the attempt.
//
// Its methods may be called by any goroutine.
type Stream struct {
	scan wire.Scan // set once
	attempts

	// Guarded by mu.
	last   []byte   // the last key that arrived
	rows   uint64   // that arrived
	pieces [][]byte // that arrived and were not taken
}

// newStream returns a stream of what q asks for, whose pieces take so many bytes.
func newStream(q wire.Scan, window uint64) *Stream {
	return &Stream{scan: q, attempts: attempts{window: window, piece: q.PieceBytes}, last: q.After}
}

// Scan returns what the stream asks for.
func (s *Stream) Scan() wire.Scan { return s.scan }

// Begin begins an attempt: it appends the body of the request that opens it. The
// attempt's number tells its pieces from those of others.
func (s *Stream) Begin(b []byte) (body []byte, attempt uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begin()
	q := s.scan
	q.After, q.Window = s.last, s.granted
	if bug("a descending stream resumed above its last key") && q.Descending && len(s.last) > 0 {
		q.After = shardmap.KeyAfter(s.last)
	}
	if bug("a stream resumed past a gap") {
		s.pieces, s.held = nil, s.taken
	}
	if q.Limit > 0 {
		q.Limit -= min(s.rows, q.Limit-1) // one that has all is not begun anew
	}
	return q.Append(b), s.attempt
}

// Piece takes a piece of an attempt, which it copies. One of an attempt that is over
// is ignored.
func (s *Stream) Piece(attempt uint64, body []byte) {
	var a wire.ListAnswer
	bad := a.Read(body)
	s.mu.Lock()
	defer s.mu.Unlock()
	if attempt != s.attempt || s.over {
		return
	}
	if bad == nil {
		bad = s.follows(&a)
	}
	if bad != nil {
		s.over, s.failure = true, fmt.Errorf("piece of group %s: %w", s.scan.Group, bad)
		return
	}
	s.received += uint64(len(body))
	s.brought = true
	if a.Count > 0 {
		s.rows += uint64(a.Count)
		s.held += uint64(len(body))
		s.pieces = append(s.pieces, bytes.Clone(body))
		if last := lastKey(a); !bug("a piece delivered twice") {
			s.last = bytes.Clone(last)
		}
	}
	if !a.More || s.scan.Limit > 0 && s.rows >= s.scan.Limit {
		s.over = true
	}
}

var errOutOfOrder = errors.New("its keys are not behind those before")

// follows checks that a piece is what comes behind all that arrived. s.mu is held.
func (s *Stream) follows(a *wire.ListAnswer) error {
	if a.Group != s.scan.Group {
		return fmt.Errorf("it is of group %s", a.Group)
	}
	rows := *a
	first, _, _, ok := rows.Next()
	if ok && len(s.last) > 0 && compareIn(&s.scan.Span, first, s.last) <= 0 && !bug("a piece delivered twice") {
		return errOutOfOrder
	}
	return nil
}

// compareIn compares two keys by where they stand in a listing: below 0 if a comes before b.
func compareIn(s *wire.Span, a, b []byte) int {
	if s.Descending {
		return bytes.Compare(b, a)
	}
	return bytes.Compare(a, b)
}

// settled reports whether there is nothing more that a node would send.
func (s *Stream) settled() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over && s.failure == nil
}

// Ended takes the last frame of an attempt. It returns why the next one has to be made,
// or nil if all was sent.
func (s *Stream) Ended(_ uint64, e *wire.StreamEnd) *wire.Error {
	if e.Reason == wire.EndDone {
		return nil
	}
	return whyEnded(e)
}

// next takes the next piece, and gives up the one before. There is none where it is
// yet to come (more), or where the stream is over.
func (s *Stream) next() (a wire.ListAnswer, there, more bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.release()
	if len(s.pieces) == 0 {
		return a, false, !s.over, s.failure
	}
	body := s.pieces[0]
	s.pieces[0] = nil
	s.pieces = s.pieces[1:]
	s.taken = uint64(len(body))
	err = a.Read(body)
	return a, err == nil, true, err
}

// waits reports whether the next piece is yet to come.
func (s *Stream) waits() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.pieces) == 0 && !s.over
}

// lastKey returns the key of a piece's last row.
func lastKey(a wire.ListAnswer) (last []byte) {
	for {
		key, _, _, ok := a.Next()
		if !ok {
			return last
		}
		last = key
	}
}

// windowOf is how many bytes each of so many streams may hold, and the size of its
// pieces. They share a budget, however many there are.
func windowOf(streams int) (window uint64, piece uint32) {
	window = uint64(max(listBytes/max(streams, 1), windowMin))
	window = min(window, windowMax)
	return window, uint32(min(window/4, pieceBytesMax))
}

const (
	// listBytes bounds the pieces that one listing holds, in bytes, but for
	// windowMin of each stream and rows that are larger than a piece.
	listBytes = 16 << 20
	windowMin = 32 << 10
	windowMax = 2 << 20
	// pieceBytesMax is the largest piece that is asked for: the larger, the fewer
	// are read; but what else the connection carries waits behind one.
	pieceBytesMax = 512 << 10
)
