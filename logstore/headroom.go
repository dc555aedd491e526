package logstore

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sync"

	"muster/logstore/vfs"
)

// headroom is a file that only takes up room, so that there is some when the
// disk is full: for the snapshot by which the log can be compacted, and for the
// identity, which is written anew at each start. When one of them finds no room
// it is cut, and it is made again when there is some. A snapshot leaves the
// identity its part: no node shall be kept from starting.
type headroom struct {
	mu   sync.Mutex // no other is taken under it
	size int64      // guarded by mu; of the file, 0 if there is none
	lent int        // guarded by mu; how many write in its place
}

// allocator is a file that can be given room without its being written. It
// suffices for the headroom, whose bytes nobody reads.
type allocator interface{ Allocate(size int64) error }

// keepHeadroom makes the headroom as large as what it is for, or as near to it
// as there is room. It belongs to the goroutine of Append.
func (s *Store) keepHeadroom() error {
	want := s.headroomSize()
	h := &s.headroom
	h.mu.Lock()
	defer h.mu.Unlock()
	// A little more than it needs is not worth the work.
	if h.lent > 0 || h.size >= want && h.size <= 2*want+headroomStep {
		return nil
	}
	err := s.makeHeadroom(want)
	if errors.Is(err, ErrFull) && h.size < headroomMin {
		err = s.makeHeadroom(headroomMin)
	}
	if err != nil && !errors.Is(err, ErrFull) {
		return fmt.Errorf("keep headroom: %w", err)
	}
	return nil
}

// headroomSize is as much as a snapshot may need, and the identity: what the
// largest snapshot holds, and what the log may have added to it since.
func (s *Store) headroomSize() int64 {
	largest := int64(0)
	for id := range s.index.replicas {
		if all := s.Snapshots(id); len(all) > 0 {
			largest = max(largest, all[len(all)-1].Size)
		}
	}
	want := largest + min(s.index.needed, max(largest, logSinceMin))
	return headroomMin + roundUp(want, headroomStep)
}

// makeHeadroom gives the file a size. If there is no room it stays as it was.
func (s *Store) makeHeadroom(size int64) error {
	h := &s.headroom
	if err := s.askFree(size - h.size); err != nil {
		return err
	}
	var file vfs.File
	var err error
	if h.size == 0 {
		file, err = s.fs.Create(s.headroomFile())
	} else {
		file, err = openFile(s.fs, s.headroomFile())
	}
	if err != nil {
		return err
	}
	// It is synced so that no power cut gives its room to others.
	if err = s.fillHeadroom(file, h.size, size); err == nil {
		err = file.Sync()
	}
	if err == nil {
		h.size = size
	} else if cutErr := file.Truncate(h.size); cutErr != nil {
		err = errors.Join(err, cutErr)
	}
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = s.fs.SyncDir(path.Dir(s.dir))
	}
	return err
}

func (s *Store) fillHeadroom(file vfs.File, has, size int64) error {
	if size <= has {
		return file.Truncate(size)
	}
	if a, ok := file.(allocator); ok && a.Allocate(size) == nil {
		return nil
	}
	zeros := make([]byte, min(size-has, fillPieceBytes))
	for at := has; at < size; {
		n := min(int64(len(zeros)), size-at)
		if _, err := file.WriteAt(zeros[:n], at); err != nil {
			return err
		}
		at += n
	}
	return nil
}

// findHeadroom takes over the headroom that an earlier process left.
func (s *Store) findHeadroom() error {
	file, err := openFile(s.fs, s.headroomFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	s.headroom.size, err = sizeOf(file)
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	return err
}

func (s *Store) headroomFile() string { return path.Join(path.Dir(s.dir), headroomName) }

// cutHeadroom gives back the room of the headroom in a data directory, but so
// many bytes.
func cutHeadroom(disk vfs.FS, dir string, left func(size int64) int64) error {
	file, err := openFile(disk, path.Join(dir, headroomName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("give up headroom: %w", err)
	}
	size, err := sizeOf(file)
	if err == nil {
		err = file.Truncate(left(size))
	}
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("give up headroom: %w", err)
	}
	return nil
}

// forIdentity is what is left after an identity got its room.
func forIdentity(size int64) int64 { return max(0, size-identityRoom) }

// forSnapshot is what is left after a snapshot got its room.
func forSnapshot(size int64) int64 { return min(size, headroomMin) }

// inRoom does what needs room, beside Append: if there is none, it gives up the
// headroom and does it once more. Whoever calls it calls endRoom once he needs
// no more.
func (s *Store) inRoom(lent *bool, do func() error) error {
	err := do()
	if !errors.Is(err, ErrFull) {
		return err
	}
	h := &s.headroom
	h.mu.Lock()
	had := h.size > headroomMin
	if !*lent {
		*lent = true
		h.lent++
	}
	if had {
		s.log.Warn("disk full: headroom is given up", "bytes", h.size)
		if cutErr := cutHeadroom(s.fs, path.Dir(s.dir), forSnapshot); cutErr != nil {
			h.mu.Unlock()
			return cutErr // not a want of room, after which the log may go on
		}
		h.size = headroomMin
	}
	h.mu.Unlock()
	if !had {
		return err
	}
	return do()
}

// endRoom ends what inRoom began: the headroom may be made again.
func (s *Store) endRoom(lent *bool) {
	if !*lent {
		return
	}
	*lent = false
	s.headroom.mu.Lock()
	defer s.headroom.mu.Unlock()
	s.headroom.lent--
}
