package logstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"muster/raft"
)

// A snapshot is a file in the directory snap. Its name gives its replica and its base:
// g3-i2-r5-7.10432.snap belongs to group 3, incarnation 2, replica 5, and to the base
// with term 7 and index 10432. Nothing in the file depends on the replica, so all
// snapshots at one base are equal, byte for byte. All numbers are little-endian.
//
//	 0  8 B  ed 'm' 'u' 's' 't' 's' 'n' 'p'
//	 8  u32  format, 1
//	12  u32  CRC32C of all other bytes of the header
//	16  u32  length of the header, in bytes
//	20  u16  group
//	22  u16  zero
//	24  u64  incarnation
//	32  u64  term of the base
//	40  u64  index of the base
//	48  u64  group time of the base, ns
//	56       membership at the base (raft/membership.go)
//
// Then come the blocks: the stream of the state in pieces of 262144 bytes, of
// which only the last may be shorter.
//
//	0  u32  CRC32C of bytes 4 to the end, begun from the block's seed
//	4  u32  length of the data: 1 to 262144
//	8       data
//
// The seed of a block is the CRC32C of group, incarnation, term, index and the
// block's number, from 0 on, eight bytes each. So a block in the place of another,
// or in the file of another base, never verifies. The trailer after the last block
// begins like a block without data, which does not exist:
//
//	 0  u32  CRC32C of bytes 4 to 31, begun from the seed of the number after the last block's
//	 4  u32  zero
//	 8  u64  length of the stream, in bytes
//	16  u32  number of blocks
//	20  u32  CRC32C of the blocks' checksums, one after another (no seed)
//	24  8 B  'p' 'n' 's' 't' 's' 'u' 'm' ed
//
// Nothing follows. A file gets its name only after all of it was synced, so no
// snapshot is ever torn: one that is not whole is damaged.
const (
	snapshotMagic         = "\xedmustsnp"
	snapshotEnd           = "pnstsum\xed"
	snapshotHeaderSize    = 56 // without the membership
	snapshotHeaderSizeMax = snapshotHeaderSize + 16 + 3*raft.MembersMax*17
	snapshotTrailerSize   = 32
	snapshotSuffix        = ".snap"
	snapshotTempSuffix    = ".tmp"

	blockBytes      = 256 << 10
	blockHeaderSize = 8

	// SnapshotBytesMax bounds the file of a snapshot: no state that a node
	// holds in memory is larger, and a peer that never ends is stopped.
	SnapshotBytesMax = 1 << 40
)

// snapshotHeader is what stands before the blocks.
type snapshotHeader struct {
	group       raft.GroupID
	incarnation raft.Incarnation
	base        Base
	size        int // with the membership
}

func (h *snapshotHeader) append(b []byte) []byte {
	from := len(b)
	members := h.base.Membership.Append(nil)
	b = append(b, snapshotMagic...)
	b = binary.LittleEndian.AppendUint32(b, snapshotFormats.newest)
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(snapshotHeaderSize+len(members)))
	b = binary.LittleEndian.AppendUint16(b, uint16(h.group))
	b = binary.LittleEndian.AppendUint16(b, 0)
	b = binary.LittleEndian.AppendUint64(b, uint64(h.incarnation))
	b = binary.LittleEndian.AppendUint64(b, h.base.ID.Term)
	b = binary.LittleEndian.AppendUint64(b, h.base.ID.Index)
	b = binary.LittleEndian.AppendUint64(b, uint64(h.base.Time))
	b = append(b, members...)
	h.size = len(b) - from
	binary.LittleEndian.PutUint32(b[from+12:], snapshotHeaderSum(b[from:]))
	return b
}

func snapshotHeaderSum(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:12], castagnoli), castagnoli, b[16:])
}

// snapshotHeaderLength returns the length of the header that b, of 20 bytes at
// least, begins.
func snapshotHeaderLength(b []byte) (int, error) {
	if string(b[:8]) != snapshotMagic {
		return 0, errors.New("it is not a snapshot")
	}
	n := binary.LittleEndian.Uint32(b[16:])
	if n < snapshotHeaderSize || n > snapshotHeaderSizeMax {
		return 0, fmt.Errorf("its header of %d bytes can't be", n)
	}
	return int(n), nil
}

// readSnapshotHeader reads the header that b is.
func readSnapshotHeader(b []byte) (*snapshotHeader, error) {
	format := binary.LittleEndian.Uint32(b[8:])
	switch {
	case snapshotHeaderSum(b) != binary.LittleEndian.Uint32(b[12:]):
		return nil, errors.New("the checksum of its header does not fit")
	case snapshotFormats.check(format) != nil:
		return nil, snapshotFormats.check(format)
	case binary.LittleEndian.Uint16(b[22:]) != 0:
		return nil, errors.New("its header has bytes that are not known")
	}
	h := &snapshotHeader{
		group:       raft.GroupID(binary.LittleEndian.Uint16(b[20:])),
		incarnation: raft.Incarnation(binary.LittleEndian.Uint64(b[24:])),
		base: Base{
			ID:   raft.LogID{Term: binary.LittleEndian.Uint64(b[32:]), Index: binary.LittleEndian.Uint64(b[40:])},
			Time: raft.GroupTime(binary.LittleEndian.Uint64(b[48:])),
		},
		size: len(b),
	}
	var err error
	if h.base.Membership, err = raft.ReadMembership(b[snapshotHeaderSize:]); err != nil {
		return nil, fmt.Errorf("its header: %w", err)
	}
	return h, nil
}

// of returns why the snapshot can't be one of r's group, or nil.
func (h *snapshotHeader) of(r Replica) error {
	if h.group != r.Group || h.incarnation != r.Incarnation {
		return fmt.Errorf("it is one of %s incarnation %d", h.group, uint64(h.incarnation))
	}
	return nil
}

// seed is where the seeds of the blocks begin.
func (h *snapshotHeader) seed() uint32 {
	seed := seedOver(seedOver(0, uint64(h.group)), uint64(h.incarnation))
	return seedOver(seedOver(seed, h.base.ID.Term), h.base.ID.Index)
}

// blockSum is the checksum of a block, or of the trailer, that fills b.
func blockSum(seed uint32, number int64, b []byte) uint32 {
	return crc32.Update(seedOver(seed, uint64(number)), castagnoli, b[4:])
}

// sealBlock fills in the header of a block whose data is in place.
func sealBlock(seed uint32, number int64, b []byte) uint32 {
	binary.LittleEndian.PutUint32(b[4:], uint32(len(b)-blockHeaderSize))
	sum := blockSum(seed, number, b)
	binary.LittleEndian.PutUint32(b, sum)
	return sum
}

// snapshotTrailer is what stands after the blocks.
type snapshotTrailer struct {
	length int64 // of the stream
	blocks int64
	sums   uint32
}

func (t snapshotTrailer) append(b []byte, seed uint32) []byte {
	from := len(b)
	b = binary.LittleEndian.AppendUint64(b, 0)
	b = binary.LittleEndian.AppendUint64(b, uint64(t.length))
	b = binary.LittleEndian.AppendUint32(b, uint32(t.blocks))
	b = binary.LittleEndian.AppendUint32(b, t.sums)
	b = append(b, snapshotEnd...)
	binary.LittleEndian.PutUint32(b[from:], blockSum(seed, t.blocks, b[from:]))
	return b
}

// readSnapshotTrailer reads the trailer that b is.
func readSnapshotTrailer(b []byte, seed uint32) (snapshotTrailer, error) {
	t := snapshotTrailer{
		length: int64(binary.LittleEndian.Uint64(b[8:])),
		blocks: int64(binary.LittleEndian.Uint32(b[16:])),
		sums:   binary.LittleEndian.Uint32(b[20:]),
	}
	switch {
	case blockSum(seed, t.blocks, b) != binary.LittleEndian.Uint32(b):
		return t, errChecksum
	case binary.LittleEndian.Uint32(b[4:]) != 0 || string(b[24:]) != snapshotEnd:
		return t, errors.New("it is none")
	case t.length < 0 || t.length > SnapshotBytesMax || t.blocks != (t.length+blockBytes-1)/blockBytes:
		return t, fmt.Errorf("it says %d bytes in %d blocks", t.length, t.blocks)
	}
	return t, nil
}

// fileSize is the size of the file that has this header and this trailer.
func (h *snapshotHeader) fileSize(t snapshotTrailer) int64 {
	return int64(h.size) + t.blocks*blockHeaderSize + t.length + snapshotTrailerSize
}

func snapshotName(r Replica, base raft.LogID) string {
	return fmt.Sprintf("g%d-i%d-r%d-%d.%d%s", r.Group, uint64(r.Incarnation), uint64(r.ID), base.Term, base.Index, snapshotSuffix)
}

// parseSnapshotName reads what snapshotName wrote.
func parseSnapshotName(name string) (r Replica, base raft.LogID, ok bool) {
	_, err := fmt.Sscanf(name, "g%d-i%d-r%d-%d.%d"+snapshotSuffix, &r.Group, &r.Incarnation, &r.ID, &base.Term, &base.Index)
	return r, base, err == nil && snapshotName(r, base) == name
}

// asDamage makes err a Damage, unless it is about another build's format.
func asDamage(file string, damage *Damage, err error) error {
	if errors.Is(err, ErrNewerFormat) || errors.Is(err, ErrOlderFormat) {
		return fmt.Errorf("read %s: %w", file, err)
	}
	damage.File, damage.Reason = file, err.Error()
	return damage
}
