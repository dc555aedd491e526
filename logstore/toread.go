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
// [ErrStopped]. Of a log that is in use it sees what is there now, and its end
// may look torn; a segment that is used again meanwhile reads as damaged.
//
// It returns what [Open] does, and [ErrNoLog] where there is none.
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
			err = s.snapshots.find()
		}
	}
	if err != nil {
		s.closeFiles()
		return nil, fmt.Errorf("read the log in %s: %w", s.dir, err)
	}
	return s, nil
}

// SnapshotOf reads from the name of a snapshot's file whose it is, and at which
// base.
func SnapshotOf(file string) (id Replica, base raft.LogID, ok bool) {
	return parseSnapshotName(path.Base(file))
}

// StatSnapshot returns what a file of a snapshot, whose name says whose it is,
// says of itself at its ends. [VerifySnapshot] reads all of it. It returns a
// [Damage], [ErrNewerFormat], or the disk's error, and changes nothing.
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
