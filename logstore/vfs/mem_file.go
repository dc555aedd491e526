package vfs

import (
	"fmt"
	"io"
	"io/fs"
)

// memData is what a file holds, under whichever name.
type memData struct {
	id     FileID
	now    []byte // as the processes see it
	kept   []byte // as a power loss would leave it, if nothing else came through
	before []byte // each sector as it was before it was last overwritten; may be shorter than now
	// dirty has the changes since the last sync, in order, and bytes what they
	// wrote: a crash may let any of them through.
	dirty []extent
	bytes []byte
}

// extent is one change of a file since the last sync.
type extent struct {
	from, to int64
	at       int  // of a write: where its bytes are
	size     bool // the file got the length to, from from; no bytes
}

// resize sets the length, and fills what is new with zeros: bytes that were cut off must
// not come back when the file grows again.
func resize(b []byte, size int64) []byte {
	if size <= int64(len(b)) {
		return b[:size]
	}
	if size <= int64(cap(b)) {
		n := len(b)
		b = b[:size]
		clear(b[n:])
		return b
	}
	grown := make([]byte, size, size+size/4)
	copy(grown, b)
	return grown
}

func (d *memData) sync() {
	d.kept = resize(d.kept, int64(len(d.now)))
	for _, e := range d.dirty {
		from, to := min(e.from, e.to), min(max(e.from, e.to), int64(len(d.now)))
		if from < to {
			copy(d.kept[from:], d.now[from:to])
		}
	}
	d.forget()
}

// forget drops the changes since the last sync.
func (d *memData) forget() {
	d.dirty, d.bytes = d.dirty[:0], d.bytes[:0]
}

// memFile is one opening of a file.
type memFile struct {
	m      *Mem
	d      *memData
	name   string
	life   int
	closed bool
}

// alive is called with mu held.
func (f *memFile) alive(op string) error {
	switch {
	case f.closed:
		return &fs.PathError{Op: op, Path: f.name, Err: fs.ErrClosed}
	case f.life != f.m.life || f.m.off:
		return fmt.Errorf("%s %s: %w", op, f.name, ErrPower)
	}
	return nil
}

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.alive("read"); err != nil {
		return 0, err
	}
	if off >= int64(len(f.d.now)) {
		return 0, io.EOF
	}
	n := copy(p, f.d.now[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.alive("write"); err != nil {
		return 0, err
	}
	// The power may go in the middle of a write. What it wrote counts as written
	// and not synced: a crash may keep or lose any of it.
	err := f.m.step("write %s %d+%d", f.name, off, len(p))
	if err != nil && (!f.m.off || f.m.ops != f.m.stopAt) {
		return 0, err
	}
	n := max(0, int(f.m.room(f.d, off+int64(len(p)))-off))
	f.d.write(p[:min(n, len(p))], off)
	switch {
	case err != nil:
		return 0, err
	case n < len(p):
		return n, fmt.Errorf("write %s: %w", f.name, ErrFull)
	}
	return n, nil
}

// write is called for what fits.
func (d *memData) write(p []byte, off int64) {
	if len(p) == 0 {
		return
	}
	end := off + int64(len(p))
	if end > int64(len(d.now)) {
		d.now = resize(d.now, end)
	}
	// A disk writes whole sectors, so the rest of a sector that is written in part is
	// overwritten too.
	from, to := off/SectorSize*SectorSize, min((end+SectorSize-1)/SectorSize*SectorSize, int64(len(d.now)))
	if to > int64(len(d.before)) {
		d.before = resize(d.before, to)
	}
	copy(d.before[from:to], d.now[from:to])
	copy(d.now[off:], p)
	d.dirty = append(d.dirty, extent{from: off, to: end, at: len(d.bytes)})
	d.bytes = append(d.bytes, p...)
}

func (f *memFile) Sync() error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.alive("sync"); err != nil {
		return err
	}
	if err := f.m.step("sync %s", f.name); err != nil {
		if !f.m.off {
			// The system treats what it could not write as written. It can still
			// be read until the power goes, but no later sync writes it.
			f.d.forget()
		}
		return err
	}
	f.d.sync()
	return nil
}

func (f *memFile) Truncate(size int64) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.alive("truncate"); err != nil {
		return err
	}
	if err := f.m.step("truncate %s to %d", f.name, size); err != nil {
		return err
	}
	if f.m.room(f.d, size) < size {
		return fmt.Errorf("truncate %s: %w", f.name, ErrFull)
	}
	before := int64(len(f.d.now))
	f.d.now = resize(f.d.now, size)
	f.d.dirty = append(f.d.dirty, extent{from: before, to: size, size: true})
	return nil
}

func (f *memFile) Size() (int64, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.alive("size"); err != nil {
		return 0, err
	}
	return int64(len(f.d.now)), nil
}

func (f *memFile) Close() error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if f.closed {
		return &fs.PathError{Op: "close", Path: f.name, Err: fs.ErrClosed}
	}
	f.closed = true
	return nil
}
