package logstore

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path"

	"muster/logstore/vfs"
)

// untilFull is more bytes than any file that is filled has.
const untilFull = math.MaxInt64

// filling is a new file on its way to become a segment.
type filling struct {
	file vfs.File
	size int64
	done int64 // bytes that are written and synced
}

// prepare brings the next segment, if there is none, some bytes nearer to its
// use.
func (m *room) prepare(bytes int64) error {
	if m.index.next() != nil {
		return nil
	}
	if m.filling == nil {
		if used, err := m.reuse(); used || err != nil {
			return m.lacking(err)
		}
		if m.lack {
			return nil
		}
		if err := m.startFilling(m.nextSize()); err != nil {
			return m.lacking(err)
		}
	}
	return m.lacking(m.fill(bytes))
}

func (m *room) startFilling(size int64) error {
	if err := m.gauge.askForLog(size); err != nil {
		return fmt.Errorf("prepare a segment: %w", err)
	}
	file, err := m.disk.Create(path.Join(m.dir, preparedName))
	if err != nil {
		return fmt.Errorf("prepare a segment: %w", err)
	}
	m.filling = &filling{file: file, size: size}
	return nil
}

// fill writes zeros, in pieces of which each is synced, and makes a segment of
// the file once it is full.
func (m *room) fill(bytes int64) error {
	f := m.filling
	if err := m.fillFile(f, bytes); err != nil {
		return fmt.Errorf("prepare a segment: %w", err)
	}
	if f.done < f.size {
		return nil
	}
	m.filling = nil
	m.figures.count(func(n *Stats) { n.Filled++ })
	return m.christen(f.file, f.size)
}

// fillFile writes some bytes of zeros and syncs them, in pieces.
func (m *room) fillFile(f *filling, bytes int64) error {
	for ; bytes > 0 && f.done < f.size; bytes -= fillPieceBytes {
		if m.zeros == nil {
			m.zeros = make([]byte, fillPieceBytes)
		}
		n := min(int64(len(m.zeros)), f.size-f.done)
		if _, err := f.file.WriteAt(m.zeros[:n], f.done); err != nil {
			return err
		}
		if err := f.file.Sync(); err != nil {
			return err
		}
		f.done += n
		m.figures.count(func(c *Stats) { c.FilledBytes += uint64(n) })
	}
	if f.done >= f.size {
		m.zeros = nil
	}
	return nil
}

// reuse takes a reclaimed file for the next segment. Its old name has to be
// gone for good before its header changes: otherwise a crash could leave a file
// whose name and header disagree. It is opened anew, so that a Read that still
// holds the old file finds it closed.
func (m *room) reuse() (bool, error) {
	if len(m.free) == 0 {
		return false, nil
	}
	old := m.free[0]
	m.free = m.free[1:]
	file, err := m.rename(old)
	if err != nil {
		return false, fmt.Errorf("recycle segment %d: %w", old.number, err)
	}
	if err := m.christen(file, old.size); err != nil {
		return false, err
	}
	m.figures.count(func(n *Stats) { n.Recycled++ })
	return true, nil
}

func (m *room) rename(old *segment) (vfs.File, error) {
	prepared := path.Join(m.dir, preparedName)
	if err := old.file.Close(); err != nil {
		return nil, err
	}
	if err := m.disk.Rename(old.name, prepared); err != nil {
		return nil, err
	}
	if err := m.disk.SyncDir(m.dir); err != nil {
		return nil, err
	}
	return openFile(m.disk, prepared)
}

// christen makes the prepared file a segment: header, sync, name, sync of the
// directory. The file is opened again under its name, so that errors name it
// correctly.
func (m *room) christen(file vfs.File, size int64) error {
	number := uint64(1)
	if n := len(m.index.segments); n > 0 {
		number = m.index.segments[n-1].number + 1
	}
	seg, err := christen(m.disk, m.dir, file, size, number, m.salt(number))
	if err != nil {
		return fmt.Errorf("prepare segment %d: %w", number, err)
	}
	// It becomes visible only once its name is durable: a batch in a file without a name
	// would be gone after a crash.
	m.index.mu.Lock()
	m.index.segments = append(m.index.segments, seg)
	m.index.mu.Unlock()
	return m.home.renew()
}

func christen(disk vfs.FS, dir string, file vfs.File, size int64, number, salt uint64) (*segment, error) {
	header := segmentHeaderBytes(number, size, salt)
	for _, at := range [...]int64{0, size - segmentHeader} {
		if _, err := file.WriteAt(header, at); err != nil {
			return nil, err
		}
	}
	if !bug("rename before sync") {
		if err := file.Sync(); err != nil {
			return nil, err
		}
	}
	if err := file.Close(); err != nil {
		return nil, err
	}
	if err := disk.Rename(path.Join(dir, preparedName), path.Join(dir, segmentName(number))); err != nil {
		return nil, err
	}
	if bug("no directory sync") {
		return reopenSegment(disk, dir, number)
	}
	if err := disk.SyncDir(dir); err != nil {
		if errors.Is(err, ErrFull) {
			err = errors.New(err.Error()) // the file has its name: this is final
		}
		return nil, err
	}
	return reopenSegment(disk, dir, number)
}

// reopenSegment opens a segment that was just made. A disk that does not return
// what it was given a moment ago is not relied on for more.
func reopenSegment(disk vfs.FS, dir string, number uint64) (*segment, error) {
	seg, err := openSegment(disk, dir, number)
	if err == nil && seg.refused() {
		return nil, fmt.Errorf("read it again: %w", seg.spoilt)
	}
	return seg, err
}

// salt draws the salt of a segment from the seed that the owner gave (Steele,
// Lea, Flood: Fast splittable pseudorandom number generators, 2014).
func (m *room) salt(number uint64) uint64 {
	return mixed(m.chance + number*0x9e3779b97f4a7c15)
}

// mixed returns a number that looks like chance.
func mixed(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// keepPace prepares the next segment as fast as this one fills, so that no
// Append has to wait for all of it. Each piece costs a sync, and only as long
// as the log grows: later there are segments to use again.
func (m *room) keepPace() error {
	// The reserve comes first: it is complete when the segment is half full, before the
	// next segment becomes urgent.
	if r := m.reserve; r == nil || float64(r.done) < 2*float64(m.reserveSize())*float64(m.index.active.end)/float64(m.index.active.size) {
		if err := m.fillReserve(fillPieceBytes); err != nil {
			return err
		}
	}
	if m.index.next() != nil {
		return nil
	}
	bytes := int64(fillPieceBytes)
	if f := m.filling; f != nil {
		// The next segment is as far prepared as this one is full.
		due := int64(float64(f.size) * float64(m.index.active.end) / float64(m.index.active.size))
		if bytes = due - f.done; bytes <= 0 {
			return nil
		}
	}
	return m.prepare(bytes)
}

// reclaim frees segments before the tail that the last batch but one has named. If
// the last batch rots while none follows, a start believes the one before it, and must
// find what that needs. It frees a few at a time; later batches free the rest.
func (m *room) reclaim(tail uint64) error {
	for n := 0; n < freePerBatchMax && m.index.segments[0].number < tail; n++ {
		m.index.mu.Lock()
		seg := m.index.segments[0]
		m.index.segments = m.index.segments[1:]
		m.index.mu.Unlock()
		if err := m.discard(seg); err != nil {
			return err
		}
	}
	return nil
}

// discard keeps a file for later use, or removes it.
func (m *room) discard(seg *segment) error {
	if seg.file == nil {
		return m.removeLost(seg)
	}
	// The smaller files of a young log are not worth keeping, except on a disk that has
	// no room for larger ones.
	if seg.spoilt == nil && (seg.size == m.size || m.lack) && len(m.free) < max(m.freeMin, len(m.index.segments)/freePart) {
		m.free = append(m.free, seg)
		return nil
	}
	if err := seg.file.Close(); err != nil {
		return fmt.Errorf("free segment %d: %w", seg.number, err)
	}
	if err := m.disk.Remove(seg.name); err != nil {
		return fmt.Errorf("free segment %d: %w", seg.number, err)
	}
	m.figures.count(func(c *Stats) { c.Removed++ })
	return nil
}

// removeLost removes a file that can't be read, if it is there.
func (m *room) removeLost(seg *segment) error {
	if err := m.disk.Remove(seg.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("free segment %d: %w", seg.number, err)
	}
	return nil
}

// provide makes sure that there is a segment after the active one. If one has to be
// made anew, it has so many bytes at least.
func (m *room) provide(bytes int64) error {
	if m.index.next() == nil && m.filling == nil && (len(m.free) == 0 || bytes > m.size) {
		// An entry that is larger than a segment gets one of its own size.
		if err := m.lacking(m.startFilling(max(m.nextSize(), bytes))); err != nil {
			return err
		}
	}
	if err := m.prepare(untilFull); err != nil {
		return err
	}
	if m.index.next() == nil {
		return m.useReserve()
	}
	return nil
}
