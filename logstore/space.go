package logstore

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"sync"

	"muster/logstore/vfs"
	"muster/raft"
)

// A full disk does no harm. A segment is filled with zeros before anything depends on
// it, so appending to a prepared segment can't fail for lack of room. Only three things
// can: preparing a segment, writing a snapshot, replacing the identity.
//
//   - If it can't prepare a segment, the Store says that it is full, continues in
//     what is prepared, and tries again when its owner calls [Store.MakeRoom].
//   - A file log/reserve, filled like a segment, becomes one when nothing else
//     is prepared. It is for what a group can't do without: terms, votes,
//     memberships, no-ops, and commands that free room.
//   - A file headroom gives its place to a snapshot, behind which the log can be
//     compacted, or to a new identity. It is made again later.
//
// When even the reserve is used up, Append refuses a batch before it writes any of it,
// and the owner may try again: to it, the disk stalls and has not failed.

// ErrFull is wrapped by the error about something for which the disk has no
// room. The log is as it was before, and continues.
var ErrFull = vfs.ErrFull

const (
	reserveName  = "reserve"  // in the directory of the segments
	headroomName = "headroom" // in the data directory
	// fullPart: the log is full when nothing more can be prepared, and less than
	// this part of a segment is left of what is prepared, besides the reserve.
	// Writes that are under way until all have heard of it need about as much.
	fullPart = 4
	// headroomMin is for the identity alone, and identityRoom is what one start
	// takes of it, until the old identity is removed. It is enough for several
	// starts, in case others take the room in between.
	headroomMin  = 64 << 10
	identityRoom = 8 << 10
	// reclaimMax bounds the batches by which one MakeRoom frees segments.
	reclaimMax = 16
	// snapshotGrows is by what factor a snapshot may be larger than any before it, for the
	// least headroom.
	snapshotGrows = 2
	// headroomStep is in what steps the headroom follows its purpose.
	headroomStep = 256 << 10
	// logSinceMin is the least that the log may have grown since the last
	// snapshot: none is taken before that.
	logSinceMin = 8 << 20
	// reserveAtOnce is how much of the reserve Open makes; the rest waits for
	// idle moments, because somebody waits for a start.
	reserveAtOnce = 1 << 20
	// settlePart of the reserve is what Idle leaves alone: an empty batch can
	// wait.
	settlePart = 8
)

// Space is how much room there is for the log, in bytes. Prepared room is on the disk
// already, filled with zeros: using it can't fail for lack of room.
type Space struct {
	// Full: what is prepared is nearly used up, and the disk has no room to
	// prepare more. It ends by itself when there is room again.
	Full bool
	// Short: the disk had no room to prepare more when it was last asked.
	// What is prepared may last for long.
	Short bool
	// Prepared is what anything may use.
	Prepared int64
	// Reserve is what is kept back for what a group can't do without: terms,
	// votes, memberships, no-ops, and commands that free room. It is at most
	// Kept, which is what it should be.
	Reserve, Kept int64
	// Batch is how much the entries of one batch may have, in Prepared and Reserve
	// together, if none of them is larger than Entry. It is less than the sum of
	// the two, because a batch that does not fit into the rest of a segment goes
	// into the next. Entry is how much a batch may have with such a large entry.
	Batch, Entry int64
	// Free is the room that the file system had when it was last asked.
	Free int64
}

// batchRoom is what a batch may take besides its records: its directory too.
const batchRoom = batchHeaderSize + 2*pageSize + directoryRoom

// beginSpace is the end of Open: it takes over headroom and reserve, and checks whether
// there is room for more.
func (s *Store) beginSpace() error {
	// First the headroom: the start may have taken some of it.
	if err := s.headroom.find(); err != nil {
		return err
	}
	if err := s.keepHeadroom(); err != nil {
		return err
	}
	return s.room.open()
}

// MakeRoom tries again to prepare what the disk had no room for. Its owner calls
// it from time to time, from the goroutine of Append: it costs nothing if
// nothing is lacking, and a question to the file system if there is no room yet.
func (s *Store) MakeRoom() error {
	if err := s.halt.err(); err != nil {
		return err
	}
	if err := s.makeSpace(); err != nil {
		return s.stop(err)
	}
	return nil
}

func (s *Store) makeSpace() error {
	defer s.room.measure()
	_ = s.gauge.ask(0) // for Space
	if s.room.lack {
		if err := s.headroom.keepDue(s.headroomSize()); err != nil {
			return err
		}
		// A full log takes no entries, so there are no batches with which the
		// records at the tail could move.
		for before, n := uint64(0), 0; before != s.writer.batch && n < reclaimMax; n++ {
			before = s.writer.batch
			if err := s.settle(); err != nil {
				return err
			}
		}
		if err := s.room.makeLacking(); err != nil {
			return err
		}
	}
	return s.keepHeadroom()
}

// keepHeadroom keeps the headroom as large as its purpose needs.
func (s *Store) keepHeadroom() error { return s.headroom.keep(s.headroomSize()) }

// headroomSize is what a snapshot and the identity may need: the size of the largest
// snapshot, and what the log may have added to it since. Least is that of a snapshot which
// has grown as usual: without one the log gets no room either.
func (s *Store) headroomSize() (want, least int64) {
	largest := int64(0)
	for id := range s.index.replicas {
		if all := s.Snapshots(id); len(all) > 0 {
			largest = max(largest, all[len(all)-1].Size)
		}
	}
	want = largest + min(s.index.needed, max(largest, logSinceMin))
	least = min(want, snapshotGrows*largest)
	return headroomMin + roundUp(want, headroomStep), headroomMin + roundUp(least, headroomStep)
}

// room is what there is to write into: segments that are prepared, files that are
// to be used again, and the reserve. It makes the segments and takes them back. All
// but the picture for [Store.Space] belongs to the goroutine of Append.
type room struct {
	disk    vfs.FS
	dir     string // of the segments
	size    int64  // of a standard segment
	freeMin int    // files that may wait to be used again
	chance  uint64 // seeds the salts
	log     *slog.Logger
	index   *index
	gauge   *gauge
	figures *figures
	home    *home

	filling  *filling   // the segment that is being prepared
	free     []*segment // reclaimed, to be used again
	reserve  *filling   // log/reserve; nil if there is none
	lack     bool       // the disk had no room to prepare more when last asked
	admitted int64      // bytes that the present Append takes at most
	zeros    []byte
	scratch  []int64

	mu      sync.Mutex // no other is taken under it
	picture Space      // guarded by mu
}

// open takes over the reserve, and asks whether there is room to prepare more.
func (m *room) open() error {
	if err := m.findReserve(); err != nil {
		return err
	}
	if err := m.fillReserve(reserveAtOnce); err != nil {
		return err
	}
	if m.index.next() == nil && len(m.free) == 0 && !m.lack {
		if err := m.lacking(m.gauge.askForLog(m.nextSize())); err != nil {
			return err
		}
	}
	m.measure()
	return nil
}

// Space returns how much room there is. It may be called from any goroutine,
// and asks no disk.
func (s *Store) Space() Space { return s.room.get() }

// get does what [Store.Space] says.
func (m *room) get() Space {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.picture
}

// measure takes the picture that Space shows.
func (m *room) measure() {
	total := int64(0)
	for _, room := range m.rooms() {
		total += room
	}
	n := Space{Short: m.lack, Kept: m.reserveSize(), Free: m.gauge.free}
	n.Reserve = min(total, n.Kept)
	n.Prepared = total - n.Reserve
	n.Batch, n.Entry = m.batches()
	m.mu.Lock()
	defer m.mu.Unlock()
	bound := min(m.index.active.size, m.size) / fullPart
	if m.picture.Full || m.picture.Kept == 0 {
		bound *= 2 // being full ends later than it begins; a start can't know, and assumes it
	}
	n.Full = m.lack && n.Prepared < bound
	if n.Full != m.picture.Full {
		if n.Full {
			m.log.Warn("disk full: the log takes only what frees room", "dir", m.dir, "free", n.Free, "prepared", n.Prepared, "reserve", n.Reserve)
		} else {
			m.log.Info("disk has room again", "dir", m.dir, "free", n.Free, "prepared", n.Prepared, "reserve", n.Reserve)
		}
	}
	m.picture = n
}

// batches returns [Space.Batch] and [Space.Entry]: what admit would accept, by the rule
// of fits, without what it adds for headers.
func (m *room) batches() (batch, entry int64) {
	largest, sum, most := int64(0), int64(0), m.batchMax(0)
	for _, room := range m.rooms() {
		largest = max(largest, room)
		sum += max(0, room-most)
	}
	part := m.size / batchPart
	unframed := func(need int64) int64 {
		return max(0, (need-batchRoom)*part/(part+batchRoom)-3*recordHeaderSize-stateSize)
	}
	return unframed(max(largest, sum)), unframed(largest)
}

// rooms are the bytes that can be written in each segment from the active one
// on, and in the reserve.
func (m *room) rooms() []int64 {
	rooms := m.scratch[:0]
	for _, seg := range m.index.segments {
		if seg.number >= m.index.active.number && seg.file != nil {
			rooms = append(rooms, max(0, seg.room()-seg.end))
		}
	}
	if m.reserve != nil && m.reserve.done >= SegmentBytesMin {
		rooms = append(rooms, m.reserve.done-2*segmentHeader-sectorSize)
	}
	m.scratch = rooms
	return rooms
}

// needs returns how much ws takes up in the log at most, and the size of its largest
// batch if that is more than usual.
func (m *room) needs(ws []Write) (need, largest int64) {
	for i := range ws {
		w := &ws[i]
		need += 2 * (recordHeaderSize + stateSize) // term and vote, and a commit after the entries
		if w.Note != nil {
			need += noteSize
		}
		if w.Remove {
			need += recordHeaderSize
		}
		if (w.Base != nil || len(w.Mended) > 0) && m.index.replicas[w.Replica] != nil {
			need += batchRoom // records of it that the batch already has are written first
		}
		if w.Base != nil {
			need += recordHeaderSize + baseSize + int64(len(w.Base.Membership.Append(nil)))
		}
		for _, list := range [...][]raft.Entry{w.Mended, w.Entries} {
			for j := range list {
				n := int64(len(list[j].Raw))
				need += recordHeaderSize + n
				largest = max(largest, n+recordHeaderSize+batchRoom)
			}
		}
	}
	// Each batch has a header, a rest of a page and a directory of its own.
	need += (need/(m.size/batchPart) + 1) * batchRoom
	return need, largest
}

// admit makes sure that need bytes can be written, in batches of at most largest if that
// is more than usual, and prepares more if necessary. After it nothing of the write
// fails for lack of room: so a write is refused as a whole, before it has changed
// anything.
func (m *room) admit(need, largest int64) error {
	for !m.fits(need, largest) {
		const frame = 2*segmentHeader + sectorSize
		size, whole := int64(0), roundUp(frame+need, pageSize)
		switch room := m.nextSize() - frame; {
		case frame+largest > m.size:
			size = whole
		case room < need && room <= m.batchMax(largest):
			// A young log's segments are small. If a batch does not fit into one
			// of them, more of that size do not help.
			size = min(whole, m.size)
		case room < need && room-m.batchMax(largest) < room/2 && !m.lack:
			// Of each segment more than half may be left, so many would be made. On a
			// full disk those that are free have to do.
			size = whole
		}
		// A segment that is free is of no use to an entry that needs a larger one.
		if m.lack && (len(m.free) == 0 || size > m.size) {
			return fmt.Errorf("%d bytes for the log: %w", need, ErrFull)
		}
		if err := m.prepareAll(size); err != nil {
			return err
		}
	}
	m.admitted = need
	return nil
}

// admitRest admits what is written while nothing is appended, and reports whether there
// is room for it without taking what the next Append may need more urgently.
func (m *room) admitRest() bool {
	m.admitted = m.reserveSize() / settlePart
	return !m.lack || m.fits(m.admitted, 0)
}

// fits reports whether there is room for batches of need bytes together, each of at most
// largest if that is more than usual. A batch that does not fit into the rest of a
// segment goes into the next, and so do all after it.
func (m *room) fits(need, largest int64) bool {
	// In the worst case each segment ends with a rest into which one batch just does
	// not fit.
	batch, sum := m.batchMax(largest), int64(0)
	for _, room := range m.rooms() {
		if room >= need {
			return true
		}
		sum += max(0, room-batch)
	}
	return sum >= need
}

// batchMax is how much a batch takes at most, if its largest entry takes largest.
func (m *room) batchMax(largest int64) int64 { return max(m.size/batchPart+batchRoom, largest) }

// scarce reports whether there is little room beside what was admitted: a directory
// that takes more than its share must not take it from that.
func (m *room) scarce() bool {
	total := int64(0)
	for _, room := range m.rooms() {
		total += room
	}
	return m.lack || total-m.admitted < m.size
}

// prepareAll makes one more segment, of at least so many bytes.
func (m *room) prepareAll(bytes int64) error {
	if m.filling == nil {
		if bytes <= m.size {
			if used, err := m.reuse(); used || err != nil {
				return m.lacking(err)
			}
		}
		size := max(m.nextSize(), bytes)
		if err := m.lacking(m.startFilling(size)); err != nil || m.filling == nil {
			return err
		}
	}
	return m.lacking(m.fill(untilFull))
}

// lacking records that there was no room to prepare something, and drops that error. It
// gives up the file that was begun, so that its room is free for what needs less.
func (m *room) lacking(err error) error {
	if !errors.Is(err, ErrFull) {
		return err
	}
	m.lack = true
	if f := m.filling; f != nil {
		m.filling = nil
		if err := f.file.Close(); err != nil {
			return fmt.Errorf("give up a segment: %w", err)
		}
	}
	if err := m.disk.Remove(path.Join(m.dir, preparedName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("give up a segment: %w", err)
	}
	return nil
}

// nextSize is the size of the next segment: twice that of the one in use, up to the
// standard size, or less if the disk has no room for that.
func (m *room) nextSize() int64 {
	size := m.size
	if m.index.active.file != nil {
		size = min(2*m.index.active.size, m.size)
	}
	if err := m.gauge.ask(0); err == nil {
		for m.gauge.free-m.gauge.owed.Load() < size && size/2 >= min(firstSegmentBytes, m.size) {
			size /= 2
		}
	}
	return roundUp(size, pageSize)
}

// roomToMove reports whether a record of some bytes at the tail may be written again
// now, after others were moved. That frees the segment there; but on a full disk it must
// not take the room of what was admitted, nor the reserve's last half. A record that is
// too large for the segments in use gets one of its own size first.
func (m *room) roomToMove(moved, bytes int) (bool, error) {
	const frame = 2*segmentHeader + sectorSize
	largest := int64(bytes) + batchRoom
	large := frame+largest > m.size
	if !m.lack && !large {
		return true, nil
	}
	need := max(m.admitted+int64(moved+bytes)+m.reserveSize()/2, largest)
	if large && !m.lack && !m.fits(need, largest) {
		// The segment is made for all that is needed. One for the record alone would
		// not fit the rest the next time either, and each batch would make another.
		if err := m.prepareAll(roundUp(frame+need, pageSize)); err != nil {
			return false, err
		}
	}
	return m.fits(need, largest), nil
}

// close gives back the files.
func (m *room) close() error {
	var errs []error
	for _, seg := range m.free {
		errs = append(errs, seg.file.Close())
	}
	for _, f := range []*filling{m.filling, m.reserve} {
		if f != nil {
			errs = append(errs, f.file.Close())
		}
	}
	m.free, m.filling, m.reserve = nil, nil, nil
	return errors.Join(errs...)
}
