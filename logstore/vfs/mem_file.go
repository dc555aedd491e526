package vfs

import (
	"fmt"
	"io"
	"io/fs"
)

// memData is what a file holds, under whichever name.
type memData struct {
	now   []byte // as the processes see it
	kept  []byte // as a power loss would leave it, if nothing else came through
	dirty []extent
}

// extent is a range of bytes that changed since the last sync.
type extent struct{ from, to int64 }

func (d *memData) touch(from, to int64) {
	if n := len(d.dirty); n > 0 && d.dirty[n-1].to == from {
		d.dirty[n-1].to = to
		return
	}
	d.dirty = append(d.dirty, extent{from, to})
}

// resize sets the length, with zeros for what is new. What was cut off must
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
		if e.from < int64(len(d.now)) {
			copy(d.kept[e.from:], d.now[e.from:min(e.to, int64(len(d.now)))])
		}
	}
	d.dirty = d.dirty[:0]
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
	// The power may go in the midst of a write: what it wrote counts as
	// written and not synced, which any crash may keep or lose.
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
	copy(d.now[off:], p)
	d.touch(off, end)
}

func (f *memFile) Sync() error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.alive("sync"); err != nil {
		return err
	}
	if err := f.m.step("sync %s", f.name); err != nil {
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
	f.d.touch(min(before, size), max(before, size))
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
