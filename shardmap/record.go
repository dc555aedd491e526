package shardmap

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"
)

// A record lies in a slab as follows, little-endian, and begins on a multiple
// of eight bytes:
//
//	 0  u64  xxhash64 of bytes 8 to the end of the value
//	 8  u64  version
//	16  u32  length of the value
//	20  u16  length of the key
//	22  u8   kind
//	23  u8   how it ends: 0 never, 1 at a time, 2 with a lease
//	24       key, value, unless it never ends 8 bytes about its end (ending.go),
//	         and up to 7 bytes of any content
//
// Most keys never end, and store no time at which they would: in a million
// keys that saves 8 MB.
//
// The hash shows whether memory still holds what was written, and a slot's
// digest is the sum of its records' hashes. A snapshot carries the same bytes
// without the hash and the filling.
const recordHeader = 24

// RecordKind says what a record is. It is part of the record's identity: records of
// two kinds with one name are two records, wherever a slot is kept, copied, summed
// up or sent, and a listing of keys shows no other kind. Numbers are for ever.
type RecordKind uint8

const (
	KindKey   RecordKind = 1 // a key
	KindLease RecordKind = 2 // a lease; its name is its number (lease.go)
	// KindService is a service with its instances, as package registry defines it. No build below
	// [ServicesLevel] knows the kind, and none needs to: the commands that make such records are
	// of that level.
	KindService RecordKind = 3

	// KindVersion is a version that a key has or had (version.go). As with services no build below
	// [RangesLevel] needs to know the kind.
	KindVersion RecordKind = 4

	kindNewest = KindVersion // that this code understands
)

// recordSize returns the bytes that a record takes in a slab: value is the length of the
// value and of what stands about its end.
func recordSize(key, value int) int { return (recordHeader + key + value + 7) &^ 7 }

// record is the bytes of a record and of whatever follows it in its chunk.
type record []byte

func (r record) hash() uint64     { return binary.LittleEndian.Uint64(r) }
func (r record) version() uint64  { return binary.LittleEndian.Uint64(r[8:]) }
func (r record) valueLen() int    { return int(binary.LittleEndian.Uint32(r[16:])) }
func (r record) kind() RecordKind { return RecordKind(r[22]) }
func (r record) keyLen() int      { return int(binary.LittleEndian.Uint16(r[20:])) }
func (r record) ends() endingKind { return endingKind(r[23]) }
func (r record) size() int        { return recordSize(r.keyLen(), r.valueLen()+r.ends().size()) }

func (r record) key() []byte {
	end := recordHeader + r.keyLen()
	return r[recordHeader:end:end]
}

func (r record) value() []byte {
	from := recordHeader + r.keyLen()
	to := from + r.valueLen()
	return r[from:to:to]
}

// content returns the bytes that the hash covers.
func (r record) content() []byte {
	return r[8 : recordHeader+r.keyLen()+r.valueLen()+r.ends().size()]
}

// ending returns how the record ends.
func (r record) ending() ending {
	by := r.ends()
	if by == endsNever {
		return ending{}
	}
	return ending{by, binary.LittleEndian.Uint64(r[recordHeader+r.keyLen()+r.valueLen():])}
}

func (r record) computeHash() uint64 { return xxhash.Sum64(r.content()) }

// newRecord is what a record is to be. It is handed on by its address: as so many arguments
// it would go from the registers to the stack at each call.
type newRecord struct {
	key, value []byte
	hash       uint64 // of the key
	version    uint64
	ending     ending
}

func (r record) setHead(value, key int, kind RecordKind, ends endingKind) {
	binary.LittleEndian.PutUint64(r[16:], uint64(value)|uint64(key)<<32|uint64(kind)<<48|uint64(ends)<<56)
}

// write fills r and returns its hash.
func (r record) write(kind RecordKind, n *newRecord) uint64 {
	binary.LittleEndian.PutUint64(r[8:], n.version)
	r.setHead(len(n.value), len(n.key), kind, n.ending.by)
	end := recordHeader + copy(r[recordHeader:], n.key)
	end += copy(r[end:], n.value)
	if n.ending.by != endsNever {
		binary.LittleEndian.PutUint64(r[end:], n.ending.number)
		end += endingSize
	}
	h := xxhash.Sum64(r[8:end])
	binary.LittleEndian.PutUint64(r, h)
	return h
}
