package logstore

import (
	"errors"
	"fmt"
	"io/fs"
	"path"

	"muster/logstore/vfs"
	"muster/raft"
)

// A full disk does no harm. What a segment is made of is written, with zeros,
// before anything depends on it; so to append into a prepared segment can't
// fail for want of room, and only three things can: to prepare a segment, to
// write a snapshot, to replace the identity.
//
//   - Preparing. The Store says that it is full, goes on in what is prepared,
//     and tries again when its owner calls [Store.MakeRoom].
//   - A file log/reserve, filled like a segment, becomes one when nothing else
//     is prepared. It is for what a group can't do without: terms, votes,
//     memberships, no-ops, and commands that free room.
//   - A file headroom gives its place to a snapshot, by which the log can be
//     compacted, or to a new identity; and is made again.
//
// When even the reserve is used up, Append refuses a batch before anything of
// it is written, and may be asked again: to the owner that is a disk that
// stalls, not one that failed.

// ErrFull is wrapped by the error about something for which the disk has no
// room. The log is as it was before, and goes on.
var ErrFull = vfs.ErrFull

const (
	reserveName  = "reserve"  // in the directory of the segments
	headroomName = "headroom" // in the data directory
	// fullPart: the log is full when nothing can be prepared, and of what is
	// prepared, less than this part of a segment is left besides the reserve.
	// What is under way until all have heard of it needs about as much.
	fullPart = 4
	// headroomMin is for the identity alone, and identityRoom what one start
	// takes of it, until the old identity has gone. There is enough for some
	// starts in case others take the room in between.
	headroomMin  = 64 << 10
	identityRoom = 8 << 10
	// reclaimMax bounds the batches by which one MakeRoom frees segments.
	reclaimMax = 16
	// headroomStep is how finely the headroom follows what it is for.
	headroomStep = 256 << 10
	// logSinceMin bounds from below what the log may have had since the last
	// snapshot: they are taken no more often.
	logSinceMin = 8 << 20
	// reserveAtOnce: so much of the reserve is made at Open; more waits for
	// idle moments, because a start is waited for.
	reserveAtOnce = 1 << 20
	// settlePart of the reserve is what Idle leaves alone: an empty batch can
	// wait.
	settlePart = 8
)

// Space is how much room there is for the log, in bytes. What is prepared is
// on the disk already, filled with zeros: to use it can't fail for want of
// room.
type Space struct {
	// Full: what is prepared is nearly used up, and the disk has no room to
	// prepare more. It ends when there is room again, by itself.
	Full bool
	// Short: the disk had no room to prepare more, when it was last asked.
	// What is prepared may last for long.
	Short bool
	// Prepared is what anything may use.
	Prepared int64
	// Reserve is what is kept back for what a group can't do without: terms,
	// votes, memberships, no-ops, and commands that free room. It is at most
	// Kept, which is what it should be.
	Reserve, Kept int64
	// Batch is how much the entries of one batch may have, with what is prepared
	// and kept back, if none of them is larger than Entry: less than the two
	// above together, since what does not fit into the rest of a segment goes
	// into the next. Entry is how much a single entry may have, and all with it.
	Batch, Entry int64
	// Free is the room that the file system had when it was last asked.
	Free int64
}

// Space returns how much room there is. It may be called from any goroutine,
// and asks no disk.
func (s *Store) Space() Space {
	s.index.mu.Lock()
	defer s.index.mu.Unlock()
	return s.space
}

// measure takes the picture that Space shows.
func (s *Store) measure() {
	total := int64(0)
	for _, room := range s.rooms() {
		total += room
	}
	n := Space{Short: s.lack, Kept: s.reserveSize(), Free: s.gauge.free}
	n.Reserve = min(total, n.Kept)
	n.Prepared = total - n.Reserve
	n.Batch, n.Entry = s.batches()
	s.index.mu.Lock()
	defer s.index.mu.Unlock()
	bound := min(s.index.active.size, s.size) / fullPart
	if s.space.Full || s.space.Kept == 0 {
		bound *= 2 // it ends later than it begins; at a start it is not known whether it was
	}
	n.Full = s.lack && n.Prepared < bound
	if n.Full != s.space.Full {
		if n.Full {
			s.log.Warn("disk full: the log takes only what frees room", "dir", s.dir, "free", n.Free, "prepared", n.Prepared, "reserve", n.Reserve)
		} else {
			s.log.Info("disk has room again", "dir", s.dir, "free", n.Free, "prepared", n.Prepared, "reserve", n.Reserve)
		}
	}
	s.space = n
}

// batches returns [Space.Batch] and [Space.Entry]: what admit would take, by the
// rule of fits, without what it adds for frames.
func (s *Store) batches() (batch, entry int64) {
	largest, sum, most := int64(0), int64(0), s.batchMax(0)
	for _, room := range s.rooms() {
		largest = max(largest, room)
		sum += max(0, room-most)
	}
	part := s.size / batchPart
	unframed := func(need int64) int64 {
		return max(0, (need-batchRoom)*part/(part+batchRoom)-3*recordHeaderSize-stateSize)
	}
	return unframed(max(largest, sum)), unframed(largest)
}

// rooms are the bytes that can be written in each segment from the active one
// on, and in the reserve.
func (s *Store) rooms() []int64 {
	rooms := s.roomScratch[:0]
	for _, seg := range s.index.segments {
		if seg.number >= s.index.active.number && seg.file != nil {
			rooms = append(rooms, max(0, seg.room()-seg.end))
		}
	}
	if s.reserve != nil && s.reserve.done >= SegmentBytesMin {
		rooms = append(rooms, s.reserve.done-2*segmentHeader-sectorSize)
	}
	s.roomScratch = rooms
	return rooms
}

// reserveSize is what the reserve should have: a quarter of the segment in use,
// at least the first segment's size. A quarter of 16 MiB is for a thousand
// elections and deletes, each in a batch of its own; a small node's is small.
func (s *Store) reserveSize() int64 {
	return max(min(firstSegmentBytes, s.size), roundUp(min(s.index.active.size, s.size)/4, pageSize))
}

// batchRoom is what a batch may take besides its records: its directory too.
const batchRoom = batchHeaderSize + 2*pageSize + directoryRoom

// admit says whether all of ws can be written, and prepares more if it can't.
// After it nothing of the write fails for want of room, so a batch is refused
// whole, and before it has changed anything.
func (s *Store) admit(ws []Write) error {
	need, largest := int64(0), int64(0)
	for i := range ws {
		w := &ws[i]
		need += 2 * (recordHeaderSize + stateSize) // term and vote, and a commit after the entries
		if w.Note != nil {
			need += noteSize
		}
		if w.Remove {
			need += recordHeaderSize
		}
		if (w.Base != nil || len(w.Mended) > 0) && s.index.replicas[w.Replica] != nil {
			need += batchRoom // what this batch has of it already goes first
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
	need += (need/(s.size/batchPart) + 1) * batchRoom
	for !s.fits(need, largest) {
		if s.lack && len(s.free) == 0 {
			return fmt.Errorf("%d bytes for the log: %w", need, ErrFull)
		}
		const frame = 2*segmentHeader + sectorSize
		size, whole := int64(0), roundUp(frame+need, pageSize)
		switch room := s.nextSize() - frame; {
		case frame+largest > s.size:
			size = whole
		case room < need && room <= s.batchMax(largest):
			// A young log's segments are small, and ones that a batch
			// doesn't fit into add nothing, however many there are.
			size = min(whole, s.size)
		}
		if err := s.prepareAll(size); err != nil {
			return err
		}
	}
	s.admitted = need
	return nil
}

// fits says whether there is room for batches of so many bytes together, and of
// at most largest each if that is more than usual. A batch that does not fit
// into the rest of a segment goes into the next, and so do all after it.
func (s *Store) fits(need, largest int64) bool {
	batch, sum := s.batchMax(largest), int64(0)
	for _, room := range s.rooms() {
		if room >= need {
			return true
		}
		sum += max(0, room-batch)
	}
	return sum >= need
}

// batchMax is what a batch takes at most, of entries that take at most largest.
func (s *Store) batchMax(largest int64) int64 { return max(s.size/batchPart+batchRoom, largest) }

// prepareAll makes one more segment, of at least so many bytes.
func (s *Store) prepareAll(bytes int64) error {
	if s.filling == nil {
		if bytes <= s.size {
			if used, err := s.reuse(); used || err != nil {
				return s.lacking(err)
			}
		}
		size := max(s.nextSize(), bytes)
		if err := s.lacking(s.startFilling(size)); err != nil || s.filling == nil {
			return err
		}
	}
	return s.lacking(s.fill(1 << 62))
}

// lacking takes note of an error for want of room in preparing: it is no error
// any more. What was begun is given up, so that what it took is free for what
// needs less.
func (s *Store) lacking(err error) error {
	if !errors.Is(err, ErrFull) {
		return err
	}
	s.lack = true
	if f := s.filling; f != nil {
		s.filling = nil
		if err := f.file.Close(); err != nil {
			return fmt.Errorf("give up a segment: %w", err)
		}
	}
	if err := s.fs.Remove(path.Join(s.dir, preparedName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("give up a segment: %w", err)
	}
	return nil
}

// nextSize is that of the next segment: twice the one in use, up to the standard
// size; or less, where the disk has no room for so much.
func (s *Store) nextSize() int64 {
	size := s.size
	if s.index.active.file != nil {
		size = min(2*s.index.active.size, s.size)
	}
	if err := s.gauge.ask(0); err == nil {
		for s.gauge.free < size && size/2 >= min(firstSegmentBytes, s.size) {
			size /= 2
		}
	}
	return roundUp(size, pageSize)
}

// useReserve makes the reserve the next segment.
func (s *Store) useReserve() error {
	r := s.reserve
	if r == nil || r.done < SegmentBytesMin {
		return fmt.Errorf("prepare a segment: %w", ErrFull)
	}
	s.reserve = nil
	if err := r.file.Close(); err != nil {
		return fmt.Errorf("use the reserve: %w", err)
	}
	prepared := path.Join(s.dir, preparedName)
	if err := s.fs.Rename(path.Join(s.dir, reserveName), prepared); err != nil {
		return fmt.Errorf("use the reserve: %w", err)
	}
	if err := s.fs.SyncDir(s.dir); err != nil {
		return fmt.Errorf("use the reserve: %w", err)
	}
	file, err := openFile(s.fs, prepared)
	if err != nil {
		return fmt.Errorf("use the reserve: %w", err)
	}
	s.log.Warn("log goes on in its reserve", "bytes", r.done)
	return s.christen(file, r.done)
}

// fillReserve brings the reserve some bytes nearer to what it should be.
func (s *Store) fillReserve(bytes int64) error {
	want := s.reserveSize()
	if s.lack || s.reserve != nil && s.reserve.done >= want {
		return nil
	}
	err := func() error {
		if s.reserve == nil {
			if err := s.gauge.ask(want); err != nil {
				return err
			}
			file, err := s.fs.Create(path.Join(s.dir, reserveName))
			if err != nil {
				return err
			}
			s.reserve = &filling{file: file}
			if err := s.fs.SyncDir(s.dir); err != nil {
				return err
			}
		}
		s.reserve.size = want
		return s.fillFile(s.reserve, bytes)
	}()
	if errors.Is(err, ErrFull) {
		s.lack = true
		err = s.cutReserve()
	}
	if err != nil {
		return fmt.Errorf("fill the reserve: %w", err)
	}
	return nil
}

// cutReserve takes off the reserve what could not be written or synced.
func (s *Store) cutReserve() error {
	r := s.reserve
	if r == nil {
		return nil
	}
	if r.done > 0 {
		r.size = r.done
		return r.file.Truncate(r.done)
	}
	s.reserve = nil
	if err := r.file.Close(); err != nil {
		return err
	}
	return s.fs.Remove(path.Join(s.dir, reserveName))
}

// findReserve takes over the reserve that an earlier process left.
func (s *Store) findReserve() error {
	file, err := openFile(s.fs, path.Join(s.dir, reserveName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	size, err := sizeOf(file)
	if err != nil {
		file.Close()
		return err
	}
	s.reserve = &filling{file: file, size: size, done: size &^ (pageSize - 1)}
	return nil
}

// beginSpace is the end of Open: it sees to what was kept back before, and
// looks whether there is room for more.
func (s *Store) beginSpace() error {
	// First the headroom, of which a start may have taken.
	if err := s.headroom.find(); err != nil {
		return err
	}
	if err := s.keepHeadroom(); err != nil {
		return err
	}
	if err := s.findReserve(); err != nil {
		return err
	}
	if err := s.fillReserve(reserveAtOnce); err != nil {
		return err
	}
	if s.index.next() == nil && len(s.free) == 0 && !s.lack {
		if err := s.lacking(s.gauge.ask(s.nextSize())); err != nil {
			return err
		}
	}
	s.measure()
	return nil
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
	defer s.measure()
	_ = s.gauge.ask(0) // for Space
	if s.lack {
		// While nothing is taken there are no batches with which what is
		// needed at the tail could move.
		for before, n := uint64(0), 0; before != s.batch && n < reclaimMax; n++ {
			before = s.batch
			if err := s.settle(); err != nil {
				return err
			}
		}
		if err := s.makeLacking(); err != nil {
			return err
		}
	}
	return s.keepHeadroom()
}

func (s *Store) makeLacking() error {
	if s.index.next() == nil {
		if s.gauge.ask(s.nextSize()) != nil && len(s.free) == 0 {
			return nil
		}
		s.lack = false
		if err := s.prepareAll(0); err != nil || s.lack {
			return err
		}
	}
	missing := s.reserveSize()
	if s.reserve != nil {
		missing -= s.reserve.done
	}
	if s.gauge.ask(missing) != nil {
		return nil
	}
	s.lack = false
	return s.fillReserve(1 << 62)
}

// roomToMove says whether some bytes of what is needed at the tail may be
// written again now, after others were moved. It frees the segment there; but on a full disk not at the
// cost of what was admitted, nor of the reserve's last half. What is too large
// for a segment in use gets one made for it first.
func (s *Store) roomToMove(moved, bytes int) (bool, error) {
	const frame = 2*segmentHeader + sectorSize
	largest := int64(bytes) + batchRoom
	large := frame+largest > s.size
	if !s.lack && !large {
		return true, nil
	}
	need := max(s.admitted+int64(moved+bytes)+s.reserveSize()/2, largest)
	if large && !s.lack && !s.fits(need, largest) {
		// For all that is needed: in one made for the record alone that would not
		// fit the next time either, and each batch would make one more.
		if err := s.prepareAll(roundUp(frame+need, pageSize)); err != nil {
			return false, err
		}
	}
	return s.fits(need, largest), nil
}

// keepHeadroom keeps the headroom as large as what it is for.
func (s *Store) keepHeadroom() error { return s.headroom.keep(s.headroomSize()) }

// headroomSize is as much as a snapshot may need, and the identity: what the
// largest snapshot holds, and what the log may have added to it since.
func (s *Store) headroomSize() int64 {
	largest := int64(0)
	for id := range s.index.replicas {
		if all := s.Snapshots(id); len(all) > 0 {
			largest = max(largest, all[len(all)-1].Size)
		}
	}
	want := largest + min(s.index.needed, max(largest, logSinceMin))
	return headroomMin + roundUp(want, headroomStep)
}
