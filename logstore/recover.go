package logstore

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"muster/logstore/vfs"
)

// Torn or rotten? At most one batch is under way at a time. The next one begins where
// it ended, or after that on a page of its own, or in the next segment; and it says
// where the one before it ended. So when the batch that is due at a place is missing
// or not whole, there are three cases:
//
//   - The batch that is due is further on, and says that the one before it ended
//     here. What is in between was never finished.
//   - Nothing of this life of the log follows: the batch was never finished, and
//     nobody was told that it is kept. It is torn, and dropped.
//   - A later batch of this life follows, whole or not. It was not written before
//     the sync of the one that is due had returned, so that one is damaged. There
//     is a hole in the log; resync.go continues after it.
//
// A last batch that was synced and then rots looks torn as long as no later batch
// proves that it was synced. Idle and Close limit that to 20 ms.

// errTruncated belongs to the planted bug that drops what follows a bad batch.
var errTruncated = errors.New("truncated")

// recovery is a start: it reads the log, tells torn from damaged, and builds the
// parts of a Store from what it found. Nothing of it outlives Open.
type recovery struct {
	s         *Store
	records   []record
	directory []byte   // the body of the one among records, or nil
	rows      uint32   // its number of rows
	number    uint64   // of the last whole batch; 0: none yet
	newest    uint64   // the largest number that any batch has, whole or not
	end       position // where the last whole batch ends
	next      uint64   // the segment in which it says that the log goes on, or 0
	tail      uint64   // the first segment that is needed, as it says
	why       string   // why there is no whole batch at end
	hole      *hole    // nil: all since end is there
	known     lastKnown
	cut       bool // the end is missing, and the file of the last stop told what it held
	salvage   []salvaged
	damages   []Damage
	torn      *Damage // the last batch, if there is the beginning of one
	tornEnd   int64   // where it would end
	refused   []stretch
	doubt     error // the disk refuses the place where the log would go on

	last []byte // the last whole batch, as it stands on disk
	from position
	buf  []byte // a segment
}

// recover reads the log, and makes what it found durable, so that the Store may
// continue from there.
func (r *recovery) recover(numbers []uint64) error {
	s := r.s
	if err := r.load(numbers); err != nil {
		return err
	}
	if r.doubt != nil {
		return r.doubt
	}
	// Nothing of the log was changed up to here: a start that must not continue leaves
	// it as it was.
	s.faults.opened(r.refused)
	if err := r.goOn(); err != nil {
		return err
	}
	s.figures.count(func(n *Stats) { n.NeededBytes = s.index.needed })
	for _, p := range s.index.replicas {
		a := &p.ahead
		a.last, a.state, a.kept = p.last(), p.state, p.state.Commit
		if p.base != nil {
			a.has, a.base = true, p.base.ID
		}
	}
	s.log.Info("log opened", "dir", s.dir, "segments", len(s.index.segments), "batches", r.number, "replicas", len(s.index.replicas))
	for i := range r.damages {
		s.log.Error("log is damaged", "err", &r.damages[i])
	}
	if err := r.secure(); err != nil {
		return err
	}
	s.writer.durable.Store(r.number)
	s.home.found = Batch(r.number)
	for _, seg := range s.index.segments {
		if err := seg.mendHeader(); err != nil {
			return err
		}
	}
	// Files before the tail go last: entries that the log lost may be found in them.
	tail := s.index.segments[0].number
	if done, err := r.takeBack(numbers, tail); !done || err != nil {
		return err
	}
	return r.discardBefore(tail, numbers)
}

// load reads the log, checks all of it, and changes nothing on disk.
func (r *recovery) load(numbers []uint64) error {
	s := r.s
	tail, newest, err := findTail(s.fs, s.dir, numbers)
	if err != nil {
		return err
	}
	if stop := r.known.stop; stop != nil && newest < uint64(r.known.batch) {
		tail = stop.tail // what the newest surviving batch needs may have been freed since
	}
	if err := r.openSegments(numbers, tail); err != nil {
		return err
	}
	begin := position{s.index.segments[0].number, segmentHeader}
	s.writer.directory.since, s.writer.directory.sinceAt = begin.segment, begin
	r.end, r.why = begin, "there is no batch"
	for _, seg := range s.index.segments {
		if seg.spoilt != nil {
			r.damages = append(r.damages, *seg.spoilt)
		}
		if err := r.segment(seg); errors.Is(err, errTruncated) {
			break
		} else if err != nil {
			return err
		}
	}
	r.finish()
	return nil
}

// findTail returns the first segment that is needed, and the number of the batch
// that says so, or 0. The newest whole batch says it; files before that may be gone,
// or about to be used again. A torn batch is not believed: it is dropped, and then
// the one before it counts.
func findTail(disk vfs.FS, dir string, numbers []uint64) (tail, batch uint64, err error) {
	var b []byte
	for _, n := range slices.Backward(numbers) {
		seg, err := openSegment(disk, dir, n)
		if err != nil {
			return 0, 0, err
		}
		if seg.file == nil {
			continue
		}
		b, _, err = seg.read(b)
		if closeErr := seg.file.Close(); err == nil {
			err = closeErr
		}
		if err != nil {
			return 0, 0, err
		}
		newest, tail := uint64(0), uint64(0)
		for at := int64(segmentHeader); at < seg.limit(); {
			h, ok := readBatchHeader(b[at:seg.limit()], seg.at(at))
			if ok && h.number > newest && whole(seg, b[at:], at, h) {
				newest, tail = h.number, h.tail
				at += batchSize(h.length)
				continue
			}
			// Not a batch: look on in the next sector. The length of a bad header is
			// not to be trusted, and a good batch may begin in any of them.
			at += sectorSize
			if bug("truncate at the first bad checksum") {
				break
			}
		}
		if tail > 0 {
			return tail, newest, nil
		}
	}
	// Nothing was written yet, or all of it is lost.
	return numbers[0], 0, nil
}

// whole reports whether a batch has all the records that were written with it.
func whole(seg *segment, b []byte, at int64, h batchHeader) bool {
	end := batchHeaderSize + h.length
	sums := uint32(0)
	for pos := batchHeaderSize; pos < end; {
		head, _, err := readRecord(b[pos:end], seg.at(at+int64(pos)))
		if err != nil {
			return false
		}
		sums = sumOver(sums, head.sum)
		pos += head.size
	}
	return sums == h.sums
}

// openSegments opens the segments from the tail on. One that is missing or can't be
// read keeps its place among them.
func (r *recovery) openSegments(numbers []uint64, tail uint64) error {
	s := r.s
	last := max(tail, numbers[len(numbers)-1])
	if last-numbers[0] > segmentsMax {
		return fmt.Errorf("%w: segments %d to %d can't be of one log", ErrDamaged, numbers[0], last)
	}
	for n := tail; n <= last; n++ {
		seg, err := openSegment(s.fs, s.dir, n)
		if err != nil {
			return err
		}
		s.index.segments = append(s.index.segments, seg)
	}
	return nil
}

// discardBefore frees the segments before the tail. The batch that names the tail must
// be durable by now. A segment that can't be read may go as well.
func (r *recovery) discardBefore(tail uint64, numbers []uint64) error {
	s := r.s
	for _, n := range numbers {
		if n >= tail {
			break
		}
		seg, err := openSegment(s.fs, s.dir, n)
		if err == nil && seg.refused() {
			continue // it does no harm, and the next start tries again
		}
		if err == nil {
			err = s.room.discard(seg)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// read reads all of a segment, into b if that is large enough. It returns zeros for
// what is missing of a file that is too short, and for what the disk refuses, whose
// places it returns too.
func (s *segment) read(b []byte) ([]byte, []stretch, error) {
	if int64(cap(b)) < s.size {
		b = make([]byte, s.size)
	}
	b = b[:s.size]
	n, err := ReadAt(s.file, b, 0)
	var refused []stretch
	if errors.Is(err, ErrRefused) {
		n = len(b)
		refused, err = s.readPieces(b)
	}
	if err != nil && err != io.EOF {
		return nil, nil, fmt.Errorf("read %s: %w", s.name, err)
	}
	clear(b[n:])
	return b, refused, nil
}

// readPieces reads a segment piece by piece, because the disk refuses some of it. If
// it refuses several chunks in a row it may refuse the whole segment, and asking for
// each chunk could take an hour: so the steps double until something is returned. At
// most as much is skipped as was refused in that row.
func (s *segment) readPieces(b []byte) (refused []stretch, err error) {
	note := func(from, to int64) {
		clear(b[from:to])
		if n := len(refused); n > 0 && refused[n-1].to == from {
			refused[n-1].to = to
		} else {
			refused = append(refused, stretch{s.number, from, to})
		}
	}
	pages, row := 0, 0 // pages refused; chunks in a row of which nothing was returned
	for from, to := int64(0), int64(0); from < s.size; from = to {
		to = min(from+refusedChunk, s.size)
		if err := s.readPiece(b[from:to], from); err == nil {
			row = 0
			continue
		} else if !errors.Is(err, ErrRefused) {
			return nil, err
		}
		if row >= refusedRowMax {
			to = min(from+refusedChunk<<(row-refusedRowMax), s.size)
			note(from, to)
			row++
			continue
		}
		row++
		for at := from; at < to; at += pageSize {
			end := min(at+pageSize, to)
			err := ErrRefused
			if pages < refusedPagesMax {
				err = s.readPiece(b[at:end], at)
			}
			if err == nil {
				row = 0
				continue
			} else if !errors.Is(err, ErrRefused) {
				return nil, err
			}
			pages++
			note(at, end)
		}
	}
	return refused, nil
}

func (s *segment) readPiece(b []byte, at int64) error {
	n, err := ReadAt(s.file, b, at)
	if err == io.EOF {
		err = nil
	}
	if err == nil {
		clear(b[n:])
	}
	return err
}

// segment reads one segment. If it is lost, the batches after it show what it held.
func (r *recovery) segment(seg *segment) error {
	if seg.refused() {
		r.refused = append(r.refused, stretch{seg.number, 0, segmentSizeMax})
	}
	if seg.file == nil {
		return nil
	}
	b, refused, err := seg.read(r.buf)
	if err != nil {
		return err
	}
	for _, t := range refused {
		r.damages = append(r.damages, r.refusal(t))
	}
	r.refused = append(r.refused, refused...)
	r.buf = b
	b = b[:seg.limit()]
	for at := int64(segmentHeader); at < seg.limit(); {
		h, ok := readBatchHeader(b[at:], seg.at(at))
		// A batch whose number is not new was never finished: after that start its
		// number was given again, to a batch that begins before it.
		if !ok || h.number <= r.number {
			if (position{seg.number, at}) == r.end {
				r.rescue(seg, b[at:], at)
			}
			at += sectorSize
			continue
		}
		// A batch counts here even if it is not whole: it was begun after the sync of the
		// one before it, and so proves that one durable.
		r.newest = max(r.newest, h.number)
		why, err := r.batch(seg, b[at:], at, h)
		if err != nil {
			return err
		}
		if why != "" {
			r.spoilt(seg, b[at:], at, h, why)
			at += sectorSize
			continue
		}
		if !r.follows(seg, at, h) {
			if bug("truncate at the first bad checksum") {
				return errTruncated
			}
			r.openHole("batch %d follows at offset %d of %s", h.number, at, seg.name)
		} else if r.hole == nil {
			r.salvage = r.salvage[:0] // it was never finished
		}
		r.apply(seg, at)
		r.advance(seg, b[at:], at, h)
		at = r.end.offset
	}
	return nil
}

// advance moves past a whole batch.
func (r *recovery) advance(seg *segment, b []byte, at int64, h batchHeader) {
	start, end := position{seg.number, at}, position{seg.number, at + batchSize(h.length)}
	d := &r.s.writer.directory
	d.tells(start, h.durable, directoryFrom(b, r.records))
	d.remember(start, end, h.durable, r.records)
	r.number, r.tail, r.next = h.number, h.tail, h.next
	// Kept for secure, in case that this is the last one: only that may be unsynced.
	r.last = append(r.last[:0], b[:end.offset-at]...)
	r.from, r.end = start, end
	r.why, r.torn = "there is no batch", nil
}

// spoilt records a batch that is not whole. Whether it is torn or damaged depends on
// what follows.
func (r *recovery) spoilt(seg *segment, b []byte, at int64, h batchHeader, why string) {
	if r.torn == nil {
		r.tornEnd = at + batchSize(h.length)
		r.torn = &Damage{File: seg.name, Offset: at, Record: fmt.Sprintf("batch %d", h.number), Reason: why}
	}
	if (position{seg.number, at}) == r.end {
		r.why = why
	}
	r.rescue(seg, b[:batchHeaderSize+h.length], at)
}

// follows reports whether a whole batch is the one that is due.
func (r *recovery) follows(seg *segment, at int64, h batchHeader) bool {
	if r.number == 0 {
		// At the tail: what was before is not needed.
		return (position{seg.number, at}) == r.end && (seg.number > 1 || h.number == 1)
	}
	return h.number == r.number+1 && h.durable == r.end
}

// due names the batch that is due, and is not there.
func (r *recovery) due() Damage {
	d := Damage{File: r.s.index.segment(r.end.segment).name, Offset: r.end.offset, Record: fmt.Sprintf("batch %d", r.number+1), Reason: r.why}
	n := r.next
	if n == 0 {
		n = r.end.segment
	}
	if seg := r.s.index.segment(n); seg != nil && n != r.end.segment {
		d.File, d.Offset = seg.name, segmentHeader
	}
	if seg := r.s.index.segment(n); seg != nil && seg.spoilt != nil && seg.mend < 0 {
		reason := d.Reason
		d = *seg.spoilt
		if seg.file != nil {
			d.Reason += ", " + reason
		}
	}
	return d
}

// batch reads the records of a batch. It returns why the batch is not whole; an error
// means that it is whole and can't be used all the same.
func (r *recovery) batch(seg *segment, b []byte, at int64, h batchHeader) (string, error) {
	r.records, r.directory = r.records[:0], nil
	end := batchHeaderSize + h.length
	sums := uint32(0)
	pos := batchHeaderSize
	for pos < end {
		head, body, err := readRecord(b[pos:end], seg.at(at+int64(pos)))
		if err != nil {
			return fmt.Sprintf("its record at offset %d (%s): %v", at+int64(pos), describe(head), err), nil
		}
		rec, err := r.s.index.decode(head, body)
		if errors.Is(err, ErrDamaged) {
			return fmt.Sprintf("its record at offset %d (%s): %v", at+int64(pos), describe(head), err), nil
		}
		if err != nil {
			return "", fmt.Errorf("read %s at offset %d, %s: %w", seg.name, at+int64(pos), describe(head), err)
		}
		rec.at = pos
		if rec.kind == kindDirectory {
			r.directory, r.rows = body, rec.count
		}
		r.records = append(r.records, rec)
		sums = sumOver(sums, head.sum)
		pos += head.size
	}
	if sums != h.sums || len(r.records) != h.count {
		return "its records are not those that were written with it", nil
	}
	return "", nil
}

// apply lets the records of a batch take effect. Where there is a hole before
// it, its directory comes first: it says how the log stood there.
func (r *recovery) apply(seg *segment, at int64) {
	if r.hole != nil && r.directory != nil {
		r.applyDirectory()
	}
	for i := range r.records {
		rec := &r.records[i]
		if rec.kind == kindDirectory {
			continue
		}
		// Two records of a batch may be the first of their replica.
		if known := r.s.index.replicas[rec.replica.id]; known != nil {
			rec.replica = known
		} else if rec.kind != kindRemove && rec.replica.id != (Replica{}) {
			r.s.index.replicas[rec.replica.id] = rec.replica
		}
		r.s.index.take(rec, place{seg.number, uint32(at + int64(rec.at)), uint32(rec.size)})
	}
}

// secure makes the last batch durable. The process that wrote it may have been killed
// before its sync, and then the batch is only in the system's memory; or its sync may
// have failed, and then the system may believe that the batch is on disk. So the batch
// is written once more, as it is, and synced. All batches before it were synced before
// it was written.
func (r *recovery) secure() error {
	if r.number == 0 {
		return nil
	}
	seg := r.s.index.segment(r.from.segment)
	if _, err := seg.file.WriteAt(r.last, r.from.offset); err != nil {
		return fmt.Errorf("write batch %d again to %s: %w", r.number, seg.name, err)
	}
	if err := seg.file.Sync(); err != nil {
		return fmt.Errorf("sync batch %d in %s: %w", r.number, seg.name, err)
	}
	return nil
}
