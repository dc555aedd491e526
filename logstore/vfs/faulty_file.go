package vfs

import (
	"io"
	"path"
)

// faultyFile is one opening of a file of a [Faulty].
type faultyFile struct {
	File
	f    *Faulty
	name string
	past *past
}

// past is what a file held before. It is guarded by
// the Faulty's mu.
type past struct {
	// undo has what was overwritten since the last sync, in order.
	undo []piece
	size int64 // at the last sync; with undo
	// before has the overwritten sectors, as they were before the
	// last time.
	before map[int64][]byte
}

// piece is a part of a file.
type piece struct {
	off  int64
	data []byte
}

// opened wraps a file that the other FS has opened.
func (f *Faulty) opened(name string) func(File, error) (File, error) {
	return func(file File, err error) (File, error) {
		if err != nil {
			return nil, err
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		p := f.files[path.Clean(name)]
		if p == nil {
			p = &past{before: map[int64][]byte{}}
			f.files[path.Clean(name)] = p
		}
		return &faultyFile{File: file, f: f, name: name, past: p}, nil
	}
}

func (f *faultyFile) WriteAt(p []byte, off int64) (int, error) {
	fault, err := f.f.begin("write", f.name)
	switch {
	case fault == LostWrite:
		return len(p), nil
	case fault == ShortWrite:
		if err := f.remember(off, int64(len(p)/2)); err != nil {
			return 0, err
		}
		if n, err := f.File.WriteAt(p[:len(p)/2], off); err != nil {
			return n, err
		}
		return len(p) / 2, err
	case err != nil:
		return 0, err
	}
	if err := f.remember(off, int64(len(p))); err != nil {
		return 0, err
	}
	return f.File.WriteAt(p, off)
}

// remember keeps what a write is about to overwrite, if a rule will ask for it.
func (f *faultyFile) remember(off, n int64) error {
	undo, before := false, false
	f.f.mu.Lock()
	for _, a := range f.f.rules {
		undo = undo || a.rule.Fault == FailedSync
		before = before || a.rule.Fault == StaleSector || a.rule.Fault == Misdirected
	}
	f.f.mu.Unlock()
	if !undo && !before {
		return nil
	}
	size, err := f.File.Size()
	if err != nil {
		return err
	}
	from, to := off/SectorSize*SectorSize, (off+n+SectorSize-1)/SectorSize*SectorSize
	old := make([]byte, to-from)
	if _, err := f.File.ReadAt(old, from); err != nil && err != io.EOF {
		return err
	}
	f.f.mu.Lock()
	defer f.f.mu.Unlock()
	if undo {
		if len(f.past.undo) == 0 {
			f.past.size = size
		}
		f.past.undo = append(f.past.undo, piece{from, old})
	}
	for at := from; before && at < to; at += SectorSize {
		f.past.before[at] = old[at-from:][:SectorSize]
	}
	return nil
}

func (f *faultyFile) Sync() error {
	fault, err := f.f.begin("sync", f.name)
	f.f.mu.Lock()
	undo, size := f.past.undo, f.past.size
	if fault == FailedSync || err == nil {
		f.past.undo = nil
	}
	f.f.mu.Unlock()
	// Newest first, so that bytes that were written twice are again as they were at the
	// last sync.
	if fault == FailedSync && len(undo) > 0 {
		for i := len(undo) - 1; i >= 0; i-- {
			if _, err := f.File.WriteAt(undo[i].data, undo[i].off); err != nil {
				return err
			}
		}
		if err := f.File.Truncate(size); err != nil {
			return err
		}
	}
	if err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *faultyFile) Truncate(size int64) error {
	if _, err := f.f.begin("truncate", f.name); err != nil {
		return err
	}
	now, err := f.File.Size()
	if err != nil {
		return err
	}
	if size < now {
		if err := f.remember(size, now-size); err != nil {
			return err
		}
	} else if err := f.remember(now, 0); err != nil {
		return err
	}
	return f.File.Truncate(size)
}

// Close closes the file even if it says that it did not, as systems do.
func (f *faultyFile) Close() error {
	_, err := f.f.begin("close", f.name)
	if closeErr := f.File.Close(); err == nil {
		err = closeErr
	}
	return err
}

func (f *faultyFile) Size() (int64, error) {
	if _, err := f.f.begin("size", f.name); err != nil {
		return 0, err
	}
	size, err := f.File.Size()
	if err != nil {
		return 0, err
	}
	return f.end(size, func(end int64) bool { return end < size }), nil
}

// end returns where the file ends as its reader sees it.
func (f *faultyFile) end(size int64, reached func(end int64) bool) int64 {
	f.f.mu.Lock()
	defer f.f.mu.Unlock()
	for _, a := range f.f.rules {
		if a.rule.Fault == Truncated && a.rule.names("size", []string{f.name}) && reached(a.rule.Offset) && a.count() {
			f.f.fire(a)
			size = min(size, a.rule.Offset)
		}
	}
	return size
}

func (f *faultyFile) ReadAt(p []byte, off int64) (int, error) {
	if _, err := f.f.begin("read", f.name); err != nil {
		return 0, err
	}
	if err := f.unreadable(p, off); err != nil {
		return 0, err
	}
	n, err := f.File.ReadAt(p, off)
	if err != nil && err != io.EOF {
		return n, err
	}
	f.rot(p[:n], off)
	to := off + int64(n)
	if end := f.end(to, func(end int64) bool { return end < to }); end < to {
		return int(max(0, end-off)), io.EOF
	}
	return n, err
}
