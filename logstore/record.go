package logstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"muster/raft"
)

// After its header a segment holds batches. One batch is one write and one
// sync. It begins at a multiple of 512 bytes, so that no write touches a
// sector that was synced before, and is followed by zeros up to that multiple.
// All numbers are little-endian.
//
//	 0  u32  CRC32C of bytes 4 to 63, begun from the seed of its place
//	 4  u32  length of the records, in bytes
//	 8  u32  number of records
//	12  u32  CRC32C of the records' checksums, one after another
//	16  u64  number of the batch: 1, 2, 3, … along the whole log
//	24  u64  durable offset, segment: where the batch before ends. It is
//	32  u64  durable offset, byte     synced, or this would not be written
//	40  u64  tail: the first segment that is still needed
//	48  u64  next: the segment in which the log goes on, or 0: in this one
//	56       zero
//	64       records, without gaps
//
// The sum over the checksums ties the records to their batch. Without it, a record
// that an unfinished batch left behind could be taken for one of the next batch, if
// that is at the same place and unfinished too.
//
//	 0  u32  CRC32C of bytes 4 to the end, begun from the seed of its place
//	 4  u32  length of the body, in bytes
//	 8  u8   kind
//	 9  u8   zero
//	10  u16  group
//	12  u32  number of entries
//	16  u64  incarnation
//	24  u64  replica
//	32  u64  commit: all up to this index is committed. Never past the end of
//	         the replica's log as it is after this record
//	40       body
//
// The seed of a place is the CRC32C of the segment's salt, the segment's
// number and the offset of the first byte, eight bytes each. So bytes that an
// earlier life of the file left there, or that a disk wrote to the wrong place,
// never verify; and a client can't choose a value that looks like a batch.
const (
	sectorSize       = 512
	pageSize         = 4096
	batchHeaderSize  = 64
	recordHeaderSize = 40
)

// recordKind says what a record does to its replica.
type recordKind uint8

const (
	// kindState replaces term and vote.
	//
	//	 0  u64  term
	//	 8  u64  vote
	kindState recordKind = 1
	// kindBase sets the beginning of the log. Entries up to the index, and
	// those after the end, are dropped.
	//
	//	 0  u64  term
	//	 8  u64  index
	//	16  u64  group time
	//	24  u64  index of the log's end after this record
	//	32       membership (raft/membership.go)
	kindBase recordKind = 2
	// kindEntries truncates the log before its first entry and appends them.
	// They follow each other, are of one term, and stand as raft/entry.go
	// draws them.
	kindEntries recordKind = 3
	// kindMoved holds entries again that stand in a segment which is to be
	// reclaimed. It truncates nothing.
	kindMoved recordKind = 4
	// kindRemove drops the replica for good. No body.
	kindRemove recordKind = 5
	// kindDirectory says what batches before this one held, in case they can't
	// be read; directory.go draws it. It belongs to no replica.
	kindDirectory recordKind = 6
	// kindLost says what the log held and can no longer read. With entries:
	// these, of one term and without gaps. Without: what the replica promised;
	// for the zero replica: something unknown, of any replica of the node.
	//
	//	 0  u64  first index
	//	 8  u64  term
	kindLost recordKind = 7
	// kindNote is what the node knows of another one's life, in place of what it
	// knew before. It belongs to no replica.
	//
	//	 0  u64  node
	//	 8  u64  life: number, or 0: nothing is known any more
	//	16  u64  life: mark
	//	24  u64  trusted life: number
	//	32  u64  trusted life: mark
	//	40  u64  the last batch of the trusted life's log that is known
	kindNote recordKind = 8
	// kindRun is reserved, and written by nobody: the entries of several replicas in
	// one record, with one header and one checksum. [writer.putAll] is where it would be
	// made.
	kindRun recordKind = 9
)

func (k recordKind) String() string {
	switch k {
	case kindState:
		return "state"
	case kindBase:
		return "base"
	case kindEntries:
		return "entries"
	case kindMoved:
		return "moved entries"
	case kindRemove:
		return "removal"
	case kindDirectory:
		return "directory"
	case kindLost:
		return "loss"
	case kindNote:
		return "note"
	case kindRun:
		return "entries of several replicas"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

const (
	// runBytesMax bounds a record of several entries: to read one entry its
	// record is read, and to free a segment its records are moved one by one.
	runBytesMax = 256 << 10
	stateSize   = 16
	baseSize    = 32 // without the membership
	lostSize    = 16
	noteSize    = 48
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seedOver continues a CRC32C over one number. It is written out because
// crc32.Update makes its argument escape, which would cost an allocation for
// each record.
func seedOver(crc uint32, v uint64) uint32 {
	crc = ^crc
	for range 8 {
		crc = castagnoli[byte(crc)^byte(v)] ^ crc>>8
		v >>= 8
	}
	return ^crc
}

// sumOver continues a CRC32C over one checksum.
func sumOver(crc, v uint32) uint32 {
	crc = ^crc
	for range 4 {
		crc = castagnoli[byte(crc)^byte(v)] ^ crc>>8
		v >>= 8
	}
	return ^crc
}

// record is one record: on its way to the disk, or found there.
type record struct {
	kind    recordKind
	replica *replica
	at      int // of its header, from the beginning of the batch
	size    int // with its header
	commit  uint64

	first, term uint64 // entries, moved, lost
	count       uint32
	changes     bool // a membership entry is among them

	state raft.HardState // state, without commit
	base  *Base          // base
	end   uint64         // base: the log's last index after it
	note  Note           // note
}

// last is the index of the last entry.
func (r *record) last() uint64 { return r.first + uint64(r.count) - 1 }

// putRecordHeader fills in all but the checksum, which waits until the
// record's place is known.
func putRecordHeader(b []byte, kind recordKind, r Replica, count uint32, commit uint64) {
	binary.LittleEndian.PutUint32(b[4:], uint32(len(b)-recordHeaderSize))
	b[8], b[9] = byte(kind), 0
	binary.LittleEndian.PutUint16(b[10:], uint16(r.Group))
	binary.LittleEndian.PutUint32(b[12:], count)
	binary.LittleEndian.PutUint64(b[16:], uint64(r.Incarnation))
	binary.LittleEndian.PutUint64(b[24:], uint64(r.ID))
	binary.LittleEndian.PutUint64(b[32:], commit)
}

// summedFrom is the first byte of a record that its checksum covers.
func summedFrom(b []byte) int {
	if bug("checksum without length or term") {
		if recordKind(b[8]) == kindState {
			return recordHeaderSize + 8
		}
		return recordHeaderSize
	}
	return 4
}

// sealRecord gives a record that fills b its checksum.
func sealRecord(b []byte, seed uint32) uint32 {
	sum := crc32.Update(seed, castagnoli, b[summedFrom(b):])
	binary.LittleEndian.PutUint32(b, sum)
	return sum
}

// recordHeader is what stands before a body.
type recordHeader struct {
	sum     uint32
	size    int // with the header
	kind    recordKind
	count   uint32
	replica Replica
	commit  uint64
}

var (
	errShort    = errors.New("it is longer than its batch")
	errChecksum = errors.New("its checksum does not fit")
)

// readRecord checks the record that b begins with and returns its body.
func readRecord(b []byte, seed uint32) (recordHeader, []byte, error) {
	if len(b) < recordHeaderSize {
		return recordHeader{}, nil, errShort
	}
	n := binary.LittleEndian.Uint32(b[4:])
	if uint64(n) > uint64(len(b)-recordHeaderSize) {
		return recordHeader{}, nil, errShort
	}
	b = b[:recordHeaderSize+int(n)]
	h := recordHeader{
		sum:   binary.LittleEndian.Uint32(b),
		size:  len(b),
		kind:  recordKind(b[8]),
		count: binary.LittleEndian.Uint32(b[12:]),
		replica: Replica{
			Group:       raft.GroupID(binary.LittleEndian.Uint16(b[10:])),
			Incarnation: raft.Incarnation(binary.LittleEndian.Uint64(b[16:])),
			ID:          raft.ReplicaID(binary.LittleEndian.Uint64(b[24:])),
		},
		commit: binary.LittleEndian.Uint64(b[32:]),
	}
	if crc32.Update(seed, castagnoli, b[summedFrom(b):]) != h.sum {
		return h, nil, errChecksum
	}
	return h, b[recordHeaderSize:], nil
}

// batchHeader is what stands before the records of one write.
type batchHeader struct {
	length  int
	count   int
	sums    uint32
	number  uint64
	durable position
	tail    uint64
	next    uint64
}

// position is a place in the log.
type position struct {
	segment uint64
	offset  int64
}

// after reports whether p is further on than q.
func (p position) after(q position) bool {
	return p.segment > q.segment || p.segment == q.segment && p.offset > q.offset
}

func (h batchHeader) put(b []byte, seed uint32) {
	clear(b[:batchHeaderSize])
	binary.LittleEndian.PutUint32(b[4:], uint32(h.length))
	binary.LittleEndian.PutUint32(b[8:], uint32(h.count))
	binary.LittleEndian.PutUint32(b[12:], h.sums)
	binary.LittleEndian.PutUint64(b[16:], h.number)
	binary.LittleEndian.PutUint64(b[24:], h.durable.segment)
	binary.LittleEndian.PutUint64(b[32:], uint64(h.durable.offset))
	binary.LittleEndian.PutUint64(b[40:], h.tail)
	binary.LittleEndian.PutUint64(b[48:], h.next)
	binary.LittleEndian.PutUint32(b, crc32.Update(seed, castagnoli, b[4:batchHeaderSize]))
}

// readBatchHeader reports whether b begins with a batch header that belongs
// there. One whose length reaches past the end of b does not.
func readBatchHeader(b []byte, seed uint32) (batchHeader, bool) {
	if len(b) < batchHeaderSize {
		return batchHeader{}, false
	}
	if crc32.Update(seed, castagnoli, b[4:batchHeaderSize]) != binary.LittleEndian.Uint32(b) {
		return batchHeader{}, false
	}
	h := batchHeader{
		length: int(binary.LittleEndian.Uint32(b[4:])),
		count:  int(binary.LittleEndian.Uint32(b[8:])),
		sums:   binary.LittleEndian.Uint32(b[12:]),
		number: binary.LittleEndian.Uint64(b[16:]),
		durable: position{
			segment: binary.LittleEndian.Uint64(b[24:]),
			offset:  int64(binary.LittleEndian.Uint64(b[32:])),
		},
		tail: binary.LittleEndian.Uint64(b[40:]),
		next: binary.LittleEndian.Uint64(b[48:]),
	}
	return h, h.length <= len(b)-batchHeaderSize
}

// batchSize is the room that a batch with n bytes of records takes up.
func batchSize(n int) int64 { return roundUp(int64(batchHeaderSize+n), sectorSize) }

func roundUp(n, to int64) int64 { return (n + to - 1) / to * to }
