package blocks

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"slices"

	"muster/logstore"
	"muster/logstore/vfs"
	"muster/shardmap/points/block"
)

// Open finds the block files of a data directory, and removes what was never finished. It opens no file further than to
// know its size: what is in it is checked as it is read. Its errors are the disk's.
func Open(o Options) (*Store, error) {
	s := &Store{disk: o.FS, tree: tree(o.Dir), leave: o.Leave, first: beginning{do: o.Begin}, log: o.Log, piece: cmp.Or(o.Piece, pieceBytes), keys: block.NewKeys(KeysMax), files: map[Group]map[block.Sum]*entry{}}
	if s.leave == nil {
		s.leave = func() int64 { return 0 }
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.walk.store = s
	if err := s.find(); err != nil {
		return nil, fmt.Errorf("open the block files in %s: %w", path.Join(o.Dir, Dir), err)
	}
	return s, nil
}

func (s *Store) find() error {
	dir := path.Join(string(s.tree), Dir)
	names, err := listNames(s.disk, dir)
	if isAbsent(err) {
		return nil // the first file makes it
	}
	if err != nil {
		return err
	}
	for _, name := range names {
		g, ok := parseFolder(name)
		if !ok {
			s.log.Warn("unknown file among the folders of block files", "file", path.Join(dir, name))
			continue
		}
		if err := s.findIn(g); err != nil {
			return err
		}
	}
	s.naming.Lock()
	defer s.naming.Unlock()
	slices.SortFunc(s.aside, func(a, b putAside) int { return cmp.Compare(a.number, b.number) })
	for i := range s.aside {
		a := &s.aside[i]
		a.over = s.files[a.group][a.sum] != nil
	}
	return s.trim(AsideMax)
}

// findIn finds the files of a group.
func (s *Store) findIn(g Group) error {
	dir := s.tree.folder(g)
	names, err := listNames(s.disk, dir)
	if err != nil {
		return err
	}
	rest := 0
	for _, name := range names {
		file := path.Join(dir, name)
		switch kindOf(name) {
		case kindTemporary:
			if err := s.disk.Remove(file); err != nil && !isAbsent(err) {
				return err
			}
			continue
		case kindAside:
			number, sum, _ := parseAside(name)
			s.aside = append(s.aside, putAside{number: number, group: g, sum: sum})
		case kindFile:
			if err := s.take(g, name); err != nil {
				return err
			}
		case kindOther:
			s.log.Warn("unknown file among the block files", "file", file)
		}
		rest++
	}
	if rest == 0 {
		// A crash came between the last file and the folder, or before the first.
		return s.disk.Remove(dir)
	}
	// A killed process may have renamed a file without syncing the directory, and a snapshot may list the file from now
	// on.
	return s.disk.SyncDir(dir)
}

// take notes a file. One that the disk refuses counts as damaged until the disk returns it.
func (s *Store) take(g Group, name string) error {
	e := &entry{File: File{Group: g}}
	e.Sum, _ = block.ParseName(name)
	file, err := openRead(s.disk, path.Join(s.tree.folder(g), name))
	if err == nil {
		e.Size, err = sizeOf(file)
		err = errors.Join(err, file.Close())
	}
	switch {
	case errors.Is(err, logstore.ErrRefused):
		e.refused, e.looks = &refusal{err: err}, refusedLooks
		e.damage = e.refusedDamage(s.tree.file(&e.File))
		s.log.Error("block file can't be read", "group", g, "file", s.tree.file(&e.File), "err", err)
	case err != nil:
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.add(e)
	return nil
}

// The functions below ask the disk by the rule for reads that it refuses.

func listNames(disk vfs.FS, dir string) ([]string, error) {
	return logstore.Insist(func() ([]string, error) { return disk.List(dir) })
}

func openRead(disk vfs.FS, name string) (vfs.Reader, error) {
	return logstore.Insist(func() (vfs.Reader, error) { return disk.OpenRead(name) })
}

func sizeOf(file vfs.Reader) (int64, error) { return logstore.Insist(file.Size) }

func isAbsent(err error) bool { return errors.Is(err, fs.ErrNotExist) }
