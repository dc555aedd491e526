package logstore

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"slices"

	"muster/logstore/vfs"
	"muster/raft"
)

// ErrNoLog: there is no log in the directory.
var ErrNoLog = errors.New("no log there")

// What a [Walked] can be besides a record, whose kind has the name that record.go gives
// it: "state", "base", "entries", "moved entries", "removal", ….
const (
	WalkedSegment = "segment" // a file begins
	WalkedBatch   = "batch"   // one without records: it says that all before it is durable
	WalkedDamage  = "damage"  // something was here and can't be read
	WalkedTorn    = "torn"    // the last batch was not finished, or is being written right now
)

// Walked is one thing that a log holds. Fields that do not apply are zero.
type Walked struct {
	Kind    string
	File    string
	Segment uint64
	Offset  int64
	Bytes   int64  // with its header
	Freed   bool   // the segment is no longer needed
	Batch   uint64 // its number
	Begin   int64  // the offset of its batch

	Replica Replica
	Commit  uint64 // that the record carries

	First, Last, Term uint64         // entries
	Entries           []raft.Entry   // of them; good until the visit returns
	State             raft.HardState // state: term and vote
	Base              *Base          // base
	End               uint64         // base: the log's last index after it
	Note              *Note          // note

	Damage *Damage // damage, torn
}

// Walk visits all that the log of a data directory holds, in the order in which it was
// written. It reports what is there, not what it adds up to: entries that were truncated
// or removed since are visited too. It reports damage in its place and continues after
// it. It has one segment in memory at a time.
//
// It takes no lock and changes nothing. If the log is in use, it sees what is there as
// it passes: the end may look torn.
//
// Errors are [ErrNoLog], those of the disk, and those of visit.
func Walk(disk vfs.FS, dir string, visit func(*Walked) error) error {
	w := &walker{disk: disk, dir: path.Join(dir, LogDir), visit: visit}
	known, err := knownEndIfRead(disk, dir)
	if err != nil {
		return fmt.Errorf("walk the log in %s: %w", dir, err)
	}
	numbers, err := w.numbers()
	if err != nil {
		return fmt.Errorf("walk the log in %s: %w", dir, err)
	}
	if w.tail, err = w.findTail(numbers); err != nil {
		return fmt.Errorf("walk the log in %s: %w", dir, err)
	}
	for i, n := range numbers {
		due := n
		if i > 0 {
			due = numbers[i-1] + 1
		} else if w.tail > 0 && w.tail < n {
			due = w.tail
		}
		for ; due < n; due++ {
			if due < w.tail {
				continue
			}
			if err := w.damage(due, 0, &Damage{File: w.name(due), Record: "segment", Reason: "the file is missing"}); err != nil {
				return err
			}
		}
		if err := w.segment(n); err != nil {
			return err
		}
	}
	return w.finish(&known)
}

// finish visits what is missing at the end.
func (w *walker) finish(known *lastKnown) error {
	last := uint64(known.batch)
	if last <= w.number {
		return w.tell(WalkedTorn)
	}
	if err := w.tell(WalkedDamage); err != nil {
		return err
	}
	d := &Damage{File: w.name(w.end.segment), Offset: w.end.offset, Record: fmt.Sprintf("batch %d", last), Reason: "there is no batch, but " + known.reason}
	if last > w.number+1 {
		d.Record = fmt.Sprintf("batches %d to %d", w.number+1, last)
	}
	return w.damage(w.end.segment, w.end.offset, d)
}

// walker is a walk under way.
type walker struct {
	disk  vfs.FS
	dir   string // of the segments
	known index  // empty: it is for reading records
	visit func(*Walked) error
	tail  uint64
	buf   []byte

	number uint64   // of the last batch that was met; 0: none yet
	end    position // where it ends
	// Of the last batch, what can't be read: whether it is torn or damaged
	// depends on what follows.
	bad []Walked
}

func (w *walker) name(number uint64) string { return path.Join(w.dir, segmentName(number)) }

func (w *walker) numbers() ([]uint64, error) {
	numbers, err := segmentNumbers(w.disk, w.dir, slog.New(slog.DiscardHandler))
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(numbers) == 0 {
		return nil, ErrNoLog
	}
	return numbers, err
}

// damage visits damage at a place.
func (w *walker) damage(segment uint64, offset int64, d *Damage) error {
	return w.visit(&Walked{Kind: WalkedDamage, File: d.File, Segment: segment, Offset: offset, Freed: segment < w.tail, Damage: d})
}

// tell visits what could not be read of the last batch, now that it is known whether
// that was torn or damaged.
func (w *walker) tell(kind string) error {
	for i := range w.bad {
		w.bad[i].Kind = kind
		if err := w.visit(&w.bad[i]); err != nil {
			return err
		}
	}
	w.bad = w.bad[:0]
	return nil
}

// findTail returns the first segment that is needed, as the newest whole batch
// says, or zero.
func (w *walker) findTail(numbers []uint64) (uint64, error) {
	for _, n := range slices.Backward(numbers) {
		seg, b, _, err := w.open(n)
		if errors.Is(err, ErrDamaged) || errors.Is(err, ErrNewerFormat) || errors.Is(err, ErrOlderFormat) {
			continue
		}
		if err != nil {
			return 0, err
		}
		number, tail := uint64(0), uint64(0)
		for at := w.next(seg, b, segmentHeader); at < seg.limit(); {
			h, _ := readBatchHeader(b[at:], seg.at(at))
			if h.number > number && whole(seg, b[at:], at, h) {
				number, tail = h.number, h.tail
			}
			at = w.next(seg, b, at+batchSize(h.length))
		}
		if tail > 0 {
			return tail, nil
		}
	}
	return 0, nil
}

// open reads all of a segment.
func (w *walker) open(number uint64) (*segment, []byte, []stretch, error) {
	seg, err := openSegment(w.disk, w.dir, number)
	if err != nil {
		return nil, nil, nil, err
	}
	if seg.file == nil {
		return nil, nil, nil, seg.spoilt
	}
	b, refused, err := seg.read(w.buf)
	w.buf = b
	if closeErr := seg.file.Close(); err == nil {
		err = closeErr
	}
	return seg, b, refused, err
}

// next returns the place of the first batch header at an offset or after, or
// the end of the segment.
func (w *walker) next(seg *segment, b []byte, at int64) int64 {
	for ; at < seg.limit(); at += sectorSize {
		if _, ok := readBatchHeader(b[at:seg.limit()], seg.at(at)); ok {
			return at
		}
	}
	return seg.limit()
}

func (w *walker) segment(number uint64) error {
	seg, b, refused, err := w.open(number)
	var damage *Damage
	switch {
	case errors.As(err, &damage):
		return w.damage(number, damage.Offset, damage)
	case errors.Is(err, ErrNewerFormat), errors.Is(err, ErrOlderFormat):
		return w.damage(number, 0, &Damage{File: w.name(number), Record: "header", Reason: err.Error()})
	case errors.Is(err, fs.ErrNotExist):
		return nil // of a log in use: it is being used again
	case err != nil:
		return fmt.Errorf("walk the log: %w", err)
	}
	if err := w.visit(&Walked{Kind: WalkedSegment, File: seg.name, Segment: number, Bytes: seg.size, Freed: number < w.tail}); err != nil {
		return err
	}
	if seg.spoilt != nil {
		if err := w.damage(number, seg.spoilt.Offset, seg.spoilt); err != nil {
			return err
		}
	}
	for _, t := range refused {
		d := &Damage{File: seg.name, Offset: t.from, Record: fmt.Sprintf("%d bytes", t.to-t.from), Reason: ErrRefused.Error(), Refused: true}
		if err := w.damage(number, t.from, d); err != nil {
			return err
		}
	}
	for at := w.next(seg, b, segmentHeader); at < seg.limit(); {
		h, _ := readBatchHeader(b[at:], seg.at(at))
		if h.number <= w.number {
			// A batch that was never finished left it behind.
			at = w.next(seg, b, at+sectorSize)
			continue
		}
		if err := w.follows(seg, at, h); err != nil {
			return err
		}
		if err := w.batch(seg, b[at:], at, h); err != nil {
			return err
		}
		w.number, w.end = h.number, position{number, at + batchSize(h.length)}
		at = w.next(seg, b, w.end.offset)
	}
	return nil
}

// follows visits what is missing before a batch.
func (w *walker) follows(seg *segment, at int64, h batchHeader) error {
	if err := w.tell(WalkedDamage); err != nil {
		return err
	}
	lost := h.number - w.number - 1
	switch {
	case w.number == 0 && (seg.number > 1 || h.number == 1), lost == 0 && h.durable == w.end:
		return nil
	case w.end.segment < w.tail && seg.number > w.end.segment+1:
		return nil // files between were freed, and removed or used again
	case w.number == 0:
		w.end = position{seg.number, segmentHeader}
	}
	d := &Damage{File: w.name(w.end.segment), Offset: w.end.offset, Record: fmt.Sprintf("batch %d", w.number+1)}
	switch {
	case lost > 1 && h.number > w.number:
		d.Record = fmt.Sprintf("batches %d to %d", w.number+1, h.number-1)
		fallthrough
	case lost == 1:
		d.Reason = fmt.Sprintf("there is no batch, but batch %d follows at offset %d of %s", h.number, at, seg.name)
	default:
		d.Reason = fmt.Sprintf("batch %d at offset %d of %s says that the one before it ended at offset %d of segment %d",
			h.number, at, seg.name, h.durable.offset, h.durable.segment)
	}
	return w.damage(w.end.segment, w.end.offset, d)
}

// batch visits the records of a batch. After one that can't be read it continues if
// the next is where its length says.
func (w *walker) batch(seg *segment, b []byte, at int64, h batchHeader) error {
	place := Walked{File: seg.name, Segment: seg.number, Freed: seg.number < w.tail, Batch: h.number, Begin: at}
	bad := func(pos int, size int64, record, format string, args ...any) {
		v := place
		v.Offset, v.Bytes = at+int64(pos), size
		v.Damage = &Damage{File: seg.name, Offset: v.Offset, Record: record, Reason: fmt.Sprintf(format, args...)}
		w.bad = append(w.bad, v)
	}
	if h.count == 0 {
		v := place
		v.Kind, v.Offset, v.Bytes = WalkedBatch, at, batchSize(h.length)
		return w.visit(&v)
	}
	end := batchHeaderSize + h.length
	sums, count := uint32(0), 0
	for pos := batchHeaderSize; pos < end; {
		head, body, err := readRecord(b[pos:end], seg.at(at+int64(pos)))
		if err != nil {
			next := pos + head.size
			if _, _, nextErr := readRecord(b[min(next, end):end], seg.at(at+int64(next))); head.size == 0 || next < end && nextErr != nil {
				bad(pos, int64(end-pos), fmt.Sprintf("batch %d from here on", h.number), "%v", err)
				return nil
			}
			bad(pos, int64(head.size), describe(head), "%v", err)
			pos = next
			continue
		}
		v := place
		v.Offset, v.Bytes = at+int64(pos), int64(head.size)
		if err := w.record(&v, head, body); err != nil {
			return err
		}
		sums = sumOver(sums, head.sum)
		count++
		pos += head.size
	}
	if n := len(w.bad); n == 0 && (sums != h.sums || count != h.count) {
		bad(0, batchSize(h.length), fmt.Sprintf("batch %d", h.number), "its records are not those that were written with it")
	}
	return nil
}

// record visits a record whose checksum fits.
func (w *walker) record(v *Walked, head recordHeader, body []byte) error {
	v.Kind, v.Replica, v.Commit = head.kind.String(), head.replica, head.commit
	rec, err := w.known.decode(head, body)
	switch {
	case errors.Is(err, ErrNewerFormat):
		return w.visit(v) // a newer version knows what it says
	case err != nil:
		return w.damage(v.Segment, v.Offset, &Damage{File: v.File, Offset: v.Offset, Record: describe(head), Reason: err.Error()})
	}
	v.State, v.Base, v.End = rec.state, rec.base, rec.end
	if rec.kind == kindNote {
		v.Note = &rec.note
	}
	if rec.count > 0 && rec.kind != kindDirectory {
		v.First, v.Last, v.Term = rec.first, rec.last(), rec.term
	}
	if rec.kind == kindEntries || rec.kind == kindMoved {
		v.Entries, err = readEntries(body, head.count, rec.replica.seed)
		if err != nil {
			return err // record has just read them
		}
	}
	return w.visit(v)
}

// WalkedKinds returns the names of all kinds, as Walked.Kind has them.
func WalkedKinds() []string {
	kinds := []string{WalkedSegment, WalkedBatch, WalkedDamage, WalkedTorn}
	for _, k := range []recordKind{kindState, kindBase, kindEntries, kindMoved, kindRemove, kindDirectory, kindLost, kindNote} {
		kinds = append(kinds, k.String())
	}
	return kinds
}
