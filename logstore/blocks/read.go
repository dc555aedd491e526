package blocks

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sync/atomic"

	"muster/logstore"
	"muster/logstore/vfs"
	"muster/shardmap/points/block"
)

// tried reads a file by the rule for reads that the disk refuses, and notes what it refuses.
type tried struct {
	file    vfs.Reader
	refused func(at int64, n int, err error) // nil: nobody wants to know
	bytes   atomic.Int64                     // that were read
}

func (t *tried) ReadAt(b []byte, at int64) (int, error) {
	n, err := logstore.ReadAt(t.file, b, at)
	t.bytes.Add(int64(n))
	if err != nil && t.refused != nil && errors.Is(err, logstore.ErrRefused) {
		t.refused(at, len(b), err)
	}
	return n, err
}

// opened is a file that is open, for any number of readers.
type opened struct {
	entry  *entry
	file   vfs.Reader
	bytes  *tried
	blocks *block.Reader

	// guarded by Store.mu
	readers int
	gone    bool // the Store has no file of that name any more, or another: the last reader closes it
}

// Reader is a block file that is open for reading. Any number of goroutines may use it at a time, each with cursors of
// its own, and none after its Close. A file that was removed can still be read to its end.
type Reader struct {
	*block.Reader
	s      *Store
	of     *opened
	closed bool // guarded by Store.mu
}

// Open opens a file of a group for reading. All who have it open share it. An error wraps [ErrUnknown]
// if it is not here, is a [Damaged] if something is wrong with it, or wraps [ErrBusy] if [OpenMax] files are being read.
func (s *Store) Open(g Group, sum block.Sum) (*Reader, error) {
	o, err := s.share(g, sum)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", File{Group: g, Sum: sum}, err)
	}
	return &Reader{Reader: o.blocks, s: s, of: o}, nil
}

// File returns which file it is.
func (r *Reader) File() File { return r.of.entry.File }

// Close ends the reading.
func (r *Reader) Close() error {
	r.s.mu.Lock()
	if r.closed {
		r.s.mu.Unlock()
		return fmt.Errorf("close %s: it was closed before", r.of.entry.File)
	}
	r.closed = true
	keep := IdleMax
	if r.s.Stopped() != nil {
		keep = 0
	}
	idle := r.s.shared.release(r.of, keep)
	r.s.mu.Unlock()
	return closeAll(idle)
}

// Found tells the Store what a cursor of this reader met. If that is damage, the file is put aside, and [Store.Damaged]
// lists it. Other errors are passed over: the Store knows what the disk refuses.
func (r *Reader) Found(err error) {
	r.s.found(r.of.entry, err)
}

// ReadRange reads the file's own bytes from an offset on, to be sent to another replica, and returns the size of the file
// too. It returns fewer than p has room for only at the end of the file. Nothing is verified: the other one does that
// with all of it. [Store.Verify] is for the moment before the first byte is sent.
func (s *Store) ReadRange(g Group, sum block.Sum, p []byte, offset int64) (n int, size int64, err error) {
	r, err := s.Open(g, sum)
	if err != nil {
		return 0, 0, err
	}
	defer r.Close()
	size = r.Info().Size
	if offset < 0 || offset > size {
		return 0, size, fmt.Errorf("read %s at byte %d: want 0 to %d", r.File(), offset, size)
	}
	n, err = r.of.bytes.ReadAt(p[:min(int64(len(p)), size-offset)], offset)
	if err != nil && err != io.EOF {
		return n, size, fmt.Errorf("read %s at byte %d: %w", r.File(), offset, err)
	}
	return n, size, nil
}

// Verify reads all of a file. Damage that it finds is returned, and treated as that which a reader finds.
func (s *Store) Verify(g Group, sum block.Sum) error {
	r, err := s.Open(g, sum)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := r.Reader.Verify(); err != nil {
		return fmt.Errorf("verify %s: %w", r.File(), s.found(r.of.entry, err))
	}
	return nil
}

// share returns an open file with one reader more.
func (s *Store) share(g Group, sum block.Sum) (*opened, error) {
	s.mu.Lock()
	e := s.files[g][sum]
	o, idle, err := s.begun(e)
	s.mu.Unlock()
	closeAll(idle)
	if o != nil || err != nil {
		return o, err
	}
	o, err = s.openFile(e)
	s.mu.Lock()
	if err != nil {
		s.shared.open--
		replaced := !s.current(e)
		s.mu.Unlock()
		if replaced { // or removed: what is there now counts
			return s.share(g, sum)
		}
		return nil, err
	}
	defer s.mu.Unlock()
	if !s.current(e) || e.isAside() || e.opened != nil {
		// Another one was as fast, or the file was removed meanwhile: it can still be read, by this reader alone.
		o.gone = true
	} else {
		e.opened = o
	}
	o.readers = 1
	return o, nil
}

// begun returns the open file of an entry, or makes room for one that is to be opened; then both results are nil. It is
// called with mu held.
func (s *Store) begun(e *entry) (*opened, []*opened, error) {
	if e == nil {
		return nil, nil, ErrUnknown
	}
	if e.isAside() {
		return nil, nil, e.damage
	}
	if o := e.opened; o != nil {
		s.shared.use(o)
		return o, nil, nil
	}
	if s.shared.open >= OpenMax && len(s.shared.idle) == 0 {
		return nil, nil, fmt.Errorf("%w: %d, which is the limit: close some, or try again later", ErrBusy, OpenMax)
	}
	s.shared.open++
	return nil, s.shared.evict(OpenMax, IdleMax), nil
}

// openFile opens a file, and checks its ends.
func (s *Store) openFile(e *entry) (*opened, error) { return s.openNamed(e, s.tree.file(&e.File)) }

// openNamed is openFile of a file that has that name.
func (s *Store) openNamed(e *entry, name string) (*opened, error) {
	file, err := openRead(s.disk, name)
	if err != nil {
		if isAbsent(err) { // the caller believes that it is there
			err = &block.DamageError{What: "the file is missing"}
		} else if errors.Is(err, logstore.ErrRefused) {
			s.refused(e, refusal{err: err})
		}
		return nil, s.found(e, err)
	}
	bytes := &tried{file: file, refused: func(at int64, n int, err error) { s.refused(e, refusal{at, n, err}) }}
	o := &opened{entry: e, file: file, bytes: bytes}
	size, err := sizeOf(file)
	if err == nil {
		o.blocks, err = block.Open(o.bytes, size)
	}
	if err == nil && o.blocks.Info().Sum != e.Sum {
		err = &block.DamageError{What: fmt.Sprintf("the footer says that it is the file %s", o.blocks.Info().Sum)}
	}
	if err != nil {
		file.Close()
		return nil, s.found(e, err)
	}
	o.blocks.KeepKeys(s.keys)
	return o, nil
}

// shared has the files that are open for reading. It is guarded by Store.mu.
type shared struct {
	open int       // with those that are about to be opened
	idle []*opened // those that nobody reads, the one that was used last at the end
}

// use adds a reader to an open file.
func (x *shared) use(o *opened) {
	x.idle = slices.DeleteFunc(x.idle, func(i *opened) bool { return i == o })
	o.readers++
}

// release ends one reader of an open file, and returns what is to be closed. At most keep files stay open that nobody
// reads.
func (x *shared) release(o *opened, keep int) []*opened {
	if o.readers--; o.readers > 0 {
		return nil
	}
	if o.gone {
		x.open--
		return []*opened{o}
	}
	x.idle = append(x.idle, o)
	return x.evict(OpenMax, keep)
}

// evict takes idle files out, oldest first, until there are at most keep of them and at most most open files, and returns
// them, to be closed.
func (x *shared) evict(most, keep int) (idle []*opened) {
	for len(x.idle) > keep || len(x.idle) > 0 && x.open > most {
		o := x.idle[0]
		x.idle = slices.Delete(x.idle, 0, 1)
		o.entry.opened = nil
		x.open--
		idle = append(idle, o)
	}
	return idle
}

// detach takes the open file from an entry, and returns it if nobody reads it.
func (x *shared) detach(e *entry) []*opened {
	o := e.opened
	if o == nil {
		return nil
	}
	e.opened, o.gone = nil, true
	if o.readers > 0 {
		return nil
	}
	x.idle = slices.DeleteFunc(x.idle, func(i *opened) bool { return i == o })
	x.open--
	return []*opened{o}
}

func closeAll(files []*opened) error {
	var errs []error
	for _, o := range files {
		errs = append(errs, o.file.Close())
	}
	return errors.Join(errs...)
}
