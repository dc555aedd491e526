package logstore

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
)

// Torn or rotten? One batch at most is under way at a time, and the next
// begins where it ended. So when the batch that is due at a place is not
// there, or not whole, there are three cases:
//
//   - A later segment begins with the batch that is due, and says that the one
//     before it ended here: the log went on there, because the rest of this
//     segment was too small.
//   - Nothing of this life of the log follows: the batch was never finished.
//     Nobody was told that it is kept. It is torn, and dropped.
//   - A batch of this life follows. It was not written before this one's sync
//     had returned, so this one was whole: it is damaged.
//
// A last batch that was synced, with no batch after it to say so, and then
// rots, looks torn. Idle and Close see to it that this lasts 20 ms.

// errTruncated is of the bug that drops what follows a bad batch.
var errTruncated = errors.New("truncated")

// recovery is the reading of the log on Open.
type recovery struct {
	s       *Store
	records []record
	number  uint64   // of the last whole batch; 0: none yet
	end     position // where it ends, and the next one begins
	tail    uint64   // as it says
	why     string   // why the batch at end is none

	last []byte // the last whole batch, as it stands on disk
	from position
	buf  []byte // a segment
}

func (s *Store) recover(numbers []uint64) error {
	r, err := s.load(numbers)
	if err != nil {
		return err
	}
	s.active = s.segment(r.end.segment)
	s.active.end = r.end.offset
	s.synced = r.end
	s.batch = r.number
	s.promised = r.number > 0
	s.stats.NeededBytes = s.needed
	for _, p := range s.replicas {
		a := &p.ahead
		a.has, a.base, a.last, a.state, a.kept = true, p.base.ID, p.last(), p.state, p.state.Commit
	}
	s.log.Info("log opened", "dir", s.dir, "segments", len(s.segments), "batches", r.number, "replicas", len(s.replicas))
	if err := r.secure(); err != nil {
		return err
	}
	return s.discardBefore(s.segments[0].number, numbers)
}

// load reads the log, checks all of it, and changes nothing.
func (s *Store) load(numbers []uint64) (*recovery, error) {
	tail, err := s.findTail(numbers)
	if err != nil {
		return nil, err
	}
	if err := s.openSegments(numbers, tail); err != nil {
		return nil, err
	}
	r := &recovery{s: s, end: position{s.segments[0].number, segmentHeader}, why: "there is no batch"}
	for _, seg := range s.segments {
		if bug("truncate at the first bad checksum") && seg.number > r.end.segment+1 {
			break
		}
		if err := r.segment(seg); err != nil {
			return nil, err
		}
	}
	return r, r.check()
}

// findTail returns the first segment that is needed. The newest whole batch
// says it; what is before may be gone, or half on its way to be used again. A
// torn batch has no say: it is dropped, and then the one before it counts.
func (s *Store) findTail(numbers []uint64) (uint64, error) {
	var b []byte
	for _, n := range slices.Backward(numbers) {
		seg, err := openSegment(s.fs, s.dir, n)
		if err != nil {
			return 0, err
		}
		b, err = seg.read(b)
		if closeErr := seg.file.Close(); err == nil {
			err = closeErr
		}
		if err != nil {
			return 0, err
		}
		tail := uint64(0)
		for at := int64(segmentHeader); at < seg.size; {
			h, ok := readBatchHeader(b[at:], seg.at(at))
			if !ok || !whole(seg, b[at:], at, h) {
				break
			}
			tail = h.tail
			at += batchSize(h.length)
		}
		if tail > 0 {
			return tail, nil
		}
	}
	return 1, nil
}

// whole says whether all records of a batch are those that were written with
// it.
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

// openSegments opens the segments from the tail on, none of which may be
// missing.
func (s *Store) openSegments(numbers []uint64, tail uint64) error {
	for _, n := range numbers {
		if n < tail {
			continue
		}
		seg, err := openSegment(s.fs, s.dir, n)
		if err != nil {
			return err
		}
		s.segments = append(s.segments, seg)
		if want := tail + uint64(len(s.segments)) - 1; n != want {
			return s.missing(want)
		}
	}
	if len(s.segments) == 0 {
		return s.missing(tail)
	}
	return nil
}

// discardBefore frees the segments before the tail. That the log does not want
// them must be durable by now. One that can't be read may go as well.
func (s *Store) discardBefore(tail uint64, numbers []uint64) error {
	for _, n := range numbers {
		if n >= tail {
			break
		}
		seg, err := openSegment(s.fs, s.dir, n)
		if errors.Is(err, ErrDamaged) {
			err = s.fs.Remove(path.Join(s.dir, segmentName(n)))
		} else if err == nil {
			err = s.discard(seg)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) missing(number uint64) error {
	return &Damage{File: path.Join(s.dir, segmentName(number)), Record: "segment", Reason: "the file is missing"}
}

// read reads all of a segment, into b if it is large enough.
func (s *segment) read(b []byte) ([]byte, error) {
	if int64(cap(b)) < s.size {
		b = make([]byte, s.size)
	}
	b = b[:s.size]
	if _, err := s.file.ReadAt(b, 0); err != nil {
		return nil, fmt.Errorf("read %s: %w", s.name, err)
	}
	return b, nil
}

// segment reads one segment.
func (r *recovery) segment(seg *segment) error {
	b, err := seg.read(r.buf)
	if err != nil {
		return err
	}
	r.buf = b
	at := int64(segmentHeader)
	for at < seg.size {
		h, ok := readBatchHeader(b[at:], seg.at(at))
		why := "there is no batch"
		if ok {
			why, err = r.batch(seg, b[at:], at, h)
			if err != nil {
				return err
			}
		}
		if why != "" {
			if (position{seg.number, at}) == r.end {
				r.why = why
			}
			break
		}
		if err := r.follows(seg, at, h); err == errTruncated {
			break
		} else if err != nil {
			return err
		}
		r.apply(seg, at)
		size := batchSize(h.length)
		r.number, r.tail = h.number, h.tail
		r.last = append(r.last[:0], b[at:at+size]...)
		r.from = position{seg.number, at}
		at += size
		r.end = position{seg.number, at}
		r.why = "there is no batch"
	}
	return r.stray(seg, b, at)
}

// follows says whether a whole batch is the one that is due. If it is not, the
// one that was due is damaged.
func (r *recovery) follows(seg *segment, at int64, h batchHeader) error {
	if r.number == 0 && (position{seg.number, at}) == r.end && (seg.number > 1 || h.number == 1) {
		return nil // the tail: what was before is not needed
	}
	if h.number == r.number+1 && h.durable == r.end {
		return nil
	}
	if bug("truncate at the first bad checksum") {
		return errTruncated
	}
	return r.damage("batch %d at offset %d of %s says that it ended at offset %d of segment %d",
		h.number, at, seg.name, h.durable.offset, h.durable.segment)
}

// stray looks for a batch of this life where none can be, unless the one that
// is due was there.
func (r *recovery) stray(seg *segment, b []byte, at int64) error {
	if bug("truncate at the first bad checksum") {
		return nil
	}
	for at += sectorSize; at < seg.size; at += sectorSize {
		if h, ok := readBatchHeader(b[at:], seg.at(at)); ok {
			return r.damage("batch %d follows at offset %d of %s", h.number, at, seg.name)
		}
	}
	return nil
}

// damage names the batch that is due, and is not there.
func (r *recovery) damage(format string, args ...any) error {
	return &Damage{
		File: r.s.segment(r.end.segment).name, Offset: r.end.offset,
		Record: fmt.Sprintf("batch %d", r.number+1),
		Reason: r.why + ", but " + fmt.Sprintf(format, args...),
	}
}

// batch reads the records of a batch. It says why the batch is not whole; an
// error is for what is whole and yet can't be used.
func (r *recovery) batch(seg *segment, b []byte, at int64, h batchHeader) (string, error) {
	r.records = r.records[:0]
	end := batchHeaderSize + h.length
	sums := uint32(0)
	pos := batchHeaderSize
	for pos < end {
		head, body, err := readRecord(b[pos:end], seg.at(at+int64(pos)))
		if err != nil {
			return fmt.Sprintf("its record at offset %d (%s): %v", at+int64(pos), describe(head), err), nil
		}
		rec, err := r.record(head, body)
		if err != nil {
			return "", fmt.Errorf("read %s at offset %d, %s: %w", seg.name, at+int64(pos), describe(head), err)
		}
		rec.at = pos
		r.records = append(r.records, rec)
		sums = sumOver(sums, head.sum)
		pos += head.size
	}
	if sums != h.sums || len(r.records) != h.count {
		return "its records are not those that were written with it", nil
	}
	return "", nil
}

// apply lets the records of a batch take effect.
func (r *recovery) apply(seg *segment, at int64) {
	for i := range r.records {
		rec := &r.records[i]
		// Two records of a batch may be the first of their replica.
		if known := r.s.replicas[rec.replica.id]; known != nil {
			rec.replica = known
		} else if rec.kind != kindRemove {
			r.s.replicas[rec.replica.id] = rec.replica
		}
		r.s.take(rec, place{seg.number, uint32(at + int64(rec.at)), uint32(rec.size)})
	}
}

// check says whether all that was promised is there.
func (r *recovery) check() error {
	s := r.s
	if r.number == 0 && s.segments[0].number != 1 {
		return r.damage("the log began before")
	}
	if r.number > 0 && r.tail < s.segments[0].number {
		return s.missing(r.tail)
	}
	for _, id := range slices.SortedFunc(maps.Keys(s.replicas), compareReplicas) {
		p := s.replicas[id]
		if p.base == nil {
			return &Damage{File: s.dir, Record: "log of " + id.String(), Reason: "its base is in no segment"}
		}
		due := p.base.ID.Index + 1
		for _, n := range p.runs {
			if n.first != due {
				return &Damage{File: s.dir, Record: "log of " + id.String(), Reason: fmt.Sprintf("entries %d to %d are in no segment", due, n.first-1)}
			}
			due = n.last() + 1
		}
		if p.state.Commit >= due {
			return &Damage{File: s.dir, Record: "log of " + id.String(), Reason: fmt.Sprintf("entries %d to %d were committed and are in no segment", due, p.state.Commit)}
		}
	}
	return nil
}

// secure makes the last batch durable. It may have been written by a process
// that was killed before its sync, and then it is only in the system's memory;
// or by one whose sync failed, and then the system may believe that it is on
// disk. So it is written once more, as it stands, and synced. All batches
// before it were synced before it was written.
func (r *recovery) secure() error {
	if r.number == 0 {
		return nil
	}
	seg := r.s.segment(r.from.segment)
	if _, err := seg.file.WriteAt(r.last, r.from.offset); err != nil {
		return fmt.Errorf("write batch %d again to %s: %w", r.number, seg.name, err)
	}
	if err := seg.file.Sync(); err != nil {
		return fmt.Errorf("sync batch %d in %s: %w", r.number, seg.name, err)
	}
	return nil
}
