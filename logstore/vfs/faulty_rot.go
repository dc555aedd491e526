package vfs

// rot does to what was read from off what the rules say.
func (f *faultyFile) rot(p []byte, off int64) {
	if len(p) == 0 {
		return
	}
	f.f.mu.Lock()
	defer f.f.mu.Unlock()
	for _, a := range f.f.rules {
		r := a.rule
		if !r.names("read", []string{f.name}) {
			continue
		}
		at := r.Offset
		if at < 0 {
			at = off + int64(len(p))/2
		}
		if !f.hits(r.Fault, at, p, off) || !a.count() {
			continue
		}
		f.f.fire(a)
		sector := at / SectorSize * SectorSize
		switch r.Fault {
		case BitFlip:
			p[at-off] ^= 1 << (at % 8)
		case ZeroSector:
			put(p, off, sector, make([]byte, SectorSize))
		case ZeroPage:
			put(p, off, at/tornPage*tornPage, make([]byte, tornPage))
		case StaleSector:
			put(p, off, sector, f.stale(sector))
		case Misdirected:
			put(p, off, sector, f.stale(sector))
			b := make([]byte, SectorSize)
			if _, err := f.File.ReadAt(b, sector); err == nil {
				put(p, off, sector+misdirectedBy, b)
			}
		}
	}
}

// hits says whether rot at a place shows in p, which was read from off.
func (f *faultyFile) hits(fault Fault, at int64, p []byte, off int64) bool {
	meets := func(from, n int64) bool { return from < off+int64(len(p)) && from+n > off }
	sector := at / SectorSize * SectorSize
	switch fault {
	case BitFlip:
		return meets(at, 1)
	case ZeroSector, StaleSector:
		return meets(sector, SectorSize)
	case ZeroPage:
		return meets(at/tornPage*tornPage, tornPage)
	case Misdirected:
		return meets(sector, SectorSize) || meets(sector+misdirectedBy, SectorSize)
	}
	return false
}

// stale returns a sector as it was before it was last written over. It was
// zero if it never was.
func (f *faultyFile) stale(sector int64) []byte {
	if b := f.past.before[sector]; b != nil {
		return b
	}
	return make([]byte, SectorSize)
}

// put copies to p, which begins at off, what b has of its range.
func put(p []byte, off, at int64, b []byte) {
	for i := range b {
		if j := at + int64(i) - off; j >= 0 && j < int64(len(p)) {
			p[j] = b[i]
		}
	}
}
