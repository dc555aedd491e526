package vfs

import (
	"maps"
	"path"
	"slices"
	"strings"
)

// SectorSize is the smallest piece of a file that a disk writes whole, in
// bytes. A power loss leaves each sector either as it was or as written.
const SectorSize = 512

// PageSize is the unit, in bytes, in which the system holds what is not on disk yet.
const PageSize = 4096

// CrashMode says what a crash leaves of unsynced writes.
type CrashMode uint8

const (
	// DropUnsynced leaves only what was synced: bytes by Sync, names by
	// SyncDir.
	DropUnsynced CrashMode = iota
	// KeepUnsynced leaves everything as it is, like the end of a process
	// while the system stays up. Unsynced writes stay unsynced: a later
	// crash may lose them.
	KeepUnsynced
	// PickUnsynced leaves some of the unsynced writes of each file, each whole,
	// and the first few changes of names of each directory, like a file system
	// with a journal.
	PickUnsynced
	// TearUnsynced is PickUnsynced with each write torn into sectors, of which
	// any may be left.
	TearUnsynced
	// TearPages is TearUnsynced by pages of 4 KiB.
	TearPages

	crashModes
)

func (m CrashMode) String() string {
	return [crashModes]string{"drop", "keep", "pick", "tear 512", "tear 4096"}[m]
}

// CrashModes lists them all.
func CrashModes() []CrashMode {
	return []CrashMode{DropUnsynced, KeepUnsynced, PickUnsynced, TearUnsynced, TearPages}
}

// Crash ends every opening and lock, decides what is left, and gives the power
// back. Chance decides if the mode leaves a choice.
func (m *Mem) Crash(mode CrashMode, chance uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	random := splitMix(chance)
	if mode != KeepUnsynced {
		if mode != DropUnsynced {
			m.keepSomeNames(&random)
		}
		m.names = maps.Clone(m.kept)
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

// keepSomeNames makes the first few changes of each directory durable.
func (m *Mem) keepSomeNames(random *splitMix) {
	count := map[string]int{}
	for _, c := range m.pending {
		count[c.dir]++
	}
	for _, dir := range slices.Sorted(maps.Keys(count)) {
		count[dir] = int(random.next() % uint64(count[dir]+1))
	}
	for _, c := range m.pending {
		if count[c.dir]--; count[c.dir] >= 0 {
			c.apply(m.kept)
		}
	}
}

// piece returns the size of the pieces that are left or lost as a whole; 0 if that is
// each write.
func (m CrashMode) piece() int64 {
	switch m {
	case TearUnsynced:
		return SectorSize
	case TearPages:
		return PageSize
	}
	return 0
}

func (d *memData) crash(mode CrashMode, random *splitMix) {
	if mode != DropUnsynced {
		for _, e := range d.dirty {
			d.keepSome(e, mode.piece(), random)
		}
	}
	d.now = append([]byte(nil), d.kept...)
	d.forget()
}

// keepSome makes some of a change durable. The size changes with the first byte
// that needs it.
func (d *memData) keepSome(e extent, piece int64, random *splitMix) {
	if e.size {
		if random.next()%2 == 0 {
			d.kept = resize(d.kept, e.to)
		}
		return
	}
	for at, end := e.from, e.to; at < e.to; at = end {
		if piece > 0 {
			end = min(at/piece*piece+piece, e.to)
		}
		if random.next()%2 == 0 {
			continue
		}
		if end > int64(len(d.kept)) {
			d.kept = resize(d.kept, end)
		}
		copy(d.kept[at:end], d.bytes[e.at+int(at-e.from):])
	}
}

// PutBack replaces the files of a directory and its subdirectories by those of another
// disk, like putting a directory back from a copy.
//
// With InPlace the files are overwritten (cp -a): a file whose name is here
// keeps inode and birth time, and files that the copy lacks stay. With Replace the
// directory is replaced (rm -r, cp -a), and each file is a new one.
func (m *Mem) PutBack(dir string, from *Mem, how PutBackMode) {
	from = from.Copy()
	m.mu.Lock()
	defer m.mu.Unlock()
	within := func(name string) bool { return strings.HasPrefix(name, path.Clean(dir)+"/") }
	if how == Replace {
		for name := range m.names {
			if within(name) {
				delete(m.names, name)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(from.names)) {
		if !within(name) {
			continue
		}
		d := m.names[name]
		if d == nil {
			m.born++
			d = &memData{id: FileID{Inode: uint64(m.born%memInodes + 1), Birth: m.born}}
		}
		d.now = from.names[name].now
		d.kept, d.before = slices.Clone(d.now), nil
		d.forget()
		m.names[name] = d
	}
	m.kept, m.pending = maps.Clone(m.names), nil
	clear(m.locks)
	m.life++
}

// PutBackMode is how a copy is put back.
type PutBackMode uint8

const (
	Replace PutBackMode = iota // the directory goes, and each file is a new one: rm -r, cp -a
	InPlace                    // existing files are overwritten: cp -a
)

// Copy returns a disk with the same contents, durable and not, nothing open
// or locked, and the power on: to try several crashes from one point.
func (m *Mem) Copy() *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := NewMem()
	c.dirs, c.limit, c.born = maps.Clone(m.dirs), m.limit, m.born
	copies := map[*memData]*memData{}
	file := func(d *memData) *memData {
		if d != nil && copies[d] == nil {
			copies[d] = &memData{
				id: d.id, now: slices.Clone(d.now), kept: slices.Clone(d.kept), before: slices.Clone(d.before),
				dirty: slices.Clone(d.dirty), bytes: slices.Clone(d.bytes),
			}
		}
		return copies[d]
	}
	for name, d := range m.names {
		c.names[name] = file(d)
	}
	for name, d := range m.kept {
		c.kept[name] = file(d)
	}
	for _, p := range m.pending {
		p.data = file(p.data)
		c.pending = append(c.pending, p)
	}
	return c
}

// Corrupt changes one byte of a file, durably and unseen by anyone who has
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

// inOrder returns the files by name, so that chance applies to them in the same order
// each time.
func inOrder(names map[string]*memData) []*memData {
	sorted := slices.Sorted(maps.Keys(names))
	files := make([]*memData, len(sorted))
	for i, name := range sorted {
		files[i] = names[name]
	}
	return files
}
