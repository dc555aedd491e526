package logstore

import (
	"errors"
	"fmt"
	"io/fs"
	"path"

	"muster/logstore/vfs"
	"muster/raft"
)

// OpenToRead opens the log in a data directory for [Store.Read] and the like.
// It changes nothing and takes no lock: every method that would write returns
// [ErrStopped]. If the log is in use, it sees what is there now: the end may look torn,
// and a segment that is used again meanwhile reads as damaged.
//
// Its errors are those of [Open], and [ErrNoLog] if there is no log.
func OpenToRead(disk vfs.FS, dir string) (*Store, error) {
	s := newStore(Options{FS: disk, Dir: dir, SegmentBytes: SegmentBytesDefault})
	s.halt.because(errors.New("opened to read"))
	known, err := knownEndIfRead(disk, dir)
	if err != nil {
		return nil, fmt.Errorf("read the log in %s: %w", s.dir, err)
	}
	numbers, err := segmentNumbers(s.fs, s.dir, s.log)
	numbers = known.orNumbers(numbers)
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && len(numbers) == 0:
		err = ErrNoLog
	case err == nil:
		if err = (&recovery{s: s, known: known}).load(numbers); err == nil {
			err = errors.Join(s.snapshots.find(), s.fences.find())
		}
	}
	if err != nil {
		s.closeFiles()
		return nil, fmt.Errorf("read the log in %s: %w", s.dir, err)
	}
	return s, nil
}

// SnapshotOf returns the replica and the base that the name of a snapshot's file gives.
func SnapshotOf(file string) (id Replica, base raft.LogID, ok bool) {
	return parseSnapshotName(path.Base(file))
}

// StatSnapshot returns what the header and the trailer of a snapshot's file say; its
// name gives the replica. [VerifySnapshot] reads all of it. Its errors are a [Damage],
// [ErrNewerFormat], and the disk's. It changes nothing.
func StatSnapshot(disk vfs.FS, file string) (Snapshot, error) {
	id, _, ok := parseSnapshotName(path.Base(file))
	if !ok {
		return Snapshot{}, fmt.Errorf("%s: it does not have the name of a snapshot", file)
	}
	r, err := openSnapshot(disk, file, id, func(*Damage) {})
	if err != nil {
		return Snapshot{}, err
	}
	return Snapshot{Replica: id, Base: r.header.base, Size: r.size, File: file}, r.Close()
}
