package raft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// GroupTime is the time of a group, in nanoseconds since it was founded. Each
// entry carries it and it never goes back along a log. It stands still while
// the group has no leader.
type GroupTime uint64

// EntryKind says what an entry is to the group.
type EntryKind uint8

const (
	// EntryNormal carries a command for the state machine.
	EntryNormal EntryKind = 1
	// EntryNoOp is a new leader's first entry; its commit commits what came
	// before it (Raft, section 5.4.2 and section 8). It has no payload.
	EntryNoOp EntryKind = 2
	// EntryMembership carries a [Membership], in force from the moment it is
	// appended.
	EntryMembership EntryKind = 3
	// EntryTime carries nothing but its time, which every entry carries: a leader
	// proposes it where no other entry says how late it is. It has no payload.
	EntryTime EntryKind = 4
	// EntryAudit marks a place in the log at which the replicas compare their
	// states: each notes what its own is when it applies the entry. It has no
	// payload. Binaries of levels before 7 can't read it.
	EntryAudit EntryKind = 5
)

func (k EntryKind) String() string {
	switch k {
	case EntryNormal:
		return "normal"
	case EntryNoOp:
		return "no-op"
	case EntryMembership:
		return "membership"
	case EntryTime:
		return "time"
	case EntryAudit:
		return "audit"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// An entry is encoded once, by its leader, and travels in that form to the log
// file, to the followers and to the state machine. Little-endian:
//
//	 0  u32  CRC32C of bytes 4 to the end, begun from the group's [Seed]
//	 4  u32  length of the payload
//	 8  u64  term
//	16  u64  index
//	24  u64  group time, ns
//	32  u8   kind
//	33  u8   7 bytes, zero; a later level may give them a meaning
//	40       payload
const (
	// EntryHeaderSize is the number of bytes before an entry's payload.
	EntryHeaderSize = 40
	// PayloadSizeMax bounds the payload of one entry, in bytes: the largest
	// value that can be set, and room for its key and command.
	PayloadSizeMax = 17 << 20
)

// Entry is one line of a group's log.
type Entry struct {
	ID   LogID
	Time GroupTime
	Kind EntryKind
	// Raw is the header and the payload as they stand in the log file. It
	// must not be changed once the entry has an ID.
	Raw []byte
}

// Payload returns what the entry carries. It aliases Raw.
func (e Entry) Payload() []byte { return e.Raw[EntryHeaderSize:] }

// Seed is where the checksum of each entry of a group begins, so that an entry
// of another group, or of an earlier incarnation, never verifies.
type Seed uint32

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// EntrySeed returns the seed of a group's entries.
func EntrySeed(g GroupID, inc Incarnation) Seed {
	var b [10]byte
	binary.LittleEndian.PutUint16(b[0:], uint16(g))
	binary.LittleEndian.PutUint64(b[2:], uint64(inc))
	// By the table and byte by byte: crc32.Checksum lets b escape, which is an
	// allocation for each message that arrives, and this is faster for ten bytes.
	crc := ^uint32(0)
	for _, x := range b {
		crc = castagnoli[byte(crc)^x] ^ crc>>8
	}
	return Seed(^crc)
}

// NewEntry returns an entry without an ID around payload, which is copied.
// [Group.Propose] gives it its ID, time and checksum.
func NewEntry(kind EntryKind, payload []byte) Entry {
	raw := make([]byte, EntryHeaderSize+len(payload))
	copy(raw[EntryHeaderSize:], payload)
	return Entry{Kind: kind, Raw: raw}
}

// SealedEntry returns an entry with its id, time and checksum, around payload,
// which is copied: what a leader's [Group.Propose] makes of a new entry.
func SealedEntry(seed Seed, id LogID, t GroupTime, kind EntryKind, payload []byte) Entry {
	e := NewEntry(kind, payload)
	e.ID, e.Time = id, t
	e.seal(seed)
	return e
}

// seal writes e's header. From here on e must not change.
func (e *Entry) seal(seed Seed) {
	b := e.Raw
	e.header((*[EntryHeaderSize]byte)(b))
	binary.LittleEndian.PutUint32(b[0:], crc32.Update(uint32(seed), castagnoli, b[4:]))
}

// header writes all of e's header but the checksum.
func (e *Entry) header(b *[EntryHeaderSize]byte) {
	binary.LittleEndian.PutUint32(b[4:], uint32(len(e.Raw)-EntryHeaderSize))
	binary.LittleEndian.PutUint64(b[8:], e.ID.Term)
	binary.LittleEndian.PutUint64(b[16:], e.ID.Index)
	binary.LittleEndian.PutUint64(b[24:], uint64(e.Time))
	binary.LittleEndian.PutUint64(b[32:], uint64(e.Kind))
}

// Checksum returns the checksum that the leader put into e's header. Two
// entries of one group with equal ids and different checksums break log
// matching.
func (e Entry) Checksum() uint32 { return binary.LittleEndian.Uint32(e.Raw) }

// ErrEntry is wrapped by every error of [ReadEntry].
var ErrEntry = errors.New("bad entry")

// ReadEntry reads the entry that b begins with and checks its length, kind and
// checksum. The entry aliases b; its length is len(entry.Raw).
func ReadEntry(seed Seed, b []byte) (Entry, error) {
	if len(b) < EntryHeaderSize {
		return Entry{}, fmt.Errorf("%w: %d bytes left, a header has %d", ErrEntry, len(b), EntryHeaderSize)
	}
	n := binary.LittleEndian.Uint32(b[4:])
	if n > PayloadSizeMax {
		return Entry{}, fmt.Errorf("%w: payload of %d bytes, the limit is %d", ErrEntry, n, PayloadSizeMax)
	}
	size := EntryHeaderSize + int(n)
	if len(b) < size {
		return Entry{}, fmt.Errorf("%w: %d bytes left of %d", ErrEntry, len(b), size)
	}
	raw := b[:size:size]
	e := Entry{
		ID:   LogID{Term: binary.LittleEndian.Uint64(b[8:]), Index: binary.LittleEndian.Uint64(b[16:])},
		Time: GroupTime(binary.LittleEndian.Uint64(b[24:])),
		Kind: EntryKind(b[32]),
		Raw:  raw,
	}
	if crc32.Update(uint32(seed), castagnoli, raw[4:]) != e.Checksum() {
		return Entry{}, fmt.Errorf("%w: checksum does not fit (claims to be %s)", ErrEntry, e.ID)
	}
	if binary.LittleEndian.Uint64(b[32:]) != uint64(e.Kind) || e.Kind < EntryNormal || e.Kind > EntryAudit {
		return Entry{}, fmt.Errorf("%w: %s is of kind %#x, which this version does not know", ErrEntry, e.ID, binary.LittleEndian.Uint64(b[32:]))
	}
	return e, nil
}
