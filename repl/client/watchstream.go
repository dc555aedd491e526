package client

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// WatchStream is what one group has for a [Watching]: an answer in many pieces, which goes on
// at any replica of the group, whatever becomes of nodes and connections meanwhile. It is a
// synchronous core, as [Stream] is, with the same duties of its owner.
//
// Each attempt after the first begins behind the last piece that arrived, wherever in an
// entry that ended. What arrived is kept until it is used, so nothing comes twice and nothing
// is left out.
//
// Its methods may be called by any goroutine.
type WatchStream struct {
	ask wire.Watch // set once: of the first attempt, but for the window
	attempts

	// Guarded by mu.
	begun     bool              // the first piece of this attempt is here
	opened    bool              // the first piece of an attempt is here
	start     shardmap.Position // that piece's
	elsewhere []wire.WatchRow   // its rows
	at        shardmap.Position // what arrived goes as far as this
	pieces    []watchPiece      // that arrived and were not taken
	left      bool              // it is over, since the group has none of the slots
}

// watchPiece is one that arrived.
type watchPiece struct {
	wire.WatchPiece
	size uint64 // of its body
}

// newWatchStream returns a stream of what q asks for, whose pieces take so many bytes.
func newWatchStream(q wire.Watch, window uint64) *WatchStream {
	return &WatchStream{ask: q, attempts: attempts{window: window, piece: q.PieceBytes}}
}

// Group returns the group that the stream is of.
func (s *WatchStream) Group() raft.GroupID { return s.ask.Group }

// Begin begins an attempt: it appends the body of the request that opens it. The
// attempt's number tells its pieces from those of others.
func (s *WatchStream) Begin(b []byte) (body []byte, attempt uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begin()
	s.begun = false
	q := s.ask
	q.Window = s.granted
	if s.opened {
		if bug("a watch resumed past a gap") {
			s.pieces, s.held = nil, s.taken
		}
		q.Now, q.Positions = false, []wire.GroupPosition{{Group: q.Group, Position: s.at}}
	}
	return q.Append(b), s.attempt
}

// Piece takes a piece of an attempt, which it copies. One of an attempt that is over
// is ignored.
func (s *WatchStream) Piece(attempt uint64, body []byte) {
	body = bytes.Clone(body) // events that are given out alias it
	p := watchPiece{size: uint64(len(body))}
	bad := p.Read(body)
	s.mu.Lock()
	defer s.mu.Unlock()
	if attempt != s.attempt || s.over {
		return
	}
	if bad == nil && p.Group != s.ask.Group {
		bad = fmt.Errorf("it is of group %s", p.Group)
	}
	first := !s.begun
	s.begun = true
	s.received += p.size
	switch {
	case bad != nil:
	case first:
		bad = s.first(&p.WatchPiece)
	case p.At.Before(s.at):
		bad = errEventsBack
	default:
		s.take(p)
	}
	if bad != nil {
		s.over, s.failure = true, fmt.Errorf("piece of group %s: %w", s.ask.Group, bad)
	}
}

var (
	errEventsBack = errors.New("its events are not behind those before")
	errFirstPiece = errors.New("the first piece has events")
)

// first takes the first piece of an attempt, which says where that begins. s.mu is held.
func (s *WatchStream) first(p *wire.WatchPiece) error {
	var rows []wire.WatchRow
	for row := (wire.WatchRow{}); p.Next(&row); rows = append(rows, row) {
		if row.Kind != wire.WatchElsewhere {
			return errFirstPiece
		}
	}
	if !s.opened {
		s.opened, s.start, s.at, s.elsewhere = true, p.At, p.At, rows
		return nil
	}
	// What was asked for is what comes behind s.at.
	switch {
	case p.At.Before(s.at):
		return errEventsBack
	case s.at.Before(p.At):
		// What lies between is no longer kept. The node assumes that the group had none of the
		// slots then, which it can't know.
		s.over, s.failure = true, &WatchEnd{Reason: wire.EndCompacted, Group: s.ask.Group, kept: p.At}
	}
	return nil
}

// take keeps a piece until it is used. s.mu is held.
func (s *WatchStream) take(p watchPiece) {
	s.brought = true
	if !bug("a watch event twice") {
		s.at = p.At
	}
	if n := len(s.pieces); n > 0 && p.Count == 0 && s.pieces[n-1].Count == 0 {
		s.pieces[n-1].At = p.At // it says all that both say
		return
	}
	s.held += p.size
	s.pieces = append(s.pieces, p)
}

// Ended takes the last frame of an attempt: why the node ended it. The stream goes on
// unless there is nothing more, or what comes next is no longer kept.
func (s *WatchStream) Ended(attempt uint64, e *wire.StreamEnd) *wire.Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if attempt != s.attempt || s.over {
		return nil
	}
	switch e.Reason {
	case wire.EndElsewhere:
		if at, ok := positionOf(e.Resume, s.ask.Group); ok && s.at.Before(at) {
			s.take(watchPiece{WatchPiece: wire.WatchPiece{Group: s.ask.Group, At: at}})
		}
		s.over, s.left = true, true
	case wire.EndCompacted, wire.EndSlow:
		s.over, s.failure = true, s.lost(e)
	case wire.EndCancelled:
		s.over = true
	default:
		return whyEnded(e)
	}
	return nil
}

// lost is the error of a stream whose next events are no longer kept. s.mu is held.
func (s *WatchStream) lost(e *wire.StreamEnd) error {
	end := &WatchEnd{Reason: e.Reason, Group: s.ask.Group}
	if e.Why.Code != 0 {
		end.Why = &e.Why
	}
	end.kept, _ = positionOf(e.Resume, s.ask.Group)
	return end
}

// positionOf finds the position of a group in the last frame of a stream.
func positionOf(resume []byte, g raft.GroupID) (at shardmap.Position, ok bool) {
	positions, err := wire.ReadPositions(resume)
	if err != nil {
		return at, false
	}
	for _, p := range positions {
		if p.Group == g {
			return p.Position, true
		}
	}
	return at, false
}

// began returns where the stream begins, and the rows that say so, once that is known.
func (s *WatchStream) began() (start shardmap.Position, elsewhere []wire.WatchRow, opened bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.start, s.elsewhere, s.opened
}

// probed reports whether a node has opened the stream.
func (s *WatchStream) probed() bool {
	_, _, opened := s.began()
	return opened
}

// tells reports whether a row of what arrived and was not taken is such a one.
func (s *WatchStream) tells(is func(*wire.WatchRow) bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.pieces, func(p watchPiece) bool { return pieceTells(p.WatchPiece, is) })
}

// arrived returns how far what arrived goes.
func (s *WatchStream) arrived() shardmap.Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at
}

// next takes the next piece, and gives up the one before. There is none where it is
// yet to come, or where the stream is over.
func (s *WatchStream) next() (p wire.WatchPiece, there bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.release()
	if len(s.pieces) == 0 {
		return p, false
	}
	x := s.pieces[0]
	s.pieces[0] = watchPiece{}
	s.pieces = s.pieces[1:]
	s.taken = x.size
	return x.WatchPiece, true
}

// end reports whether the stream is over and all that arrived was taken; then err says why,
// or is nil if the group has none of the slots (left) or nobody wants more of it.
func (s *WatchStream) end() (over, left bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over && len(s.pieces) == 0, s.left, s.failure
}
