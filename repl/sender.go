package repl

import (
	"errors"
	"fmt"

	"muster/logstore"
	"muster/repl/wire"
)

// chunksInFlight is how many chunks may be sent before the first of them is
// answered: a round trip's worth on a fast line, and what the other side may
// have to keep in memory.
const chunksInFlight = 4

// SnapshotSender makes the chunks of one stream, synchronously: who owns it
// carries them to the other node, and its answers back.
//
//  1. Send all that Next gives.
//  2. Hand each answer to Answered.
//  3. While Waits says so, ask now and then.
//  4. When Ended says so, close it and tell the host. If the connection
//     breaks, or nothing is heard for long, either do the same with an error,
//     after which raft asks again in a while; or call Again.
//
// It reads from the disk.
type SnapshotSender struct {
	stream *SnapshotStream
	file   *logstore.SnapshotReader
	buf    []byte

	asked    bool // the first, empty chunk has left
	begun    bool // and was answered
	next     uint64
	kept     uint64 // the other side has all before
	inFlight int
	ended    bool
	err      error
}

// OpenSender opens the file of a stream.
func OpenSender(store *logstore.Store, s *SnapshotStream) (*SnapshotSender, error) {
	file, err := store.OpenSnapshot(s.Snapshot)
	if err != nil {
		return nil, fmt.Errorf("open %s to send it: %w", s.Snapshot.File, err)
	}
	return &SnapshotSender{stream: s, file: file, buf: make([]byte, wire.ChunkBytesMax)}, nil
}

// Limit lets the chunks have at most so many bytes, if that is less than what
// one can have.
func (s *SnapshotSender) Limit(bytes int) { s.buf = s.buf[:min(max(bytes, 1), len(s.buf))] }

// Close gives the file back.
func (s *SnapshotSender) Close() error { return s.file.Close() }

// Next fills in the next chunk, whose data is good until the next call, unless
// answers are to be waited for.
func (s *SnapshotSender) Next(c *wire.Chunk) (bool, error) {
	if s.ended {
		return false, nil
	}
	if !s.stream.Current() {
		s.end(errUseless)
		return false, nil
	}
	o, size := s.stream, uint64(s.file.Size())
	*c = wire.Chunk{
		Number: o.Number, Group: o.Snapshot.Replica.Group, Incarnation: o.Snapshot.Replica.Incarnation,
		From: o.Snapshot.Replica.ID, To: o.To, Term: o.Term, Base: o.Snapshot.Base.ID, Size: size,
	}
	if !s.asked {
		s.asked = true
		return true, nil
	}
	if !s.begun || s.next >= size || s.inFlight >= chunksInFlight {
		return false, nil
	}
	n, err := s.file.RawAt(s.buf[:min(uint64(len(s.buf)), size-s.next)], int64(s.next))
	if err != nil {
		s.end(err)
		return false, err
	}
	c.Offset, c.Data = s.next, s.buf[:n]
	s.next += uint64(n)
	s.inFlight++
	return true, nil
}

var (
	errUseless = errors.New("nobody needs it any more")
	errRefused = errors.New("the other side does not take it")
)

// Answered takes an answer.
func (s *SnapshotSender) Answered(a *wire.ChunkAnswer) {
	if s.ended || a.Number != s.stream.Number {
		return
	}
	switch {
	case a.State == wire.ChunkDone:
		s.end(nil)
		return
	case a.State == wire.ChunkRefused:
		s.end(fmt.Errorf("%w: %s", errRefused, a.Why))
		return
	case a.Offset > uint64(s.file.Size()):
		s.end(fmt.Errorf("the other side has %d of %d bytes", a.Offset, s.file.Size()))
		return
	case !s.begun:
		s.begun, s.next, s.kept = true, a.Offset, a.Offset
		return
	}
	if a.Offset < s.kept {
		// It was started anew, or gave up what it had to take another snapshot. What
		// is sent from here on can't follow it, and it would say so for ever.
		s.end(fmt.Errorf("the other side had %d bytes, and now has %d", s.kept, a.Offset))
		return
	}
	s.inFlight = max(s.inFlight-1, 0)
	s.kept = a.Offset
	if s.inFlight == 0 && s.next > s.kept {
		s.next = s.kept // what was sent since did not follow what is there
	}
}

func (s *SnapshotSender) end(err error) { s.ended, s.err = true, err }

// Idle reports whether the other side has answered all that was sent, and said where to go on: nothing is
// lost if that is over another connection, after Again.
func (s *SnapshotSender) Idle() bool { return s.begun && s.inFlight == 0 }

// Again begins anew where the other side says: chunks or answers were lost.
func (s *SnapshotSender) Again() { s.asked, s.begun, s.inFlight = false, false, 0 }

// Waits reports whether the other side has all bytes of the snapshot, and takes the state once it has the block files that it
// lists. Ask again after [BlockFilesPause], by Again.
func (s *SnapshotSender) Waits() bool {
	return s.begun && !s.ended && s.kept == uint64(s.file.Size())
}

// Ended reports whether the stream is over; without an error the other side has
// the state.
func (s *SnapshotSender) Ended() (bool, error) { return s.ended, s.err }
