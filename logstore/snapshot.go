package logstore

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"muster/raft"
)

// SnapshotDir is the directory of the snapshots, in the data directory.
const SnapshotDir = "snap"

// Snapshot names a file that holds the state of a replica at its base: all
// that the entries up to there have done.
//
// # The order, for who makes or takes one
//
//  1. Commit of the writer or the receiver has returned nil.
//  2. A [Write] with that Base has.
//  3. [Store.RemoveSnapshots] of those before it.
//
// A crash before 2 leaves a snapshot too many, which Open keeps if the log holds
// its base, and removes else. Behind a Write with a Base for which there is no
// snapshot the replica has lost its state.
type Snapshot struct {
	Replica Replica
	Base    Base
	Size    int64  // of the file, in bytes
	File    string // with its directory
}

// kept is a snapshot that has a file.
type kept struct {
	Snapshot
	damage *Damage // what is known to be wrong with it, or what the disk has refused too often
	// What the disk refuses of it, and how often it did in a row; nil: nothing.
	refused *Damage
	looks   int
}

// Snapshots returns the snapshots of a replica that can be used as far as is
// known, oldest first. It looks at no file: header and length were checked when
// the Store was opened, the blocks are when they are read. Any goroutine may
// ask.
func (s *Store) Snapshots(id Replica) []Snapshot {
	s.index.mu.Lock()
	defer s.index.mu.Unlock()
	var usable []Snapshot
	for _, k := range s.snapshots[id] {
		if k.damage == nil {
			usable = append(usable, k.Snapshot)
		}
	}
	return usable
}

// addSnapshot is called with mu held. One of the same base was the same file.
func (s *Store) addSnapshot(k kept) {
	list := s.snapshots[k.Replica]
	i, found := slices.BinarySearchFunc(list, k.Base.ID, func(k kept, id raft.LogID) int { return compareLogIDs(k.Base.ID, id) })
	if found {
		list[i] = k
		return
	}
	s.snapshots[k.Replica] = slices.Insert(list, i, k)
}

func compareLogIDs(a, b raft.LogID) int {
	return cmp.Or(cmp.Compare(a.Index, b.Index), cmp.Compare(a.Term, b.Term))
}

// snapshotDamaged takes note of damage in a snapshot, unless it is one no more.
func (s *Store) snapshotDamaged(sn Snapshot, d *Damage) {
	if d.Refused && !bug("refused read taken for loss") {
		s.snapshotRefused(sn, d)
		return
	}
	s.index.mu.Lock()
	known := false
	for i := range s.snapshots[sn.Replica] {
		if k := &s.snapshots[sn.Replica][i]; k.File == sn.File && (k.damage == nil || k.damage.Refused) {
			k.damage, k.refused, known = d, nil, true
		}
	}
	s.index.mu.Unlock()
	if known {
		s.log.Error("snapshot damaged", "replica", sn.Replica, "file", d.File, "offset", d.Offset, "record", d.Record, "reason", d.Reason)
	}
}

// stateLost says whether the state of a replica at its base is nowhere in this
// directory: entries that are not in the log any more were compacted behind a
// snapshot that can't be used. One that came from another node and goes beyond the
// log does not count before the log begins there: the next Open removes it. It is
// called with mu held.
func (s *Store) stateLost(p *replica) (Damage, bool) {
	if p.base == nil || p.base.ID.Index == 0 {
		return Damage{}, false
	}
	d := Damage{
		File:   path.Join(s.snapDir, snapshotName(p.id, p.base.ID)),
		Record: "snapshot",
		Reason: fmt.Sprintf("there is none of %s at %s or after", p.id, p.base.ID),
	}
	for _, k := range s.snapshots[p.id] {
		term, holds := p.term(k.Base.ID.Index)
		switch {
		case k.Base.ID.Index < p.base.ID.Index || !holds || term != k.Base.ID.Term:
		case k.damage == nil:
			return Damage{}, false
		default:
			d = *k.damage
		}
	}
	return d, true
}

// RemoveSnapshots removes a replica's snapshots of bases before an index, whole
// or damaged, beside Append if need be.
func (s *Store) RemoveSnapshots(id Replica, before raft.LogID) error {
	s.index.mu.Lock()
	s.snapshots[id] = slices.DeleteFunc(s.snapshots[id], func(k kept) bool {
		if k.Base.ID.Index >= before.Index {
			return false
		}
		s.doomed = append(s.doomed, k.File)
		return true
	})
	if len(s.snapshots[id]) == 0 {
		delete(s.snapshots, id)
	}
	s.index.mu.Unlock()
	if err := s.sweepSnapshots(); err != nil {
		return fmt.Errorf("remove snapshots of %s before %s: %w", id, before, err)
	}
	return nil
}

// forgetSnapshots dooms those of a replica that was removed. It is called with
// mu held. The files go with the next sweep: that takes long, and who holds mu
// here is in a hurry.
func (s *Store) forgetSnapshots(id Replica) {
	for _, k := range s.snapshots[id] {
		s.doomed = append(s.doomed, k.File)
	}
	delete(s.snapshots, id)
}

// sweepSnapshots removes the files that nobody wants any more. One that can't be
// removed, or comes back after a crash, is only in the way: the next Open tries
// again.
func (s *Store) sweepSnapshots() error {
	s.index.mu.Lock()
	doomed := s.doomed
	s.doomed = nil
	s.index.mu.Unlock()
	var errs []error
	for _, name := range doomed {
		if err := s.fs.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
