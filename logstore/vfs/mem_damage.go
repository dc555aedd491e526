package vfs

import (
	"bytes"
	"fmt"
	"path"
)

// misdirectedBy is how far from its place a misdirected write lands, in bytes.
const misdirectedBy = 8 * SectorSize

// Damage does to a file what a rotting disk does: one of the faults of [Rot], durably
// and unseen by anyone who has the file open. Off is in the sector, or page, that is
// hit, or the byte whose bit flips; for [Truncated] it is where the file ends. It is
// meant for synced bytes.
//
// It reports whether the file has changed: zeros over zeros are no damage. A file or a
// place in it that does not exist is an error.
func (m *Mem) Damage(name string, off int64, fault Fault) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	name = path.Clean(name)
	d := m.names[name]
	switch {
	case d == nil:
		return false, notExist("damage", name)
	case off < 0 || off >= int64(len(d.now)):
		return false, fmt.Errorf("damage %s at %d: it has %d bytes", name, off, len(d.now))
	}
	sector := off / SectorSize * SectorSize
	switch fault {
	case BitFlip:
		return d.put([]byte{d.now[off] ^ 1<<(off%8)}, off), nil
	case ZeroSector:
		return d.put(make([]byte, SectorSize), sector), nil
	case ZeroPage:
		return d.put(make([]byte, PageSize), off/PageSize*PageSize), nil
	case StaleSector:
		return d.put(d.stale(sector), sector), nil
	case Misdirected:
		to := elsewhere(sector, int64(len(d.now)))
		sent := bytes.Clone(d.now[sector:min(sector+SectorSize, int64(len(d.now)))])
		changed := d.put(d.stale(sector), sector)
		return d.put(sent, to) || changed, nil
	case Truncated:
		d.now = d.now[:off]
		d.kept = d.kept[:min(off, int64(len(d.kept)))]
		d.before = d.before[:min(off, int64(len(d.before)))]
		return true, nil
	case Missing:
		delete(m.names, name)
		delete(m.kept, name)
		return true, nil
	}
	return false, fmt.Errorf("damage %s: %s is not rot", name, fault)
}

// elsewhere is where a misdirected write lands: after its place, or before it, or, in a
// file too short for either, at the beginning.
func elsewhere(sector, size int64) int64 {
	switch {
	case sector+misdirectedBy < size:
		return sector + misdirectedBy
	case sector >= misdirectedBy:
		return sector - misdirectedBy
	}
	return 0
}

// stale returns a sector as it was before it was last overwritten; zeros if it never
// was.
func (d *memData) stale(sector int64) []byte {
	b := make([]byte, SectorSize)
	if sector < int64(len(d.before)) {
		copy(b, d.before[sector:])
	}
	return b
}

// put overwrites bytes durably, as far as the file reaches, and reports whether any has
// changed.
func (d *memData) put(b []byte, off int64) bool {
	b = b[:min(int64(len(b)), int64(len(d.now))-off)]
	changed := !bytes.Equal(d.now[off:off+int64(len(b))], b)
	copy(d.now[off:], b)
	if off < int64(len(d.kept)) {
		copy(d.kept[off:], b)
	}
	return changed
}
