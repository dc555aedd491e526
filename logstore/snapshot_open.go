package logstore

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"muster/raft"
)

// open makes the directory if it is missing, finds what is in it, and removes what is of
// no use: files that were never finished, snapshots from before the log's beginning,
// those of removed replicas, and those made or received for a base that the log then
// did not get.
//
// Damage does not keep it from opening. It does not read the blocks: they are checked
// when the state is loaded.
func (s *snapshots) open() error {
	if err := s.disk.MkdirAll(s.dir); err != nil {
		return err
	}
	files, err := s.list()
	if err != nil {
		return err
	}
	found := false
	for _, f := range files {
		name := path.Join(s.dir, f.name)
		switch s.useOf(f) {
		case useNone:
			if err := s.disk.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		case useUnknown:
			s.log.Warn("snapshot of no use, kept", "file", name)
		case useState:
			if err := s.take(f, name); err != nil {
				return err
			}
			found = true
		}
	}
	if !found {
		return nil
	}
	// A killed process may have renamed a file without syncing the directory, and the
	// log may be cut off behind that snapshot from now on.
	return s.disk.SyncDir(s.dir)
}

// snapshotEntry is a name in the directory of the snapshots.
type snapshotEntry struct {
	name      string
	temporary bool
	replica   Replica
	base      raft.LogID
}

func (s *snapshots) list() ([]snapshotEntry, error) {
	names, err := listNames(s.disk, s.dir)
	if err != nil {
		return nil, err
	}
	var files []snapshotEntry
	for _, name := range names {
		f := snapshotEntry{name: name, temporary: strings.HasSuffix(name, snapshotTempSuffix)}
		if !f.temporary {
			var ok bool
			if f.replica, f.base, ok = parseSnapshotName(name); !ok {
				s.log.Warn("unknown file among the snapshots", "file", path.Join(s.dir, name))
				continue
			}
		}
		files = append(files, f)
	}
	return files, nil
}

type use int

const (
	useNone    use = iota // it can go
	useUnknown            // the log can't tell, or does not know the replica: it is left alone
	useState              // its replica's state may be loaded from it
)

// useOf returns what use a file is, as far as the log can tell.
func (s *snapshots) useOf(f snapshotEntry) use {
	if f.temporary {
		return useNone
	}
	p := s.index.replicas[f.replica]
	if p == nil || p.base == nil {
		if s.index.graves[f.replica.Group].covers(f.replica) {
			return useNone
		}
		return useUnknown
	}
	term, holds := p.term(f.base.Index)
	d, _ := s.faults.lossNow(f.replica)
	switch {
	case f.base.Index < p.base.ID.Index:
		return useNone
	case holds && term == f.base.Term:
		return useState
	case d.Promises || len(d.Lost) > 0:
		return useUnknown // the log may have held it
	}
	return useNone
}

// take remembers a file after checking its header and its trailer. One that the disk
// refuses stays, and counts as damaged until the disk returns it.
func (s *snapshots) take(f snapshotEntry, name string) error {
	k := kept{Snapshot: Snapshot{Replica: f.replica, Base: Base{ID: f.base}, File: name}}
	r, err := openSnapshot(s.disk, name, f.replica, func(d *Damage) { k.damage = d })
	if err == nil {
		k.Base, k.Size = r.header.base, r.size
		if k.Base.ID != f.base {
			k.damage = &Damage{File: name, Record: "header", Reason: fmt.Sprintf("it is at %s", k.Base.ID)}
			k.Base = Base{ID: f.base}
		}
		err = r.Close()
	}
	if err != nil && k.damage == nil {
		return err
	}
	if d := k.damage; d != nil {
		if d.Refused {
			k.refused, k.looks = d, refusedLooks
		}
		s.log.Error("snapshot damaged", "replica", f.replica, "file", d.File, "offset", d.Offset, "record", d.Record, "reason", d.Reason)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.add(k)
	return nil
}

// states returns the files from which a replica's state may be loaded; none if there is
// no directory yet.
func (s *snapshots) states() ([]snapshotEntry, error) {
	files, err := s.list()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return slices.DeleteFunc(files, func(f snapshotEntry) bool { return s.useOf(f) != useState }), err
}

// verify reads all snapshots that have a use, changes nothing, and calls tell with each
// [Damage].
func (s *snapshots) verify(tell func(Damage)) error {
	files, err := s.states()
	if err != nil {
		return err
	}
	for _, f := range files {
		var d *Damage
		if err := VerifySnapshot(s.disk, path.Join(s.dir, f.name)); errors.As(err, &d) {
			tell(*d)
		} else if errors.Is(err, ErrRefused) {
			tell(Damage{File: path.Join(s.dir, f.name), Record: "snapshot", Reason: err.Error(), Refused: true})
		} else if err != nil {
			return err
		}
	}
	return nil
}

// find remembers the snapshots from which a replica's state may be loaded, and removes
// nothing.
func (s *snapshots) find() error {
	files, err := s.states()
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := s.take(f, path.Join(s.dir, f.name)); err != nil {
			return err
		}
	}
	return nil
}
