package logstore

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"

	"muster/logstore/vfs"
	"muster/raft"
)

// Replica names one replica's part of the log. A group's number alone is not enough:
// records of a removed replica must never be taken for its successor's.
type Replica struct {
	Group       raft.GroupID
	Incarnation raft.Incarnation
	ID          raft.ReplicaID
}

func (r Replica) String() string {
	return fmt.Sprintf("%s incarnation %d replica %d", r.Group, uint64(r.Incarnation), uint64(r.ID))
}

// Base is where a replica's log begins: all up to ID is in a snapshot, or never
// existed, as at founding, when ID is 0.0.
type Base struct {
	ID         raft.LogID
	Time       raft.GroupTime  // the group time of the entry ID
	Membership raft.Membership // as it is in force at ID
}

// Write is what has to be kept of one Ready of one group. Its parts take effect in
// the order of the fields.
type Write struct {
	Replica Replica
	// Base, if not nil, is where the log begins from now on. The first Write
	// of a replica has one. If the log holds the entry Base.ID, the entries
	// after it stay; otherwise the log is empty after it.
	Base *Base
	// State is kept if HasState is set, including its Commit: with this write,
	// while the Commit below may wait for the next one.
	State    raft.HardState
	HasState bool
	// Commit travels with every record, for free. Alone it causes no write;
	// the next write, Idle or Close keeps it.
	Commit uint64
	// Mended gives back entries that are lost, see [Damaged]: exactly those
	// ids, in order. It truncates nothing. It skips an entry that is no longer
	// lost, because the log holds it again or begins after it.
	Mended []raft.Entry
	// Entries follow each other without a gap. If the first is not past the
	// end of the log, the log is truncated before it.
	Entries []raft.Entry
	// Note replaces what the log says about another node's life. A Write with
	// one has neither a replica nor any other part.
	Note *Note
	// Remove drops the replica for good: the log accepts neither it nor one of
	// its group with a lower replica id again. It may be a replica that the
	// log has never held.
	Remove bool
}

// Options says where the log is and what it may use.
type Options struct {
	FS  vfs.FS
	Dir string // the data directory; the segments are in its directory log
	// SegmentBytes is the size of a segment, [SegmentBytesDefault] if zero.
	SegmentBytes int64
	// FreeSegments is how many files, once freed, may always wait to be used
	// again, [FreeSegmentsDefault] if zero.
	FreeSegments int
	// Chance seeds the salts that keep a client, which chooses what is in a
	// record, from forging its checksum. A node draws it anew at each start; a
	// test may leave it zero.
	Chance uint64
	// Lock, if not nil, is the lock of the directory, which the caller holds
	// and closes. Otherwise Open takes it, and Close gives it back.
	Lock io.Closer
	Log  *slog.Logger // nil: none
}

const (
	// SegmentBytesDefault is large against a batch, so that little is wasted
	// at a segment's end, and small against a disk.
	SegmentBytesDefault = 16 << 20
	// SegmentBytesMin keeps a segment far larger than its smallest batch.
	SegmentBytesMin = 64 << 10
	// SegmentBytesMax keeps an offset within 32 bits.
	SegmentBytesMax = 1 << 30
)

var (
	// ErrInUse: another process has the data directory.
	ErrInUse = errors.New("data directory is in use")
	// ErrNewerFormat: a newer muster wrote it.
	ErrNewerFormat = errors.New("written by a newer muster")
	// ErrOlderFormat: an older muster wrote it, in a format that is not read any more.
	ErrOlderFormat = errors.New("written by an older muster")
	// ErrStopped is wrapped by every error of a Store after the first that it
	// met while writing, or after Close.
	ErrStopped = errors.New("log stopped")
	// ErrWrite: the caller's Write contradicts the log. Nothing of it is kept,
	// and the Store has stopped: a replica that would do it is broken.
	ErrWrite = errors.New("write contradicts the log")
	// ErrDamaged is wrapped by every [Damage].
	ErrDamaged = errors.New("damaged")
	// ErrCompacted: the entries are before the log's beginning.
	ErrCompacted = errors.New("compacted")
	// ErrRange: the entries are not in the log, or the range is empty.
	ErrRange = errors.New("not in the log")
	// ErrUnknown: the log holds no such replica.
	ErrUnknown = errors.New("no such replica in the log")
)

// Store is the log of one node.
type Store struct {
	fs   vfs.FS
	dir  string    // of the segments
	size int64     // of a standard segment
	lock io.Closer // nil if it is the caller's
	log  *slog.Logger

	halt     halt
	figures  figures
	tookBack bool // Open found lost entries again, see takeBack
	index    index
	faults   faults

	snapshots snapshots
	fences    fences
	aside     aside
	reader    reader
	walk      logScrub // owned by the goroutine of Scrub

	gauge     gauge
	headroom  headroom
	room      room
	writer    writer
	reclaimer reclaimer
	home      home
}

// Stats returns the figures.
func (s *Store) Stats() Stats {
	n := s.figures.get()
	s.index.mu.Lock()
	defer s.index.mu.Unlock()
	n.Segments = len(s.index.segments)
	for _, seg := range s.index.segments {
		n.SegmentBytes += seg.size
	}
	n.Replicas = 0
	for _, p := range s.index.replicas {
		if p.base != nil {
			n.Replicas++
		}
	}
	return n
}

// Replicas returns the replicas that are on disk and not removed, in order. Any
// goroutine may ask.
func (s *Store) Replicas() []Replica { return s.index.ids() }

// Tombstones returns the newest replica of each group that was removed. It
// belongs to the goroutine of Append, or is called before the first one.
func (s *Store) Tombstones() []Replica { return s.index.removed() }

// Outline returns the outline of a replica, and false if the log holds no such
// replica, or not even where its log begins. Any goroutine may ask.
func (s *Store) Outline(id Replica) (Outline, bool) { return s.index.outline(id) }

// Bounds returns where a replica's log begins and ends, and up to where it is
// known to be committed; false if the log holds no such replica. Any goroutine
// may ask.
func (s *Store) Bounds(id Replica) (base, last raft.LogID, commit uint64, ok bool) {
	return s.index.bounds(id)
}

// Notes returns the newest note of each node, in order, as they are on disk. Any
// goroutine may ask.
func (s *Store) Notes() []Note { return s.index.notes() }

func compareReplicas(a, b Replica) int {
	return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Incarnation, b.Incarnation), cmp.Compare(a.ID, b.ID))
}

// Close writes what Idle writes, records in the identity how far the log has come, and
// closes the files and the lock. After an error of Append it writes nothing.
func (s *Store) Close() error {
	var err error
	if s.halt.err() == nil {
		// The identity names the last batch, so it is written after that.
		if err = s.settle(); err == nil {
			err = s.home.stop()
		}
		s.halt.because(errors.New("closed"))
		err = errors.Join(err, s.snapshots.sweep(), s.fences.sweep())
	}
	return errors.Join(err, s.closeFiles())
}

func (s *Store) closeFiles() error {
	s.index.mu.Lock()
	open := slices.Clone(s.index.segments)
	s.index.mu.Unlock()
	var errs []error
	for _, seg := range open {
		if seg.file != nil {
			errs = append(errs, seg.file.Close())
		}
	}
	errs = append(errs, s.room.close(), s.home.closeWitness())
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	return errors.Join(errs...)
}
