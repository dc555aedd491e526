package logstore

import "fmt"

const (
	// batchPart bounds a batch to this part of a segment: what does not fit
	// into the rest of a segment goes into the next, and the rest is wasted.
	// Larger Appends take several batches, each with a sync of its own.
	batchPart = 8
	// bufferKeepBytes is the largest buffer that is kept from one Append to
	// the next. An entry of many megabytes is rare.
	bufferKeepBytes = 4 << 20
)

// extend makes b longer by n bytes, whose content is open.
func extend(b []byte, n int) []byte {
	if len(b)+n <= cap(b) {
		return b[:len(b)+n]
	}
	grown := make([]byte, len(b)+n, max(2*cap(b), len(b)+n+pageSize))
	copy(grown, b)
	return grown
}

// flush writes the batch and syncs it, then lets it take effect. A batch that
// promises nothing needs no durable offset after it.
func (s *Store) flush(promises bool) error {
	if len(s.buf) == 0 {
		s.buf = extend(s.buf, batchHeaderSize)
	}
	length := len(s.buf) - batchHeaderSize
	if err := s.makeRoom(batchSize(length)); err != nil {
		return err
	}
	seg := s.active
	offset := seg.end
	sums := uint32(0)
	for i := range s.records {
		r := &s.records[i]
		sum := sealRecord(s.buf[r.at:r.at+r.size], seg.at(offset+int64(r.at)))
		sums = sumOver(sums, sum)
		promises = promises || r.kind != kindState
	}
	tail := s.tail()
	batchHeader{
		length: length, count: len(s.records), sums: sums,
		number: s.batch + 1, durable: s.synced, tail: tail,
	}.put(s.buf, seg.at(offset))
	// The write goes on to the end of its page: a page that is written in
	// part, in a file that was not read lately, has to be read first.
	n := len(s.buf)
	s.buf = extend(s.buf, int(roundUp(offset+int64(n), pageSize)-offset)-n)
	clear(s.buf[n:])
	if _, err := seg.file.WriteAt(s.buf, offset); err != nil {
		return fmt.Errorf("write batch %d to %s: %w", s.batch+1, seg.name, err)
	}
	err := seg.file.Sync()
	if err != nil && bug("sync retried") {
		err = seg.file.Sync()
	}
	if err != nil {
		return fmt.Errorf("sync batch %d in %s: %w", s.batch+1, seg.name, err)
	}
	s.batch++
	seg.end += batchSize(length)
	s.synced = position{seg.number, seg.end}
	s.promised = promises
	s.effect(offset, int64(length+batchHeaderSize))
	if cap(s.buf) > bufferKeepBytes {
		s.buf = nil
	}
	s.buf = s.buf[:0]
	return s.reclaim(tail)
}

// effect lets a batch that is durable show.
func (s *Store) effect(offset, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.records {
		r := &s.records[i]
		r.replica.ahead.queued--
		s.take(r, place{s.active.number, uint32(offset + int64(r.at)), uint32(r.size)})
		r.replica, r.base = nil, nil
	}
	s.stats.Batches++
	s.stats.Records += uint64(len(s.records))
	s.stats.Bytes += uint64(bytes)
	s.stats.NeededBytes = s.needed
	s.records = s.records[:0]
}

// makeRoom makes the active segment one that has room for a batch.
func (s *Store) makeRoom(bytes int64) error {
	for s.active.size-s.active.end < bytes {
		need := roundUp(segmentHeader+bytes, pageSize)
		if s.next() == nil && s.filling == nil && (len(s.free) == 0 || need > s.size) {
			// An entry that is larger than a segment gets one to measure.
			if err := s.lacking(s.startFilling(max(min(2*s.active.size, s.size), need))); err != nil {
				return err
			}
		}
		if err := s.prepare(1 << 62); err != nil {
			return err
		}
		if s.next() == nil {
			if err := s.useReserve(); err != nil {
				return err
			}
		}
		s.active = s.next()
	}
	return nil
}

// keepPace prepares the next segment as fast as this one fills, so that no
// Append has to wait for all of it. Each piece costs a sync, and only as long
// as the log grows: later there are segments to use again.
func (s *Store) keepPace() error {
	// The reserve comes first: its half of the way is behind when the next
	// segment's begins to matter.
	if r := s.reserve; r == nil || float64(r.done) < 2*float64(s.reserveSize())*float64(s.active.end)/float64(s.active.size) {
		if err := s.fillReserve(fillPieceBytes); err != nil {
			return err
		}
	}
	if s.next() != nil {
		return nil
	}
	bytes := int64(fillPieceBytes)
	if f := s.filling; f != nil {
		due := int64(float64(f.size) * float64(s.active.end) / float64(s.active.size))
		if bytes = due - f.done; bytes <= 0 {
			return nil
		}
	}
	return s.prepare(bytes)
}
