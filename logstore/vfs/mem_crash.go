package vfs

import (
	"maps"
	"slices"
)

// SectorSize is the smallest piece of a file that a disk writes whole, in
// bytes. A power loss leaves each sector as it was or as it was to become.
const SectorSize = 512

// tornPage is the piece that [TearPages] keeps or loses whole, in bytes: that
// of the memory in which the system holds what is not on disk yet.
const tornPage = 4096

// CrashMode says what a crash leaves of what was not synced.
type CrashMode uint8

const (
	// DropUnsynced leaves only what was synced: bytes by Sync, names by
	// SyncDir.
	DropUnsynced CrashMode = iota
	// KeepUnsynced leaves everything as it is, as the end of a process does
	// while the system stays up. What was not synced is still not: a later
	// crash may take it.
	KeepUnsynced
	// TearUnsynced leaves, of each file, some of the sectors that were not
	// synced, and the first few of the changes of names.
	TearUnsynced
	// TearPages is TearUnsynced by pages of 4 KiB.
	TearPages
)

// Crash ends every opening and lock, decides what is left, and gives the power
// back. Chance decides for [TearUnsynced] and [TearPages]; it is not used otherwise.
func (m *Mem) Crash(mode CrashMode, chance uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	random := splitMix(chance)
	switch mode {
	case DropUnsynced:
		m.names = maps.Clone(m.kept)
	case TearUnsynced, TearPages:
		keep := int(random.next() % uint64(len(m.pending)+1))
		for _, c := range m.pending[:keep] {
			c.apply(m.kept)
		}
		m.names = maps.Clone(m.kept)
	}
	if mode != KeepUnsynced {
		m.pending = nil
		for _, d := range inOrder(m.names) {
			d.crash(mode, &random)
		}
	}
	clear(m.locks)
	m.life++
	m.stopAt = 0
	m.off = false
}

// piece returns the size of what is kept or lost whole; 0 where nothing is
// torn.
func (m CrashMode) piece() int64 {
	switch m {
	case TearUnsynced:
		return SectorSize
	case TearPages:
		return tornPage
	}
	return 0
}

func (d *memData) crash(mode CrashMode, random *splitMix) {
	if piece := mode.piece(); piece > 0 {
		// The size changes with the first byte that needs it.
		for _, e := range d.dirty {
			to := min(e.to, int64(len(d.now)))
			for at := e.from; at < to; at = at/piece*piece + piece {
				if random.next()%2 == 0 {
					continue
				}
				end := min(at/piece*piece+piece, to)
				if end > int64(len(d.kept)) {
					d.kept = resize(d.kept, end)
				}
				copy(d.kept[at:end], d.now[at:end])
			}
		}
	}
	d.now = append([]byte(nil), d.kept...)
	d.dirty = nil
}

// Corrupt changes one byte of a file, durably, behind the back of whoever has
// it open: byte at off is xored with mask.
func (m *Mem) Corrupt(name string, off int64, mask byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.names[name]
	d.now[off] ^= mask
	if off < int64(len(d.kept)) {
		d.kept[off] ^= mask
	}
}

// Bytes returns a copy of a file as it is now, or nil if there is none.
func (m *Mem) Bytes(name string) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.names[name]
	if d == nil {
		return nil
	}
	return slices.Clone(d.now)
}

// splitMix is a random source of one word (Steele, Lea, Flood: Fast splittable
// pseudorandom number generators, 2014).
type splitMix uint64

func (s *splitMix) next() uint64 {
	*s += 0x9e3779b97f4a7c15
	z := uint64(*s)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// inOrder returns the files by name, so that chance meets them in the same
// order each time.
func inOrder(names map[string]*memData) []*memData {
	sorted := slices.Sorted(maps.Keys(names))
	files := make([]*memData, len(sorted))
	for i, name := range sorted {
		files[i] = names[name]
	}
	return files
}
