package vfs

import (
	"fmt"
	"math"
	"path"
)

// memPage is what a file's space is counted in, in bytes.
const memPage = 4096

// Limit lets all files together have so many bytes, each rounded up to pages
// of 4 KiB. What is beyond fails with [ErrFull]; of a write, the pages that fit
// are written. What is there already stays, and may be overwritten. Zero is no
// limit.
func (m *Mem) Limit(bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.limit = bytes
}

// Used returns what all files together take of a limit, in bytes.
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
