package blocks

import (
	"errors"
	"fmt"
	"sync"

	"muster/logstore"
	"muster/logstore/vfs"
	"muster/shardmap/points/block"
)

// pieceBytes is how much of a file is written and synced at once: the log's own syncs wait for what the disk got before
// them. docs/decisions/0007-snapshots.md has the figures.
const pieceBytes = 1 << 20

// unfinished is a file in progress: under a temporary name, written from front to back and synced piece by piece.
type unfinished struct {
	s     *Store
	group Group
	name  string
	file  vfs.File // nil after it was closed
	buf   []byte   // to be written at at
	at    int64
	err   error // the first one, after which the file is over
	over  bool  // after Commit or Abort
}

var errOver = errors.New("it was committed or given up before")

// beginning does what is to be done before the first file is begun.
type beginning struct {
	mu sync.Mutex // held while it is done
	do func() error
}

func (b *beginning) now() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.do == nil {
		return nil
	}
	if err := b.do(); err != nil {
		return err
	}
	b.do = nil
	return nil
}

// begin makes the file.
func (s *Store) begin(g Group) (*unfinished, error) {
	s.sweep() // first, for its room
	if err := errors.Join(s.Stopped(), s.first.now()); err != nil {
		return nil, err
	}
	s.mu.Lock()
	if s.unfinished == UnfinishedMax {
		s.mu.Unlock()
		return nil, fmt.Errorf("%w: %d are being written, which is the limit: try again when one of them is done", ErrBusy, UnfinishedMax)
	}
	s.unfinished++
	s.temp++
	u := &unfinished{s: s, group: g, name: s.tree.temp(g, s.temp)}
	s.mu.Unlock()
	err := s.disk.MkdirAll(s.tree.folder(g))
	if err == nil {
		u.file, err = s.disk.Create(u.name)
	}
	if err != nil {
		u.abort()
		return nil, err
	}
	u.buf = make([]byte, 0, s.piece)
	return u, nil
}

// Room returns an error that wraps [logstore.ErrFull] unless the disk has so many bytes besides what it has for others.
// Damaged files that whole ones have replaced go first. It keeps no room: what others write meanwhile is missing then.
func (s *Store) Room(bytes int64) error {
	for {
		err := vfs.Room(s.disk, string(s.tree), "block files", bytes, s.leave())
		if err == nil || !s.clearAside() {
			return err
		}
	}
}

// clearAside removes the damaged files that are kept for a person alone, and reports whether there were any.
func (s *Store) clearAside() bool {
	s.naming.Lock()
	defer s.naming.Unlock()
	s.mu.Lock()
	n := s.aside.kept()
	s.mu.Unlock()
	if n > 0 {
		s.log.Warn("disk full: damaged block files that were kept aside are removed", "files", n)
	}
	return n > 0 && s.trim(0) == nil
}

// add takes the next bytes of the file, and waits for the disk after each piece.
func (u *unfinished) add(b []byte) error {
	switch {
	case u.over:
		return errOver
	case u.err == nil && u.at+int64(len(u.buf)+len(b)) > FileMax:
		u.err = fmt.Errorf("it has more than %d bytes: seal fewer points into one file", int64(FileMax))
	}
	for len(b) > 0 && u.err == nil {
		n := copy(u.buf[len(u.buf):cap(u.buf)], b)
		u.buf, b = u.buf[:len(u.buf)+n], b[n:]
		if len(u.buf) == cap(u.buf) {
			u.flush()
		}
	}
	return u.err
}

// These are planted to show that their tests find them: a sync that failed is tried once more, and succeeds; a file gets
// its name though a crash may take its content.
const (
	bugSyncRetried     = "failed sync of a block file retried"
	bugNamedBeforeSync = "block file named before its sync"
)

// flush writes a piece and syncs it.
func (u *unfinished) flush() {
	if u.err = u.s.Stopped(); u.err == nil {
		u.err = u.s.Room(int64(len(u.buf)))
	}
	if u.err == nil {
		_, u.err = u.file.WriteAt(u.buf, u.at)
	}
	if u.err == nil && !bug(bugNamedBeforeSync) {
		u.err = u.file.Sync()
		if u.err != nil && bug(bugSyncRetried) {
			u.err = u.file.Sync()
		}
	}
	if u.err == nil {
		u.at += int64(len(u.buf))
		u.buf = u.buf[:0]
	}
}

// check looks at the file as it stands on the disk: that it is one that its reader takes, and the one of that name.
type check func(r *block.Reader) error

// outline checks no more than header, directory and footer: the writer of the blocks has computed their sum.
func outline(*block.Reader) error { return nil }

// commit makes the file durable, checks it, and gives it its name.
func (u *unfinished) commit(sum block.Sum, whole check) (File, error) {
	if u.over {
		return File{}, errOver
	}
	if u.err == nil && len(u.buf) > 0 {
		u.flush()
	}
	if u.err == nil {
		u.err = u.verify(sum, whole)
	}
	if u.err == nil {
		// All of it is synced: a crash from here on leaves the whole file, under one of the two names.
		u.err = u.file.Close()
		u.file = nil
	}
	f := File{Group: u.group, Sum: sum, Size: u.at}
	if u.err == nil {
		f, u.err = u.s.give(u.name, f)
	}
	if u.err != nil {
		return File{}, u.err
	}
	u.end()
	return f, nil
}

func (u *unfinished) verify(sum block.Sum, whole check) error {
	r, err := block.Open(&tried{file: u.file}, u.at)
	if err == nil && r.Info().Sum != sum {
		err = fmt.Errorf("it says that it is %s", r.Info().Sum)
	}
	if err == nil {
		err = whole(r)
	}
	if err != nil && !errors.Is(err, logstore.ErrRefused) {
		err = fmt.Errorf("%w: %w", ErrContent, err)
	}
	return err
}

// bugNoDirectorySync is planted to show that its test finds it: a file counts as here though a crash may take its name.
const bugNoDirectorySync = "name of a block file not synced"

// give gives a temporary file its name. If the Store has a file of that name that is not known to be damaged, that one
// stays: it is the same.
func (s *Store) give(temp string, f File) (File, error) {
	s.naming.Lock()
	defer s.naming.Unlock()
	if err := s.Stopped(); err != nil {
		return File{}, err
	}
	s.mu.Lock()
	there := s.files[f.Group][f.Sum]
	s.mu.Unlock()
	if there != nil && there.damage == nil {
		s.removeTemp(temp)
		return there.File, nil
	}
	if err := s.disk.Rename(temp, s.tree.file(&f)); err != nil {
		return File{}, err
	}
	if !bug(bugNoDirectorySync) {
		if err := s.disk.SyncDir(s.tree.folder(f.Group)); err != nil {
			// Which names a crash leaves is not known any more, and a sync that succeeds later would not tell.
			s.stop(err)
			return File{}, s.Stopped()
		}
	}
	var idle []*opened
	s.mu.Lock()
	if there != nil {
		idle = s.drop(there)
	}
	s.add(&entry{File: f})
	s.aside.replaced(f.Group, f.Sum)
	s.mu.Unlock()
	closeAll(idle)
	if err := s.trim(AsideMax); err != nil { // the next Open tries again
		s.log.Warn("damaged block file is not removed", "err", err)
	}
	return f, nil
}

// abort removes what was written.
func (u *unfinished) abort() {
	if u.over {
		return
	}
	if u.file != nil {
		u.file.Close() // nothing in it is wanted
		u.file = nil
	}
	u.s.removeTemp(u.name)
	u.end()
}

// end gives back what the file has taken in memory.
func (u *unfinished) end() {
	u.over, u.buf = true, nil
	u.s.mu.Lock()
	u.s.unfinished--
	u.s.mu.Unlock()
}

// removeTemp removes a temporary file, if it is there. If it can't be removed, sweep and the next Open try again.
func (s *Store) removeTemp(name string) {
	if err := s.disk.Remove(name); err != nil && !isAbsent(err) {
		s.mu.Lock()
		s.doomed = append(s.doomed, name)
		s.mu.Unlock()
	}
}

// sweep removes what could not be removed before.
func (s *Store) sweep() {
	s.mu.Lock()
	doomed := s.doomed
	s.doomed = nil
	s.mu.Unlock()
	for _, name := range doomed {
		s.removeTemp(name)
	}
}

// Writer takes the bytes of a block file, as a [block.Writer] writes them. One goroutine uses it, and ends it with a
// Commit that succeeds, or with Abort. It waits for the disk after each 1 MiB; its user paces it.
type Writer struct{ file *unfinished }

// Create begins a file of a group. Nothing of it is visible before its Commit. Its errors are [ErrBusy], those of the
// disk, and [ErrStopped].
func (s *Store) Create(g Group) (*Writer, error) {
	u, err := s.begin(g)
	if err != nil {
		return nil, fmt.Errorf("make a block file of %s: %w", g, err)
	}
	return &Writer{u}, nil
}

// Write takes the next bytes. After an error the file is over: make another one, or, if the error wraps
// [logstore.ErrFull], wait for room.
func (w *Writer) Write(p []byte) (int, error) {
	if err := w.file.add(p); err != nil {
		return 0, fmt.Errorf("write a block file of %s: %w", w.file.group, err)
	}
	return len(p), nil
}

// Commit makes the file durable under the name of its sum, as the block.Writer has returned it, and only then visible.
// The sum is held to what the file says. If the group has the file already, that one stays.
func (w *Writer) Commit(sum block.Sum) (File, error) {
	f, err := w.file.commit(sum, outline)
	if err != nil {
		return File{}, fmt.Errorf("make %s: %w", File{Group: w.file.group, Sum: sum}, err)
	}
	return f, nil
}

// Abort removes what was written. After a Commit that succeeded it does nothing. If the file can't be
// removed now, that is tried again later.
func (w *Writer) Abort() { w.file.abort() }
