// Package pack is msgpack by hand, for bodies that are too frequent for a
// library.
//
// It knows no message and no command: their packages give fields a meaning. It has
// no maps, floats, times or extensions to offer: maps and floats are skipped,
// extensions are refused. Reading never copies, except for [Reader.String].
//
// Writing is a row of appends to a byte slice. Reading is a [Reader] over one.
// Bytes that came from somebody else go through [Check] first.
//
// The bytes are those of msgpack (github.com/msgpack/msgpack, spec.md), so any
// msgpack library reads them. They are written in the shortest form, save by
// [AppendFixed32], and read in each:
//
//	0x00–0x7f        uint below 128        0xe0–0xff        int from -32 to -1
//	0xcc cd ce cf    uint in 1 2 4 8       0xd0 d1 d2 d3    int in 1 2 4 8
//	0xc0             nil                   0xc2 c3          false, true
//	0xc4 c5 c6       bin, length in 1 2 4  0xa0–bf d9 da db string, likewise
//	0x90–9f dc dd    array, count in 2 4   0x80–8f de df    map, likewise
//	0xca cb          float in 4 8          0xc7–c9 d4–d8    extension
//
// Numbers are big-endian, as msgpack wants them; all else in muster is
// little-endian.
package pack

import (
	"encoding/binary"
	"math"
)

// The first bytes of values; those that carry a small number in themselves are
// the lowest of their range.
const (
	codeFixMap   = 0x80
	codeFixArray = 0x90
	codeFixStr   = 0xa0
	codeNil      = 0xc0
	codeNever    = 0xc1 // no value begins with it
	codeFalse    = 0xc2
	codeTrue     = 0xc3
	codeBin8     = 0xc4
	codeBin16    = 0xc5
	codeBin32    = 0xc6
	codeFloat32  = 0xca
	codeFloat64  = 0xcb
	codeUint8    = 0xcc
	codeUint16   = 0xcd
	codeUint32   = 0xce
	codeUint64   = 0xcf
	codeInt8     = 0xd0
	codeInt16    = 0xd1
	codeInt32    = 0xd2
	codeInt64    = 0xd3
	codeStr8     = 0xd9
	codeStr16    = 0xda
	codeStr32    = 0xdb
	codeArray16  = 0xdc
	codeArray32  = 0xdd
	codeMap16    = 0xde
	codeMap32    = 0xdf
	codeNegative = 0xe0
)

// AppendArray appends the head of an array of n elements, which follow.
func AppendArray(b []byte, n int) []byte {
	switch {
	case n < 16:
		return append(b, codeFixArray|byte(n))
	case n <= math.MaxUint16:
		return append(b, codeArray16, byte(n>>8), byte(n))
	}
	return binary.BigEndian.AppendUint32(append(b, codeArray32), uint32(n))
}

// AppendUint appends v in 1 to 9 bytes.
func AppendUint(b []byte, v uint64) []byte {
	switch {
	case v <= math.MaxInt8:
		return append(b, byte(v))
	case v <= math.MaxUint8:
		return append(b, codeUint8, byte(v))
	case v <= math.MaxUint16:
		return append(b, codeUint16, byte(v>>8), byte(v))
	case v <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(b, codeUint32), uint32(v))
	}
	return binary.BigEndian.AppendUint64(append(b, codeUint64), v)
}

// AppendInt appends v in 1 to 9 bytes; from zero on it is [AppendUint].
func AppendInt(b []byte, v int64) []byte {
	switch {
	case v >= 0:
		return AppendUint(b, uint64(v))
	case v >= -32:
		return append(b, byte(v))
	case v >= math.MinInt8:
		return append(b, codeInt8, byte(v))
	case v >= math.MinInt16:
		return append(b, codeInt16, byte(v>>8), byte(v))
	case v >= math.MinInt32:
		return binary.BigEndian.AppendUint32(append(b, codeInt32), uint32(v))
	}
	return binary.BigEndian.AppendUint64(append(b, codeInt64), uint64(v))
}

// AppendBool appends v.
func AppendBool(b []byte, v bool) []byte {
	if v {
		return append(b, codeTrue)
	}
	return append(b, codeFalse)
}

// AppendNil appends nil.
func AppendNil(b []byte) []byte { return append(b, codeNil) }

// AppendBytes appends v as a bin. It must be shorter than 4 GiB.
func AppendBytes(b, v []byte) []byte {
	return append(AppendBytesHead(b, len(v)), v...)
}

// AppendBytesHead appends the head of a bin of n bytes, which follow.
func AppendBytesHead(b []byte, n int) []byte {
	switch {
	case n <= math.MaxUint8:
		return append(b, codeBin8, byte(n))
	case n <= math.MaxUint16:
		return append(b, codeBin16, byte(n>>8), byte(n))
	}
	return binary.BigEndian.AppendUint32(append(b, codeBin32), uint32(n))
}

// AppendString appends v as a string. It must be shorter than 4 GiB.
func AppendString(b []byte, v string) []byte {
	n := len(v)
	switch {
	case n < 32:
		b = append(b, codeFixStr|byte(n))
	case n <= math.MaxUint8:
		b = append(b, codeStr8, byte(n))
	case n <= math.MaxUint16:
		b = append(b, codeStr16, byte(n>>8), byte(n))
	default:
		b = binary.BigEndian.AppendUint32(append(b, codeStr32), uint32(n))
	}
	return append(b, v...)
}

// Fixed32Size is the number of bytes of [AppendFixed32].
const Fixed32Size = 5

// AppendFixed32 appends v as a uint that always takes [Fixed32Size] bytes, so
// that it can be filled in once the rest is known: the number itself is in
// the last four, big-endian.
func AppendFixed32(b []byte, v uint32) []byte {
	return binary.BigEndian.AppendUint32(append(b, codeUint32), v)
}
