package logstore

import (
	"fmt"
	"log/slog"
	"sync/atomic"
	"unsafe"

	"muster/logstore/vfs"
)

const (
	// batchPart bounds a batch to this part of a segment: a batch that does not
	// fit into the rest of a segment goes into the next, and the rest is wasted.
	// Larger Appends take several batches, each with a sync of its own.
	batchPart = 8
	// bufferKeepBytes is the largest buffer that is kept from one Append to
	// the next. An entry of many megabytes is rare.
	bufferKeepBytes = 4 << 20
	// directoryRoom is what a directory gets where room is scarce: on a full
	// disk, and beside an entry that has a segment to measure.
	directoryRoom = 1 << 10
)

// runMax bounds a record of several entries, in segments of that many bytes. It is no
// larger than a batch: [Store.fits] counts segments for batches of the usual size, and
// a larger record, which can't be divided, would find no place in them.
func runMax(segment int64) int { return int(min(runBytesMax, segment/batchPart)) }

// writer makes batches of records, writes and syncs them, and then lets them take
// effect. It belongs to the goroutine of Append.
type writer struct {
	size    int64 // of a standard segment
	log     *slog.Logger
	index   *index
	faults  *faults
	room    *room
	figures *figures
	home    *home

	durable atomic.Uint64 // number of the last batch that is known to be durable, for any goroutine

	batch     uint64     // number of the last batch
	synced    position   // where it ends: all before is durable
	named     uint64     // the first segment that is needed, as it says
	promised  bool       // the last batch holds more than commits, and its end is not on disk
	buf       []byte     // the batch that is being made
	records   []record   // those in buf
	closing   []byte     // the batch that closes a segment
	directory directory  // what is still to be told of
	late      []*replica // whose commit is newer than on disk, in the order of its coming
}

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

// content is what a batch holds, and so what is lost with it.
type content uint8

const (
	// commitsOnly: nothing that was promised. No durable offset needs to follow.
	commitsOnly content = iota
	// promises: something that others rely on from now on.
	promises
)

// placing is where a batch begins.
type placing uint8

const (
	// behind: in the sector after the batch before.
	behind placing = iota
	// freshPage: on a page that holds no other, so that one damaged page does not
	// take both what was promised and the proof that it was durable.
	freshPage
)

// flush writes the batch and syncs it, then lets it take effect. A batch of more than
// commits counts as one of promises, whatever its caller says.
func (wr *writer) flush(holds content, begins placing) error {
	if len(wr.buf) == 0 {
		wr.buf = extend(wr.buf, batchHeaderSize)
	}
	// How large its directory is depends on the place of the batch, so each try begins
	// with the batch as it is now.
	n, count := len(wr.buf), len(wr.records)
	var offset int64
	for ; ; wr.buf, wr.records = wr.buf[:n], wr.records[:count] {
		if wr.index.active.closed() {
			if err := wr.roll(int64(n)); err != nil {
				return err
			}
			continue
		}
		offset = wr.index.active.end
		if begins == freshPage && offset > segmentHeader {
			offset = roundUp(offset, pageSize)
		}
		if wr.directBest(offset, int64(n)) {
			break
		}
		if err := wr.roll(int64(n)); err != nil {
			return err
		}
	}
	for i := range wr.records {
		if k := wr.records[i].kind; k != kindState && k != kindDirectory {
			holds = promises
		}
	}
	// After this batch's sync only segments before the tail that the previous batch named
	// may be freed: should this batch rot, a start believes the previous one.
	before := wr.named
	if err := wr.write(wr.buf, wr.records, offset, wr.index.tail(), 0); err != nil {
		return err
	}
	// It is durable by now. Before that no reader may see it, and the index may not
	// point to it.
	wr.promised = holds == promises
	wr.effect(offset, int64(len(wr.buf)))
	if wr.promised {
		// After the sync: the witness never names a batch that was not synced.
		if err := wr.home.promise(Batch(wr.batch)); err != nil {
			return err
		}
	}
	if cap(wr.buf) > bufferKeepBytes {
		wr.buf = nil
	}
	wr.buf = wr.buf[:0]
	return wr.room.reclaim(before)
}

// directBest ends a batch of n bytes at offset with a directory. It reports false if
// the segment has no room for even a short one.
func (wr *writer) directBest(offset, n int64) bool {
	records := len(wr.records)
	room := wr.index.active.room() - offset - n
	lists := [...]int64{wr.index.active.size / directoryPart, directoryRoom}
	for i, most := range lists {
		if i == 0 && wr.room.scarce() {
			continue
		}
		wr.buf, wr.records = wr.buf[:n], wr.records[:records]
		if wr.index.active.end == segmentHeader {
			most = min(most, room) // there is no segment with more
		}
		wr.direct(most)
		if int64(len(wr.buf))-n <= room {
			return true
		}
	}
	return false
}

// direct ends the batch with its directory.
func (wr *writer) direct(most int64) {
	at := len(wr.buf)
	var rows int
	wr.buf, rows = wr.putDirectory(wr.buf, int(most))
	wr.records = append(wr.records, record{kind: kindDirectory, at: at, size: len(wr.buf) - at, count: uint32(rows)})
}

// write writes a batch into the active segment and syncs it.
func (wr *writer) write(b []byte, records []record, offset int64, tail, next uint64) error {
	seg := wr.index.active
	length := len(b) - batchHeaderSize
	// Checksums begin with the place, which is not known before now.
	sums := uint32(0)
	for i := range records {
		r := &records[i]
		sum := sealRecord(b[r.at:r.at+r.size], seg.at(offset+int64(r.at)))
		sums = sumOver(sums, sum)
	}
	batchHeader{
		length: length, count: len(records), sums: sums,
		number: wr.batch + 1, durable: wr.synced, tail: tail, next: next,
	}.put(b, seg.at(offset))
	// The write extends to the end of its page, unless the file writes to the disk by
	// the sector: to write part of a page that is not in memory, the system has to read
	// it first.
	n := len(b)
	unit := int64(pageSize)
	direct, ok := seg.file.(vfs.SyncWriter)
	if ok {
		unit = direct.Unit()
	}
	b = extend(b, int(min(roundUp(offset+int64(n), unit), seg.limit())-offset)-n)
	clear(b[n:])
	// A closing batch has a buffer of its own: wr.buf has the batch that comes after it.
	if next == 0 {
		wr.buf = b[:n]
	}
	var err error
	if ok {
		if err = direct.WriteSync(b, offset); err != nil {
			return fmt.Errorf("write batch %d to %s and sync it: %w", wr.batch+1, seg.name, err)
		}
	} else if _, err = seg.file.WriteAt(b, offset); err != nil {
		return fmt.Errorf("write batch %d to %s: %w", wr.batch+1, seg.name, err)
	} else {
		err = seg.file.Sync()
	}
	// A failed sync is final. The system may have dropped the pages that it could not
	// write, and would report success for the next sync without them.
	if err != nil && bug("sync retried") {
		err = seg.file.Sync()
	}
	if err != nil {
		return fmt.Errorf("sync batch %d in %s: %w", wr.batch+1, seg.name, err)
	}
	// Only after the sync does the batch exist: before it, its number and its place may
	// be given to another.
	wr.batch++
	wr.durable.Store(wr.batch)
	wr.named = tail
	start := position{seg.number, offset}
	end := position{seg.number, offset + batchSize(length)}
	wr.directory.tells(start, wr.synced, directoryFrom(b, records))
	wr.directory.remember(start, end, wr.synced, records)
	seg.end = end.offset
	wr.synced = end
	return nil
}

// effect makes a durable batch visible.
func (wr *writer) effect(offset, bytes int64) {
	wr.index.mu.Lock()
	defer wr.index.mu.Unlock()
	for i := range wr.records {
		r := &wr.records[i]
		if r.kind == kindDirectory {
			continue
		}
		r.replica.ahead.queued--
		wr.index.take(r, place{wr.index.active.number, uint32(offset + int64(r.at)), uint32(r.size)})
		r.replica, r.base = nil, nil
	}
	wr.figures.count(func(n *Stats) {
		n.Batches++
		n.Records += uint64(len(wr.records))
		n.Bytes += uint64(bytes)
		n.NeededBytes = wr.index.needed
	})
	wr.records = wr.records[:0]
}

// roll continues in the next segment, which gets room for a batch of some bytes and
// its directory. A last batch in the old segment says so: should the next segment be
// lost, a start knows that it held something.
func (wr *writer) roll(bytes int64) error {
	// The next segment comes first: a closed segment without one would be taken for a
	// log that has lost its end.
	need := roundUp(2*segmentHeader+bytes+directoryRoom+2*sectorSize, pageSize)
	if err := wr.room.provide(need); err != nil {
		return err
	}
	if !wr.index.active.closed() {
		if err := wr.writeClosing(); err != nil {
			return err
		}
	}
	wr.index.goTo(wr.index.next())
	return nil
}

// writeClosing writes the batch that closes the active segment: its header, and as
// much of a directory as fits into the sector.
func (wr *writer) writeClosing() error {
	b := extend(wr.closing[:0], batchHeaderSize)
	b, rows := wr.putDirectory(b, sectorSize-batchHeaderSize)
	wr.closing = b
	records := [1]record{{kind: kindDirectory, at: batchHeaderSize, size: len(b) - batchHeaderSize, count: uint32(rows)}}
	if err := wr.write(b, records[:], wr.index.active.end, wr.index.tail(), wr.index.active.number+1); err != nil {
		return err
	}
	wr.index.active.close()
	return nil
}
