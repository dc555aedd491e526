package logstore

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"

	"muster/logstore/vfs"
	"muster/raft"
)

// snapshotScrub is how far the slow walk over the snapshots has come: the next block, of
// the snapshot of that replica and base, or of the one after it.
type snapshotScrub struct {
	begun   bool
	replica Replica
	base    raft.LogID
	block   int64
}

// nextToScrub returns the snapshot that is under way, or the one after it.
func (s *snapshots) nextToScrub() (Snapshot, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var next *Snapshot
	for _, list := range s.of {
		for i := range list {
			sn := &list[i].Snapshot
			if list[i].damage == nil && s.scrub.before(sn) && (next == nil || compareSnapshots(sn, next) < 0) {
				next = sn
			}
		}
	}
	if next == nil {
		return Snapshot{}, false
	}
	return *next, true
}

// has reports whether a snapshot is still known, whole or damaged.
func (s *snapshots) has(sn Snapshot) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.of[sn.Replica], func(k kept) bool { return k.File == sn.File })
}

// before reports whether something of a snapshot is still to be read.
func (c *snapshotScrub) before(sn *Snapshot) bool {
	if !c.begun {
		return true
	}
	n := cmp.Or(compareReplicas(c.replica, sn.Replica), compareLogIDs(c.base, sn.Base.ID))
	return n < 0 || n == 0 && c.block >= 0
}

func compareSnapshots(a, b *Snapshot) int {
	return cmp.Or(compareReplicas(a.Replica, b.Replica), compareLogIDs(a.Base.ID, b.Base.ID))
}

// scrubOne reads some blocks, and returns how many bytes it read. After the last one it
// sets the block to -1.
func (s *snapshots) scrubOne(sn Snapshot, maxBytes int64) (int64, error) {
	r, err := s.read(sn)
	if err != nil {
		return blockBytes, err
	}
	defer r.Close()
	bytes := int64(0)
	for bytes < maxBytes && s.scrub.block < r.trailer.blocks {
		if err := r.load(s.scrub.block); err != nil && !errors.Is(err, ErrRefused) {
			return bytes, err
		}
		s.scrub.block++
		bytes += int64(len(r.block))
	}
	if s.scrub.block == r.trailer.blocks {
		s.scrub.block = -1
	}
	return bytes + int64(len(r.ends)), nil
}

// VerifySnapshot reads all of a snapshot's file, whose name gives its replica and base.
// It returns a [Damage], [ErrNewerFormat], or the disk's error, and changes nothing.
func VerifySnapshot(disk vfs.FS, file string) error {
	id, base, ok := parseSnapshotName(path.Base(file))
	if !ok {
		return fmt.Errorf("verify %s: it does not have the name of a snapshot", file)
	}
	r, err := openSnapshot(disk, file, id, func(*Damage) {})
	if err != nil {
		return err
	}
	if r.header.base.ID != base {
		err = r.damage(0, "header", fmt.Errorf("it is at %s", r.header.base.ID))
	} else {
		_, err = io.Copy(io.Discard, r)
	}
	return errors.Join(err, r.Close())
}

// SnapshotFiles returns the names of the snapshots in a data directory, with
// their directories, in order.
func SnapshotFiles(disk vfs.FS, dir string) ([]string, error) {
	dir = path.Join(dir, SnapshotDir)
	names, err := listNames(disk, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		_, _, ok := parseSnapshotName(name)
		return !ok
	})
	for i := range names {
		names[i] = path.Join(dir, names[i])
	}
	return names, nil
}

// scrubSome does what [Store.ScrubSnapshots] says.
func (s *snapshots) scrubSome(maxBytes int64) (done bool, err error) {
	for maxBytes > 0 {
		sn, ok := s.nextToScrub()
		if !ok {
			s.scrub = snapshotScrub{}
			return true, nil
		}
		c := &s.scrub
		if !c.begun || c.replica != sn.Replica || c.base != sn.Base.ID {
			*c = snapshotScrub{begun: true, replica: sn.Replica, base: sn.Base.ID}
		}
		n, err := s.scrubOne(sn, maxBytes)
		maxBytes -= n
		if err != nil {
			c.block = -1
			if !s.has(sn) || errors.Is(err, ErrRefused) {
				continue // it was removed meanwhile, or LookAgain takes care of it
			}
			return false, fmt.Errorf("scrub the snapshot of %s at %s: %w", sn.Replica, sn.Base.ID, err)
		}
	}
	return false, nil
}
