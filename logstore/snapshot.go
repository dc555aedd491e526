package logstore

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"slices"
	"sync"

	"muster/logstore/vfs"
	"muster/raft"
)

// SnapshotDir is the directory of the snapshots, in the data directory.
const SnapshotDir = "snap"

// Snapshot names a file that holds the state of a replica at its base: the effect of
// all entries up to there.
//
// # The order in which to make or receive one
//
//  1. Commit of the writer or the receiver, which returns nil.
//  2. A [Write] with that Base, which succeeds.
//  3. [Store.RemoveSnapshots] of those before it.
//
// A crash before 2 leaves a snapshot too many, which Open keeps if the log holds
// its base, and removes otherwise. After a Write with a Base for which there is no
// snapshot, the replica has lost its state.
type Snapshot struct {
	Replica Replica
	Base    Base
	Size    int64  // of the file, in bytes
	File    string // with its directory
}

// snapshots has the files of the snapshots: those that may be of use, those that are
// being written or received, and those that are to be removed. The state of a replica is
// in one of them and in the entries of the log after it; the index knows which of them
// fit the log.
type snapshots struct {
	disk     vfs.FS
	dir      string
	log      *slog.Logger
	index    *index
	faults   *faults
	headroom *headroom
	halt     *halt
	figures  *figures

	pieces, blocks spare         // of those that are being written, from any goroutine
	scrub          snapshotScrub // owned by the goroutine of ScrubSnapshots

	mu     sync.Mutex         // taken after index.mu, never held over a disk operation
	of     map[Replica][]kept // guarded by mu; by base, those that may be of use
	doomed []string           // guarded by mu; files that are to be removed
	temp   uint64             // guarded by mu; number of the last temporary file
}

// Snapshots returns the snapshots of a replica that are not known to be unusable,
// oldest first. It looks at no file: header and length were checked when the Store was
// opened, and the blocks are checked when they are read. Any goroutine may ask.
func (s *Store) Snapshots(id Replica) []Snapshot {
	return s.snapshots.usable(id)
}

// RemoveSnapshots removes a replica's snapshots of bases before an index, whole
// or damaged. It may run beside Append.
func (s *Store) RemoveSnapshots(id Replica, before raft.LogID) error {
	return s.snapshots.remove(id, before)
}

// DropSnapshot removes one snapshot of a replica, which the log does not begin at. It may run
// beside Append.
func DropSnapshot(s *Store, sn Snapshot) error {
	return s.snapshots.drop(sn)
}

// OpenSnapshot opens a snapshot for reading. It may run beside Append. A file that is
// removed meanwhile can still be read to its end.
func (s *Store) OpenSnapshot(sn Snapshot) (*SnapshotReader, error) {
	return s.snapshots.read(sn)
}

// ReceiveSnapshot begins to receive the file of a snapshot that another replica of the
// group has made. It may run beside Append. Two for one replica may be under way.
func (s *Store) ReceiveSnapshot(id Replica) (*SnapshotReceiver, error) {
	return s.snapshots.receive(id)
}

// CreateSnapshot begins a snapshot of a replica's state at b, an entry of its log or
// the base of it. It may run beside Append, and so may the calls of the writer; nothing
// is visible before its Commit. Two of one replica may be under way.
func (s *Store) CreateSnapshot(id Replica, b Base) (*SnapshotWriter, error) {
	return s.snapshots.create(id, b)
}

// CreateBase begins a snapshot of a state with which a replica's log is to begin anew: b
// is not before the beginning of the log, and need not be in it. As with one that was
// received, the file stays only if a [Write] with that Base follows. Otherwise it is as
// [Store.CreateSnapshot].
func (s *Store) CreateBase(id Replica, b Base) (*SnapshotWriter, error) {
	return s.snapshots.createBase(id, b)
}

// ScrubSnapshots continues a slow walk over the blocks of all snapshots. It reads
// about maxBytes, and at least one block, and reports true once it has seen the last
// one; the next call begins anew. It remembers damage, so that the snapshot is no
// longer among [Store.Snapshots], and returns it; the next call continues after that
// snapshot. It leaves what the disk refuses to [Store.LookAgain]. It may run beside
// Append, from one goroutine at a time.
func (s *Store) ScrubSnapshots(maxBytes int64) (done bool, err error) {
	return s.snapshots.scrubSome(maxBytes)
}

// kept is a snapshot that has a file.
type kept struct {
	Snapshot
	damage *Damage // what is wrong with it, or what the disk has refused too often; nil: nothing known
	// What the disk refuses of it, and how often in a row; nil: nothing.
	refused *Damage
	looks   int
}

// add is called with mu held. One of the same base was the same file.
func (s *snapshots) add(k kept) {
	list := s.of[k.Replica]
	i, found := slices.BinarySearchFunc(list, k.Base.ID, func(k kept, id raft.LogID) int { return compareLogIDs(k.Base.ID, id) })
	if found {
		list[i] = k
		return
	}
	s.of[k.Replica] = slices.Insert(list, i, k)
}

func compareLogIDs(a, b raft.LogID) int {
	return cmp.Or(cmp.Compare(a.Index, b.Index), cmp.Compare(a.Term, b.Term))
}

// damaged records damage in a snapshot, unless that was removed meanwhile.
func (s *snapshots) damaged(sn Snapshot, d *Damage) {
	if d.Refused && !bug("refused read taken for loss") {
		s.refused(sn, d)
		return
	}
	s.mu.Lock()
	known := false
	for i := range s.of[sn.Replica] {
		if k := &s.of[sn.Replica][i]; k.File == sn.File && (k.damage == nil || k.damage.Refused) {
			k.damage, k.refused, known = d, nil, true
		}
	}
	s.mu.Unlock()
	if known {
		s.log.Error("snapshot damaged", "replica", sn.Replica, "file", d.File, "offset", d.Offset, "record", d.Record, "reason", d.Reason)
	}
}

// stateLost reports whether the state of a replica at its base is nowhere in this
// directory: the log was cut off behind a snapshot that can't be used. A snapshot from
// another node that goes beyond the log counts only once the log begins there: before
// that, the next Open removes it. It is called with index.mu held.
func (s *snapshots) stateLost(p *replica) (Damage, bool) {
	if p.base == nil || p.base.ID.Index == 0 {
		return Damage{}, false
	}
	d := Damage{
		File:   path.Join(s.dir, snapshotName(p.id, p.base.ID)),
		Record: "snapshot",
		Reason: fmt.Sprintf("there is none of %s at %s or after", p.id, p.base.ID),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.of[p.id] {
		term, holds := p.term(k.Base.ID.Index)
		// A snapshot serves if the log can continue from it: its base is an entry of the
		// log, or where the log begins.
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

// forget dooms the snapshots of a replica that was removed. It is called with index.mu
// held. The next sweep removes the files: that takes long, and Append would wait.
func (s *snapshots) forget(id Replica) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.of[id] {
		s.doomed = append(s.doomed, k.File)
	}
	delete(s.of, id)
}

// sweep removes the files that are no longer needed. One that can't be removed, or
// comes back after a crash, does no harm: the next Open tries again.
func (s *snapshots) sweep() error {
	s.mu.Lock()
	doomed := s.doomed
	s.doomed = nil
	s.mu.Unlock()
	var errs []error
	for _, name := range doomed {
		if err := s.disk.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// usable does what [Store.Snapshots] says.
func (s *snapshots) usable(id Replica) []Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	var usable []Snapshot
	for _, k := range s.of[id] {
		if k.damage == nil {
			usable = append(usable, k.Snapshot)
		}
	}
	return usable
}

// remove does what [Store.RemoveSnapshots] says.
func (s *snapshots) remove(id Replica, before raft.LogID) error {
	if err := s.takeAway(id, func(k *kept) bool { return k.Base.ID.Index < before.Index }); err != nil {
		return fmt.Errorf("remove snapshots of %s before %s: %w", id, before, err)
	}
	return nil
}

func (s *snapshots) drop(sn Snapshot) error {
	if err := s.takeAway(sn.Replica, func(k *kept) bool { return k.File == sn.File }); err != nil {
		return fmt.Errorf("remove the snapshot of %s at %s: %w", sn.Replica, sn.Base.ID, err)
	}
	return nil
}

// takeAway removes those of a replica's for which gone returns true.
func (s *snapshots) takeAway(id Replica, gone func(*kept) bool) error {
	s.mu.Lock()
	s.of[id] = slices.DeleteFunc(s.of[id], func(k kept) bool {
		if !gone(&k) {
			return false
		}
		s.doomed = append(s.doomed, k.File)
		return true
	})
	if len(s.of[id]) == 0 {
		delete(s.of, id)
	}
	s.mu.Unlock()
	return s.sweep()
}
