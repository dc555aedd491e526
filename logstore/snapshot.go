package logstore

import (
	"errors"

	"muster/raft"
)

// SnapshotDir is the directory of the snapshots, in the data directory.
const SnapshotDir = "snap"

// Snapshot names a file that holds the state of a replica at its base: all
// that the entries up to there have done.
type Snapshot struct {
	Replica Replica
	Base    Base
	Size    int64  // of the file, in bytes
	File    string // with its directory
}

// errSnapshotsToCome is returned while this is a plan.
var errSnapshotsToCome = errors.New("snapshots are still to come")

// Snapshots returns the snapshots of a replica that can be used as far as is
// known, oldest first. It looks at no file: a snapshot's header and length were
// checked when the Store was opened, its blocks are when it is read. Any
// goroutine may ask.
func (s *Store) Snapshots(Replica) []Snapshot { return nil }

// CreateSnapshot begins a snapshot of a replica's state at b, which its log
// holds or begins at. It may be called beside Append, and the writer used
// there; nothing shows before its Commit.
func (s *Store) CreateSnapshot(Replica, Base) (*SnapshotWriter, error) {
	return nil, errSnapshotsToCome
}

// ReceiveSnapshot begins to take the file of a snapshot that another replica of
// the group has made. It may be called beside Append.
func (s *Store) ReceiveSnapshot(Replica) (*SnapshotReceiver, error) { return nil, errSnapshotsToCome }

// OpenSnapshot opens a snapshot for reading, beside Append if need be. A file
// that is removed meanwhile is read to its end.
func (s *Store) OpenSnapshot(Snapshot) (*SnapshotReader, error) { return nil, errSnapshotsToCome }

// RemoveSnapshots removes a replica's snapshots of bases before an index, beside
// Append if need be.
func (s *Store) RemoveSnapshots(id Replica, before raft.LogID) error { return nil }

// ScrubSnapshots goes on with a slow walk over the blocks of all snapshots: it
// reads some maxBytes, and says true when it has seen the last one, after which
// the next call begins anew. A [Damage] that it finds it also remembers: the
// snapshot is no longer among Snapshots. It may run beside Append, from one
// goroutine at a time.
func (s *Store) ScrubSnapshots(maxBytes int64) (done bool, err error) { return true, nil }

// SnapshotWriter takes the stream of a state. One goroutine uses it, and ends
// it with Commit or Abort.
//
// An error of the disk is final for the Store, like one of Append. Only where
// there is no space it is not: then the error says so, and what was
// written is to be given up with Abort.
type SnapshotWriter struct{}

// Write takes the next bytes of the state. Every 1 MiB it waits for the disk.
func (w *SnapshotWriter) Write([]byte) (int, error) { return 0, errSnapshotsToCome }

// Commit makes the snapshot durable, and only then shows it.
func (w *SnapshotWriter) Commit() (Snapshot, error) { return Snapshot{}, errSnapshotsToCome }

// Abort removes what was written. After Commit it does nothing.
func (w *SnapshotWriter) Abort() error { return nil }

// SnapshotReceiver takes the bytes of a snapshot's file in chunks, and checks
// them as they come. One goroutine uses it, and ends it with Commit or Abort.
// Its errors of the disk are those of a [SnapshotWriter].
type SnapshotReceiver struct{}

// Chunk takes the bytes of the file from an offset on. What was taken before is
// skipped; one that leaves a gap is refused with [ErrChunk], and does no harm.
// A [Damage] says that the file is not what the sender's replica wrote: it
// must be given up, and begun anew.
func (r *SnapshotReceiver) Chunk(offset int64, b []byte) error { return errSnapshotsToCome }

// Offset is where the next chunk is due.
func (r *SnapshotReceiver) Offset() int64 { return 0 }

// Base returns what the file says of its base, once so much of it has come.
func (r *SnapshotReceiver) Base() (Base, bool) { return Base{}, false }

// Commit makes the snapshot durable, and only then shows it. It returns a
// [Damage] if the file is not complete.
func (r *SnapshotReceiver) Commit() (Snapshot, error) { return Snapshot{}, errSnapshotsToCome }

// Abort removes what was taken. After Commit it does nothing.
func (r *SnapshotReceiver) Abort() error { return nil }

// ErrChunk is wrapped by the error about a chunk that is not the one that is
// due, or too large.
var ErrChunk = errors.New("not the chunk that is due")

// SnapshotReader reads a snapshot. One goroutine uses it. Each block is
// verified before its first byte is handed out; a block that does not fit is a
// [Damage], and the snapshot is no longer among [Store.Snapshots].
type SnapshotReader struct{}

// Read reads the stream of the state. It returns io.EOF only after all of the
// file was found whole.
func (r *SnapshotReader) Read([]byte) (int, error) { return 0, errSnapshotsToCome }

// RawAt reads the file's own bytes from an offset on, to be sent: fewer than
// p has room for only at the end of the file.
func (r *SnapshotReader) RawAt(p []byte, off int64) (int, error) { return 0, errSnapshotsToCome }

// Size returns the size of the file, in bytes.
func (r *SnapshotReader) Size() int64 { return 0 }

// Close gives the file back.
func (r *SnapshotReader) Close() error { return nil }
