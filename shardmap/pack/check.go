package pack

import (
	"encoding/binary"
	"fmt"
	"math"
)

// DepthMax is how deep arrays and maps may stand in each other. The deepest
// body of muster has five; 32 leaves room and still bounds the work of those
// that recurse.
const DepthMax = 32

// Check reports whether b is exactly one msgpack value of at most maxElements
// elements (containers count too) that can be handed to anybody: every length
// fits in the bytes left, nothing stands deeper than [DepthMax], nothing is an
// extension. It allocates nothing for good bytes, does not recurse, and takes
// time in proportion to the elements, not to the bytes.
//
// It exists because msgpack libraries trust what they are told: v5.4.1 of the
// one used here makes room for what a length claims, gigabytes for five bytes,
// and recurses where it skips, until the process ends of it.
func Check(b []byte, maxElements int) error {
	n, err := walk(b, 0, maxElements)
	if err != nil {
		return err
	}
	if n < len(b) {
		return &Error{Offset: n, Problem: fmt.Sprintf("%d bytes after the value", len(b)-n)}
	}
	return nil
}

// Error says what is wrong with msgpack bytes, where.
type Error struct {
	Offset  int // in the bytes given to [Check] or [NewReader]
	Problem string
}

func (e *Error) Error() string { return fmt.Sprintf("msgpack at byte %d: %s", e.Offset, e.Problem) }

// walk finds the end of the value that begins at b[from]. It runs over every
// frame, so it looks at each first byte itself, and asks readHead only for what
// is rare.
func walk(b []byte, from, maxElements int) (end int, err error) {
	var outer [DepthMax]uint32 // elements still to come in each container that holds the open one
	left := uint64(1)          // and in the open one
	depth, pos, elements := 0, from, 0
	if len(b) > math.MaxUint32 {
		return 0, &Error{from, "more than 4 GiB"}
	}
	for {
		if pos >= len(b) {
			return 0, &Error{pos, problemEnd}
		}
		if elements++; elements > maxElements {
			return 0, &Error{pos, fmt.Sprintf("more than %d elements", maxElements)}
		}
		at, follow, children := pos, uint64(0), uint64(0)
		switch c := b[pos]; {
		case c < codeFixMap || c >= codeNegative || c == codeNil:
			// Most values are numbers, and not the last of their array: nothing that
			// follows here is about them.
			pos++
			if left--; left > 0 {
				continue
			}
			left++
		case c >= codeUint8 && c <= codeInt64: // 1, 2, 4 or 8 bytes, twice
			if pos += 1 + 1<<(c&3); pos > len(b) {
				return 0, &Error{at, problemEnd}
			}
			if left--; left > 0 {
				continue
			}
			left++
		case c&0xf0 == codeFixArray:
			pos, children = pos+1, uint64(c&0x0f)
		case c == codeBin8 && pos+1 < len(b):
			pos, follow = pos+2, uint64(b[pos+1])
		default:
			h, problem := readHead(b[pos:])
			if problem != "" {
				return 0, &Error{pos, problem}
			}
			pos, follow, children = pos+h.size, h.bytes, h.children
		}
		if room := uint64(len(b) - pos); follow > room || children > room { // each child has one byte at least
			return 0, &Error{at, fmt.Sprintf("it claims %d bytes and %d elements, %d bytes are left", follow, children, room)}
		}
		pos += int(follow)
		left--
		if children > 0 {
			if depth == DepthMax {
				return 0, &Error{at, fmt.Sprintf("more than %d arrays in each other", DepthMax)}
			}
			outer[depth] = uint32(left)
			depth++
			left = children
		}
		for left == 0 {
			if depth == 0 {
				return pos, nil
			}
			depth--
			left = uint64(outer[depth])
		}
	}
}

// kind is what a value is, whatever the width of its head.
type kind uint8

const (
	kindUint kind = iota + 1
	kindInt
	kindNil
	kindBool
	kindFloat
	kindBytes
	kindString
	kindArray
	kindMap
)

func (k kind) String() string {
	return [...]string{kindUint: "a uint", kindInt: "an int", kindNil: "nil", kindBool: "a bool", kindFloat: "a float",
		kindBytes: "a bin", kindString: "a string", kindArray: "an array", kindMap: "a map"}[k]
}

// head is the beginning of a value.
type head struct {
	kind     kind
	size     int    // of the head itself; a number is in its head
	number   uint64 // uint, int (two's complement), bool
	bytes    uint64 // that follow: bin, string
	children uint64 // that follow: array; map, where each pair is two
}

// Problems of a head, as texts, so that a good one costs nothing.
const (
	problemEnd   = "the value ends too early"
	problemExt   = "an extension, which muster has no use for"
	problemNever = "byte 0xc1, which begins no value"
)

// readHead reads the head that b begins with; it says nothing about what is to
// follow.
func readHead(b []byte) (head, string) {
	if len(b) == 0 {
		return head{}, problemEnd
	}
	c := b[0]
	switch {
	case c < codeFixMap:
		return head{kind: kindUint, size: 1, number: uint64(c)}, ""
	case c < codeFixArray:
		return head{kind: kindMap, size: 1, children: 2 * uint64(c&0x0f)}, ""
	case c < codeFixStr:
		return head{kind: kindArray, size: 1, children: uint64(c & 0x0f)}, ""
	case c < codeNil:
		return head{kind: kindString, size: 1, bytes: uint64(c & 0x1f)}, ""
	case c >= codeNegative:
		return head{kind: kindInt, size: 1, number: uint64(int64(int8(c)))}, ""
	}
	h := heads[c-codeNil]
	if h.kind == 0 {
		if c == codeNever {
			return head{}, problemNever
		}
		return head{}, problemExt
	}
	size := 1 + int(h.width)
	if len(b) < size {
		return head{}, problemEnd
	}
	var n uint64
	switch h.width {
	case 1:
		n = uint64(b[1])
	case 2:
		n = uint64(binary.BigEndian.Uint16(b[1:]))
	case 4:
		n = uint64(binary.BigEndian.Uint32(b[1:]))
	case 8:
		n = binary.BigEndian.Uint64(b[1:])
	}
	switch h.kind {
	case kindUint, kindFloat:
		return head{kind: h.kind, size: size, number: n}, ""
	case kindInt: // widen the sign
		shift := 64 - 8*uint(h.width)
		return head{kind: kindInt, size: size, number: uint64(int64(n<<shift) >> shift)}, ""
	case kindBool:
		return head{kind: kindBool, size: 1, number: uint64(c - codeFalse)}, ""
	case kindBytes, kindString:
		return head{kind: h.kind, size: size, bytes: n}, ""
	case kindArray:
		return head{kind: kindArray, size: size, children: n}, ""
	case kindMap:
		return head{kind: kindMap, size: size, children: 2 * n}, ""
	}
	return head{kind: kindNil, size: 1}, ""
}

// heads tells what a first byte from codeNil to codeMap32 begins, and in how
// many further bytes its number or length stands. What has no row is refused.
var heads = [...]struct {
	kind  kind
	width uint8
}{
	0:                     {kindNil, 0}, // codeNil
	codeFalse - codeNil:   {kindBool, 0},
	codeTrue - codeNil:    {kindBool, 0},
	codeBin8 - codeNil:    {kindBytes, 1},
	codeBin16 - codeNil:   {kindBytes, 2},
	codeBin32 - codeNil:   {kindBytes, 4},
	codeFloat32 - codeNil: {kindFloat, 4},
	codeFloat64 - codeNil: {kindFloat, 8},
	codeUint8 - codeNil:   {kindUint, 1},
	codeUint16 - codeNil:  {kindUint, 2},
	codeUint32 - codeNil:  {kindUint, 4},
	codeUint64 - codeNil:  {kindUint, 8},
	codeInt8 - codeNil:    {kindInt, 1},
	codeInt16 - codeNil:   {kindInt, 2},
	codeInt32 - codeNil:   {kindInt, 4},
	codeInt64 - codeNil:   {kindInt, 8},
	codeStr8 - codeNil:    {kindString, 1},
	codeStr16 - codeNil:   {kindString, 2},
	codeStr32 - codeNil:   {kindString, 4},
	codeArray16 - codeNil: {kindArray, 2},
	codeArray32 - codeNil: {kindArray, 4},
	codeMap16 - codeNil:   {kindMap, 2},
	codeMap32 - codeNil:   {kindMap, 4},
}
