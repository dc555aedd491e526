package logstore

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"sync"

	"muster/logstore/vfs"
)

// headroom is a file that only takes up room, so that there is some when the disk is
// full: for the snapshot behind which the log can be compacted, for the identity, which
// is written anew at each start, and for fences. When one of them finds no room, the file
// is cut; it grows again when there is room. A snapshot leaves the identity its part, and
// fences leave half of that: a full disk must not keep a node from starting.
type headroom struct {
	disk  vfs.FS
	dir   string // the data directory
	log   *slog.Logger
	gauge *gauge

	mu   sync.Mutex // no other is taken under it
	size int64      // guarded by mu; of the file, 0 if there is none
	had  int64      // guarded by mu; what it had when it was given up; 0: it was not
	lent int        // guarded by mu; how many write in its place
}

// allocator is a file that can get room without being written. That is enough for
// the headroom, whose bytes nobody reads.
type allocator interface{ Allocate(size int64) error }

// keep makes the headroom as large as want. Where there is no room for that it gets what
// there is of what it had before it was given up, or of least, and the log gets none before
// that. It belongs to the goroutine of Append.
func (h *headroom) keep(want, least int64) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.lent > 0 {
		return nil
	}
	// A headroom that is a little too large is not worth the work.
	if h.size >= want && h.size <= 2*want+headroomStep {
		h.owe(want, least)
		return nil
	}
	err := h.resize(want)
	if errors.Is(err, ErrFull) {
		h.owe(want, least)
		part := h.size + min(h.gauge.owed.Load(), h.gauge.free)/headroomStep*headroomStep
		if part = max(part, headroomMin); part > h.size {
			err = h.resize(part)
		}
	}
	if err != nil && !errors.Is(err, ErrFull) {
		return fmt.Errorf("keep headroom: %w", err)
	}
	h.owe(want, least)
	return nil
}

// owe notes how much is missing of what is not the log's to take.
func (h *headroom) owe(want, least int64) {
	if h.size >= min(h.had, want) {
		h.had = 0 // all of it is back
	}
	h.gauge.owed.Store(max(0, h.due(want, least)-h.size))
}

// due is how much of want comes before the log.
func (h *headroom) due(want, least int64) int64 { return min(want, max(h.had, least)) }

// keepDue makes the headroom as large as what comes before the log, if it is smaller.
func (h *headroom) keepDue(want, least int64) error {
	h.mu.Lock()
	due := h.due(want, least)
	enough := h.size >= due
	if enough && h.lent == 0 {
		h.owe(due, least)
	}
	h.mu.Unlock()
	if enough {
		return nil
	}
	return h.keep(due, least)
}

// resize gives the file a size. If there is no room it stays as it was. It is called
// with mu held.
func (h *headroom) resize(size int64) error {
	if err := h.gauge.ask(size - h.size); err != nil {
		return err
	}
	var file vfs.File
	var err error
	if h.size == 0 {
		file, err = h.disk.Create(h.file())
	} else {
		file, err = openFile(h.disk, h.file())
	}
	if err != nil {
		return err
	}
	// Without the sync, a power cut could give its room to others.
	if err = h.fill(file, h.size, size); err == nil {
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
		err = h.disk.SyncDir(h.dir)
	}
	return err
}

func (h *headroom) fill(file vfs.File, has, size int64) error {
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

// find takes over the headroom that an earlier process left.
func (h *headroom) find() error {
	file, err := openFile(h.disk, h.file())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	h.size, err = sizeOf(file)
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	return err
}

func (h *headroom) file() string { return path.Join(h.dir, headroomName) }

// cutHeadroom gives back the room of the headroom in a data directory, except as many
// bytes as left returns.
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

// leftByIdentity is what is left after an identity got its room.
func leftByIdentity(size int64) int64 { return max(0, size-identityRoom) }

// leftBySnapshot is what is left after a snapshot got its room.
func leftBySnapshot(size int64) int64 { return min(size, headroomMin) }

// lend calls do, which needs room, beside Append. If there is none, it gives up the
// headroom and calls do once more. The caller calls giveBack once it is done.
func (h *headroom) lend(lent *bool, do func() error) error {
	err := do()
	if !errors.Is(err, ErrFull) {
		return err
	}
	h.mu.Lock()
	had := h.size > headroomMin
	if !*lent {
		*lent = true
		h.lent++
	}
	if had {
		h.log.Warn("disk full: headroom is given up", "bytes", h.size)
		if cutErr := cutHeadroom(h.disk, h.dir, leftBySnapshot); cutErr != nil {
			h.mu.Unlock()
			return cutErr // not ErrFull, after which the log could continue
		}
		h.had = max(h.had, h.size)
		h.size = headroomMin
		h.gauge.owed.Store(h.had - h.size)
	}
	h.mu.Unlock()
	if !had {
		return err // there is no headroom left to give up
	}
	return do()
}

// giveBack ends what lend began: the headroom may be made again.
func (h *headroom) giveBack(lent *bool) {
	if !*lent {
		return
	}
	*lent = false
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lent--
}

// forIdentity calls do, which needs room for the identity. If there is none, it gives up
// the identity's part of the headroom, and calls do once more. Any goroutine may call
// it.
func (h *headroom) forIdentity(do func() error) error { return h.give(0, do) }

// forFence is forIdentity for a fence. It leaves half of the identity's part alone: the
// groups of a node may all be fenced, and a full disk must not keep it from starting.
func (h *headroom) forFence(do func() error) error { return h.give(headroomMin/2, do) }

// give calls do. If there is no room for it, it gives up identityRoom of the headroom,
// as long as keep is left of that, and calls do once more.
func (h *headroom) give(keep int64, do func() error) error {
	err := do()
	if !errors.Is(err, ErrFull) {
		return err
	}
	h.mu.Lock()
	if keep > 0 && leftByIdentity(h.size) < keep {
		h.mu.Unlock()
		return err
	}
	cutErr := cutHeadroom(h.disk, h.dir, leftByIdentity)
	if cutErr == nil {
		h.size = leftByIdentity(h.size)
	}
	h.mu.Unlock()
	if cutErr != nil {
		return cutErr
	}
	return do()
}
