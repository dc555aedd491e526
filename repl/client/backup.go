package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

const (
	// backupWindow bounds the pieces that a [BackupStream] holds, in bytes, but for a row that is
	// larger than a piece.
	backupWindow = 4 << 20
	// backupPiece is the size of the pieces that are asked for.
	backupPiece = 512 << 10
)

// BackupStream is the backup of one group: an answer in many pieces, which no other attempt can
// continue. Where one ends before its last piece the next begins with the first piece of another
// backup, as of another entry, and what came before is void. It is a synchronous core like [Stream],
// and its owner has the same duties.
type BackupStream struct {
	group raft.GroupID // set once
	attempts

	// Guarded by mu.
	pieces []arrivedPiece // of this attempt, that were not taken
	number uint64         // of the piece that is due
	at     raft.LogID     // of this attempt
}

// arrivedPiece is a piece that was read, and the size of its body.
type arrivedPiece struct {
	*wire.BackupPiece
	size uint64
}

// NewBackupStream returns the stream of a group.
func NewBackupStream(g raft.GroupID) *BackupStream {
	return &BackupStream{group: g, attempts: attempts{window: backupWindow, piece: backupPiece}}
}

// Begin begins an attempt: it appends the body of the request that opens it. All that came before is void.
func (s *BackupStream) Begin(b []byte) (body []byte, attempt uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, piece := range s.pieces {
		s.held -= piece.size
	}
	s.pieces, s.number = nil, 0
	s.begin()
	return (&wire.Backup{Group: s.group, PieceBytes: backupPiece, Window: s.granted}).Append(b), s.attempt
}

// Piece takes a piece of an attempt, which it copies. One of an attempt that is over is ignored.
func (s *BackupStream) Piece(attempt uint64, body []byte) {
	body = bytes.Clone(body)
	p := new(wire.BackupPiece)
	err := p.Read(body)
	s.mu.Lock()
	defer s.mu.Unlock()
	if attempt != s.attempt || s.over {
		return
	}
	switch {
	case err != nil:
	case p.Group != s.group:
		err = fmt.Errorf("it is of group %s", p.Group)
	case p.Number != s.number:
		err = fmt.Errorf("its number is %d, due is %d", p.Number, s.number)
	case s.number > 0 && p.At != s.at:
		err = fmt.Errorf("it is as of %s, those before as of %s", raft.FormatLogID(s.group, p.At), raft.FormatLogID(s.group, s.at))
	}
	if err != nil {
		s.over, s.failure = true, fmt.Errorf("piece of the backup of group %s: %w", s.group, err)
		return
	}
	s.number, s.at = s.number+1, p.At
	size := uint64(len(body))
	s.received += size
	s.held += size
	s.brought = true
	s.pieces = append(s.pieces, arrivedPiece{p, size})
	s.over = p.Last
}

// Ended takes the last frame of an attempt. It returns why the next one has to be made, or nil if all
// was sent.
func (s *BackupStream) Ended(_ uint64, e *wire.StreamEnd) *wire.Error {
	if e.Reason == wire.EndDone && s.Complete() {
		return nil
	}
	return whyEnded(e)
}

// Next takes the next piece, and gives up the one before. There is none where it is yet to come (more), or
// where the stream is over.
func (s *BackupStream) Next() (p *wire.BackupPiece, more bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.release()
	if len(s.pieces) == 0 {
		return nil, !s.over, s.failure
	}
	first := s.pieces[0]
	s.pieces[0] = arrivedPiece{}
	s.pieces = s.pieces[1:]
	s.taken = first.size
	return first.BackupPiece, true, nil
}

// Backup goes through all keys and services that a group serves as they are at one entry of its log,
// piece by piece, for as long as the caller takes. Each piece is good until the next one.
//
// Where the node that sends it is lost, or no longer wants to, another backup begins with a piece of
// number 0, as of another entry: what came before is void. The node sends at most a few backups at a
// time, and ends one that is not read for a minute. An error ends it; its code is level below level 9,
// and moved if there is no such group.
func Backup(ctx context.Context, c *Client, g raft.GroupID) iter.Seq2[*wire.BackupPiece, error] {
	return func(yield func(*wire.BackupPiece, error) bool) {
		if err := backUp(ctx, c, g, yield); err != nil {
			yield(nil, fmt.Errorf("back up group %s: %w", g, err))
		}
	}
}

// backUp is [Backup], whose error is still to be passed on.
func backUp(ctx context.Context, c *Client, g raft.GroupID, yield func(*wire.BackupPiece, error) bool) error {
	if err := c.needLevel(ctx, "backups", shardmap.RangesLevel); err != nil {
		return err
	}
	came := make(chan struct{}, 1) // a token: something came. From readers and whoever ends the call; never closed
	s := NewBackupStream(g)
	x := newStreamCall(wire.TypeBackup, s, waker(came))
	x.Target, x.Group, x.Deadline = ToGroup, g, c.deadlineOf(ctx)
	x.Slot = shardmap.Slot(g) // spreads over the connections
	x.ended = func(x *call) {
		s.Finish(withCause(ctx, x.err))
		x.stream.tell()
	}
	c.start(x, ctx.Done())
	defer func() {
		if !s.Complete() {
			c.cancel(x)
		}
	}()
	late := time.NewTimer(RetryMax)
	defer late.Stop()
	for done := ctx.Done(); ; {
		p, more, err := s.Next()
		x.grant()
		switch {
		case err != nil:
			return err
		case !more: // no attempt ends so; a backup must not be taken for whole because of that
			return unavailable("backup", errors.New("it ended before its last piece"))
		case p != nil:
			if !yield(p, nil) || p.Last {
				return nil
			}
			late.Reset(RetryMax)
			continue
		}
		select {
		case <-came:
			continue
		case <-late.C:
		case <-done:
			done = nil
		}
		c.cancel(x) // which ends it
	}
}
