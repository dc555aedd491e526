package logstore

import (
	"fmt"
	"unsafe"

	"muster/logstore/vfs"
)

const (
	// batchPart bounds a batch to this part of a segment: what does not fit
	// into the rest of a segment goes into the next, and the rest is wasted.
	// Larger Appends take several batches, each with a sync of its own.
	batchPart = 8
	// bufferKeepBytes is the largest buffer that is kept from one Append to
	// the next. An entry of many megabytes is rare.
	bufferKeepBytes = 4 << 20
	// directoryRoom is what a directory gets where room is scarce: on a full
	// disk, and beside an entry that has a segment to measure.
	directoryRoom = 1 << 10
)

// runMax bounds a record of several entries, where a segment has so many bytes. It
// is no larger than a batch is otherwise: one that has to stand in one piece, and is
// larger, finds no place in segments for whose number [Store.fits] counts on batches
// of the usual size.
func runMax(segment int64) int { return int(min(runBytesMax, segment/batchPart)) }

// extend makes b longer by n bytes, whose content is open.
func extend(b []byte, n int) []byte {
	if len(b)+n <= cap(b) {
		return b[:len(b)+n]
	}
	grown := aligned(max(2*cap(b), len(b)+n+pageSize))[:len(b)+n]
	copy(grown, b)
	return grown
}

// aligned returns n bytes that begin where a page does, so that a disk can take
// them from there.
func aligned(n int) []byte {
	b := make([]byte, n+pageSize)
	from := -uintptr(unsafe.Pointer(&b[0])) % pageSize
	return b[from : from+uintptr(n) : from+uintptr(n)]
}

// flush writes the batch and syncs it, then lets it take effect. A batch that
// promises nothing needs no durable offset after it. A fresh one begins on a
// page that holds no other: one page that is damaged does not take both what
// was promised and the proof that it was durable.
func (s *Store) flush(promises, fresh bool) error {
	if len(s.buf) == 0 {
		s.buf = extend(s.buf, batchHeaderSize)
	}
	n, count := len(s.buf), len(s.records)
	var offset int64
	for ; ; s.buf, s.records = s.buf[:n], s.records[:count] {
		if s.index.active.closed() {
			if err := s.roll(int64(n)); err != nil {
				return err
			}
			continue
		}
		offset = s.index.active.end
		if fresh && offset > segmentHeader {
			offset = roundUp(offset, pageSize)
		}
		if s.directBest(offset, int64(n)) {
			break
		}
		if err := s.roll(int64(n)); err != nil {
			return err
		}
	}
	for i := range s.records {
		k := s.records[i].kind
		promises = promises || k != kindState && k != kindDirectory
	}
	before := s.named
	if err := s.write(s.buf, s.records, offset, s.index.tail(), 0); err != nil {
		return err
	}
	s.promised = promises
	s.effect(offset, int64(len(s.buf)))
	if promises {
		if err := s.home.promise(Batch(s.batch)); err != nil {
			return err
		}
	}
	if cap(s.buf) > bufferKeepBytes {
		s.buf = nil
	}
	s.buf = s.buf[:0]
	return s.room.reclaim(before)
}

// directBest ends a batch of n bytes at offset with a directory. It says false
// if the segment has no room for even a short one.
func (s *Store) directBest(offset, n int64) bool {
	records := len(s.records)
	room := s.index.active.room() - offset - n
	lists := [...]int64{s.index.active.size / directoryPart, directoryRoom}
	for i, most := range lists {
		if i == 0 && s.room.scarce() {
			continue
		}
		s.buf, s.records = s.buf[:n], s.records[:records]
		if s.index.active.end == segmentHeader {
			most = min(most, room) // there is no segment with more
		}
		s.direct(most)
		if int64(len(s.buf))-n <= room {
			return true
		}
	}
	return false
}

// direct ends the batch with its directory.
func (s *Store) direct(most int64) {
	at := len(s.buf)
	var rows int
	s.buf, rows = s.putDirectory(s.buf, int(most))
	s.records = append(s.records, record{kind: kindDirectory, at: at, size: len(s.buf) - at, count: uint32(rows)})
}

// write writes a batch into the active segment and syncs it.
func (s *Store) write(b []byte, records []record, offset int64, tail, next uint64) error {
	seg := s.index.active
	length := len(b) - batchHeaderSize
	sums := uint32(0)
	for i := range records {
		r := &records[i]
		sum := sealRecord(b[r.at:r.at+r.size], seg.at(offset+int64(r.at)))
		sums = sumOver(sums, sum)
	}
	batchHeader{
		length: length, count: len(records), sums: sums,
		number: s.batch + 1, durable: s.synced, tail: tail, next: next,
	}.put(b, seg.at(offset))
	// The write goes on to the end of its page, unless it goes to the disk by
	// the sector: a page that is written in part, in a file that was not read
	// lately, has to be read first.
	n := len(b)
	unit := int64(pageSize)
	direct, ok := seg.file.(vfs.SyncWriter)
	if ok {
		unit = direct.Unit()
	}
	b = extend(b, int(min(roundUp(offset+int64(n), unit), seg.limit())-offset)-n)
	clear(b[n:])
	if next == 0 {
		s.buf = b[:n]
	}
	var err error
	if ok {
		if err = direct.WriteSync(b, offset); err != nil {
			return fmt.Errorf("write batch %d to %s and sync it: %w", s.batch+1, seg.name, err)
		}
	} else if _, err = seg.file.WriteAt(b, offset); err != nil {
		return fmt.Errorf("write batch %d to %s: %w", s.batch+1, seg.name, err)
	} else {
		err = seg.file.Sync()
	}
	if err != nil && bug("sync retried") {
		err = seg.file.Sync()
	}
	if err != nil {
		return fmt.Errorf("sync batch %d in %s: %w", s.batch+1, seg.name, err)
	}
	s.batch++
	s.home.synced.Store(s.batch)
	s.named = tail
	start := position{seg.number, offset}
	end := position{seg.number, offset + batchSize(length)}
	s.directory.tells(start, s.synced, directoryFrom(b, records))
	s.directory.remember(start, end, s.synced, records)
	seg.end = end.offset
	s.synced = end
	return nil
}

// effect lets a batch that is durable show.
func (s *Store) effect(offset, bytes int64) {
	s.index.mu.Lock()
	defer s.index.mu.Unlock()
	for i := range s.records {
		r := &s.records[i]
		if r.kind == kindDirectory {
			continue
		}
		r.replica.ahead.queued--
		s.index.take(r, place{s.index.active.number, uint32(offset + int64(r.at)), uint32(r.size)})
		r.replica, r.base = nil, nil
	}
	s.figures.count(func(n *Stats) {
		n.Batches++
		n.Records += uint64(len(s.records))
		n.Bytes += uint64(bytes)
		n.NeededBytes = s.index.needed
	})
	s.records = s.records[:0]
}

// roll goes on in the next segment, which is to have room for a batch of some
// bytes and its directory. The one that is left ends with a batch that says so:
// if the next one is lost, it is known that it held something.
func (s *Store) roll(bytes int64) error {
	need := roundUp(2*segmentHeader+bytes+directoryRoom+2*sectorSize, pageSize)
	if err := s.room.provide(need); err != nil {
		return err
	}
	if !s.index.active.closed() {
		if err := s.writeClosing(); err != nil {
			return err
		}
	}
	s.index.goTo(s.index.next())
	return nil
}

// writeClosing writes the batch that closes the active segment: its header, and
// what of a directory fits into the sector.
func (s *Store) writeClosing() error {
	b := extend(s.closing[:0], batchHeaderSize)
	b, rows := s.putDirectory(b, sectorSize-batchHeaderSize)
	s.closing = b
	records := [1]record{{kind: kindDirectory, at: batchHeaderSize, size: len(b) - batchHeaderSize, count: uint32(rows)}}
	if err := s.write(b, records[:], s.index.active.end, s.index.tail(), s.index.active.number+1); err != nil {
		return err
	}
	s.index.active.close()
	return nil
}
