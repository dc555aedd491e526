package logstore

import (
	"errors"
	"fmt"
)

// ChunkBytesMax bounds a chunk of a snapshot, in bytes, so that what a peer sends at
// once stays small against what it may send in total.
const ChunkBytesMax = 1 << 20

// ErrChunk is wrapped by the error about a chunk that is not the one that is
// due, or is too large. It does no harm.
var ErrChunk = errors.New("not a chunk that can be taken")

// SnapshotReceiver takes the bytes of a snapshot's file in chunks, and checks
// them as they come. One goroutine uses it, and ends it with Commit or Abort.
// Its errors of the disk are those of a [SnapshotWriter].
type SnapshotReceiver struct {
	file  *snapshotFile
	check snapshotCheck
	err   error
}

// Chunk takes the bytes of the file from an offset on. It skips bytes that it has
// already taken, and refuses a chunk that leaves a gap or is too large with [ErrChunk],
// which does no harm. After a [Damage] or [ErrNewerFormat] the snapshot is of no use to
// the group, and must be given up.
func (r *SnapshotReceiver) Chunk(offset int64, b []byte) error {
	due := r.check.offset
	switch {
	case r.file.over:
		return r.fail(errOver)
	case r.err != nil:
		return r.fail(r.err)
	case len(b) > ChunkBytesMax:
		return r.fail(fmt.Errorf("%w: it has %d bytes, the limit is %d", ErrChunk, len(b), ChunkBytesMax))
	case offset < 0 || offset > due:
		return r.fail(fmt.Errorf("%w: it begins at %d, due is %d", ErrChunk, offset, due))
	case offset+int64(len(b)) <= due:
		return nil
	}
	b = b[due-offset:]
	if r.err = r.check.feed(b); r.err == nil {
		r.err = r.file.add(b)
	}
	if r.err != nil {
		return r.fail(r.err)
	}
	return nil
}

func (r *SnapshotReceiver) fail(err error) error {
	return fmt.Errorf("receive a snapshot for %s: %w", r.file.id, err)
}

// Offset is where the next chunk is due.
func (r *SnapshotReceiver) Offset() int64 { return r.check.offset }

// Whole reports whether the last byte has arrived.
func (r *SnapshotReceiver) Whole() bool { return r.check.whole && r.err == nil }

// Base returns the base that the file names, and false before its header has arrived.
func (r *SnapshotReceiver) Base() (Base, bool) {
	if r.check.header == nil {
		return Base{}, false
	}
	return r.check.header.base, true
}

// Commit makes the snapshot durable, and only then visible. It returns a [Damage] if
// the file is not complete, and [ErrCompacted] if the log begins after its base. It
// replaces a snapshot of the same base, which has the same bytes.
func (r *SnapshotReceiver) Commit() (Snapshot, error) {
	if r.file.over {
		return Snapshot{}, r.fail(errOver)
	}
	if r.err == nil {
		r.err = r.check.finish()
	}
	if r.err != nil {
		return Snapshot{}, r.fail(r.err)
	}
	// The log may have been cut off further on while the snapshot was on its way.
	base := r.check.header.base
	if err := r.file.s.index.fitsBase(r.file.id, base); err != nil {
		return Snapshot{}, r.fail(err)
	}
	sn, err := r.file.commit(base)
	if err != nil {
		r.err = err
		return Snapshot{}, r.fail(err)
	}
	return sn, nil
}

// Abort removes what was taken. After Commit it does nothing.
func (r *SnapshotReceiver) Abort() error { return r.file.abort() }

// receive does what [Store.ReceiveSnapshot] says.
func (s *snapshots) receive(id Replica) (*SnapshotReceiver, error) {
	f, err := s.begin(id)
	if err != nil {
		return nil, fmt.Errorf("receive a snapshot for %s: %w", id, err)
	}
	return &SnapshotReceiver{file: f, check: snapshotCheck{file: f.name, of: id}}, nil
}
