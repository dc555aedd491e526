package vfs

import (
	"fmt"
	"math"
	"path"
)

// memPage is the unit in which a file's space is counted, in bytes.
const memPage = 4096

// Limit bounds the bytes of all files together, each rounded up to pages
// of 4 KiB. A write beyond it fails with [ErrFull]; the pages that fit
// are written. Existing pages stay, and may be overwritten. Zero is no
// limit.
func (m *Mem) Limit(bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.limit = bytes
}

// Used returns how much all files together take of the limit, in bytes.
func (m *Mem) Used() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.used()
}

// Free implements [FS].
func (m *Mem) Free(dir string) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir = path.Clean(dir)
	switch {
	case m.off:
		return 0, fmt.Errorf("look for space in %s: %w", dir, ErrPower)
	case !m.dirs[dir]:
		return 0, notExist("look for space in", dir)
	}
	return m.free(), nil
}

func (m *Mem) used() int64 {
	used := int64(0)
	for _, d := range m.names {
		used += pages(int64(len(d.now)))
	}
	return used
}

func (m *Mem) free() int64 {
	if m.limit == 0 {
		return math.MaxInt64
	}
	return max(0, m.limit-m.used())
}

// room returns how large a file may become, to at most end.
func (m *Mem) room(d *memData, end int64) int64 {
	have := pages(int64(len(d.now)))
	if m.limit == 0 || end <= have {
		return end
	}
	return min(end, have+m.free()/memPage*memPage)
}

func pages(bytes int64) int64 { return (bytes + memPage - 1) / memPage * memPage }
