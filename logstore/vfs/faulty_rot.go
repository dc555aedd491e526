package vfs

import (
	"fmt"
	"io/fs"
)

// rot applies the rules to the bytes that were read from off.
func (f *faultyFile) rot(p []byte, off int64) {
	if len(p) == 0 {
		return
	}
	for _, hit := range f.hit(p, off) {
		at := hit.at
		sector := at / SectorSize * SectorSize
		switch hit.fault {
		case BitFlip:
			p[at-off] ^= 1 << (at % 8)
		case ZeroSector:
			put(p, off, sector, make([]byte, SectorSize))
		case ZeroPage:
			put(p, off, at/PageSize*PageSize, make([]byte, PageSize))
		case StaleSector:
			put(p, off, sector, f.stale(sector))
		case Misdirected:
			put(p, off, sector, f.stale(sector))
			b := make([]byte, SectorSize)
			if _, err := f.File.ReadAt(b, sector); err == nil {
				put(p, off, f.sentTo(sector), b)
			}
		}
	}
}

// unreadable returns the error of a read that reaches a sector which the rules make
// unreadable, or nil.
func (f *faultyFile) unreadable(p []byte, off int64) error {
	f.f.mu.Lock()
	defer f.f.mu.Unlock()
	for _, a := range f.f.rules {
		if a.rule.Fault == Unreadable && a.rule.names("read", []string{f.name}) && f.shows(Unreadable, max(a.rule.Offset, 0), p, off) && a.count() {
			f.f.fire(a)
			return &fs.PathError{Op: "read", Path: f.name, Err: fmt.Errorf("%w: %s", ErrFault, Unreadable)}
		}
	}
	return nil
}

// rotten is a fault at a place.
type rotten struct {
	fault Fault
	at    int64
}

// hit returns what the rules have for p, which was read from off.
func (f *faultyFile) hit(p []byte, off int64) []rotten {
	f.f.mu.Lock()
	defer f.f.mu.Unlock()
	var all []rotten
	for _, a := range f.f.rules {
		at := a.rule.Offset
		if at < 0 {
			at = off + int64(len(p))/2
		}
		if a.rule.Fault != Unreadable && a.rule.names("read", []string{f.name}) && f.shows(a.rule.Fault, at, p, off) && a.count() {
			f.f.fire(a)
			all = append(all, rotten{a.rule.Fault, at})
		}
	}
	return all
}

// shows reports whether rot at a place shows in p, which was read from off.
func (f *faultyFile) shows(fault Fault, at int64, p []byte, off int64) bool {
	meets := func(from, n int64) bool { return from < off+int64(len(p)) && from+n > off }
	sector := at / SectorSize * SectorSize
	switch fault {
	case BitFlip:
		return meets(at, 1)
	case ZeroSector, StaleSector, Unreadable:
		return meets(sector, SectorSize)
	case ZeroPage:
		return meets(at/PageSize*PageSize, PageSize)
	case Misdirected:
		return meets(sector, SectorSize) || meets(f.sentTo(sector), SectorSize)
	}
	return false
}

// sentTo is where a misdirected write to a sector went.
func (f *faultyFile) sentTo(sector int64) int64 {
	size, err := f.File.Size()
	if err != nil {
		return 0
	}
	return elsewhere(sector, size)
}

// stale returns a sector as it was before it was last overwritten; zeros if it never
// was.
func (f *faultyFile) stale(sector int64) []byte {
	f.f.mu.Lock()
	defer f.f.mu.Unlock()
	if b := f.past.before[sector]; b != nil {
		return b
	}
	return make([]byte, SectorSize)
}

// put copies b, which begins at at, to the part of p, which begins at off, that it
// covers.
func put(p []byte, off, at int64, b []byte) {
	for i := range b {
		if j := at + int64(i) - off; j >= 0 && j < int64(len(p)) {
			p[j] = b[i]
		}
	}
}
