package pack

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Reader reads the values of a byte slice, one after the other. The first
// mistake stays: from then on every method gives a zero value, and [Reader.Err]
// says what was wrong, so a row of reads needs one check at its end.
// It never panics and never allocates, except for String and errors.
//
// A copy of a Reader continues independently.
type Reader struct {
	b   []byte
	pos int
	err error
}

// NewReader returns a Reader over b, which it aliases.
func NewReader(b []byte) Reader { return Reader{b: b} }

// Err returns the first mistake found.
func (r *Reader) Err() error { return r.err }

// Done returns Err, or an error if bytes are left.
func (r *Reader) Done() error {
	if r.err == nil && r.pos < len(r.b) {
		r.fail(fmt.Sprintf("%d bytes after the value", len(r.b)-r.pos))
	}
	return r.err
}

// Rest returns the bytes not read yet. It aliases the slice; after a mistake it
// is nil.
func (r *Reader) Rest() []byte {
	if r.err != nil {
		return nil
	}
	return r.b[r.pos:len(r.b):len(r.b)]
}

// Offset is how many bytes have been read.
func (r *Reader) Offset() int { return r.pos }

// Fail records a mistake that the caller found in the value read last, unless
// there was one already.
func (r *Reader) Fail(problem string) { r.fail(problem) }

func (r *Reader) fail(problem string) {
	if r.err == nil {
		r.err = &Error{r.pos, problem}
	}
}

// next returns the bytes that are left, none after a mistake. Frequent values
// are read from them directly: by way of head a number takes three times as long.
func (r *Reader) next() []byte {
	if r.err != nil {
		return nil
	}
	return r.b[r.pos:]
}

// head reads the head of the next value without taking it.
func (r *Reader) head() (head, bool) {
	if r.err != nil {
		return head{}, false
	}
	h, problem := readHead(r.b[r.pos:])
	if problem != "" {
		r.fail(problem)
		return head{}, false
	}
	return h, true
}

func (r *Reader) want(what string, found head) {
	r.fail("want " + what + ", found " + found.kind.String())
}

// Array takes the head of an array and returns the number of its elements,
// which is never more than there are bytes left.
func (r *Reader) Array() int {
	if b := r.next(); len(b) > 0 && b[0]&0xf0 == codeFixArray {
		if n := int(b[0] & 0x0f); n < len(b) {
			r.pos++
			return n
		}
	}
	h, ok := r.head()
	if !ok {
		return 0
	}
	if h.kind != kindArray {
		r.want("an array", h)
		return 0
	}
	if room := len(r.b) - r.pos - h.size; h.children > uint64(room) {
		r.fail(fmt.Sprintf("an array claims %d elements, %d bytes are left", h.children, room))
		return 0
	}
	r.pos += h.size
	return int(h.children)
}

// ArrayLen takes the head of an array that must have want elements.
func (r *Reader) ArrayLen(want int) {
	at := r.pos
	if n := r.Array(); n != want && r.err == nil {
		r.err = &Error{at, fmt.Sprintf("want an array of %d, found one of %d", want, n)}
	}
}

// Uint takes a number that is not negative, in whatever width.
func (r *Reader) Uint() uint64 {
	if b := r.next(); len(b) > 0 {
		switch c := b[0]; {
		case c < codeFixMap:
			r.pos++
			return uint64(c)
		case c == codeUint64 && len(b) >= 9:
			r.pos += 9
			return binary.BigEndian.Uint64(b[1:])
		case c == codeUint32 && len(b) >= 5:
			r.pos += 5
			return uint64(binary.BigEndian.Uint32(b[1:]))
		case c == codeUint16 && len(b) >= 3:
			r.pos += 3
			return uint64(binary.BigEndian.Uint16(b[1:]))
		}
	}
	h, ok := r.head()
	if !ok {
		return 0
	}
	switch {
	case h.kind != kindUint && h.kind != kindInt:
		r.want("a uint", h)
		return 0
	case h.kind == kindInt && int64(h.number) < 0:
		r.fail(fmt.Sprintf("want a uint, found %d", int64(h.number)))
		return 0
	}
	r.pos += h.size
	return h.number
}

// UintMax takes a number from 0 to limit.
func (r *Reader) UintMax(limit uint64) uint64 {
	at := r.pos
	v := r.Uint()
	if v > limit && r.err == nil {
		r.err = &Error{at, fmt.Sprintf("%d is over the limit of %d", v, limit)}
		return 0
	}
	return v
}

// Int takes a number that fits in an int64.
func (r *Reader) Int() int64 {
	h, ok := r.head()
	if !ok {
		return 0
	}
	switch {
	case h.kind != kindUint && h.kind != kindInt:
		r.want("an int", h)
		return 0
	case h.kind == kindUint && h.number > math.MaxInt64:
		r.fail(fmt.Sprintf("want an int, found %d", h.number))
		return 0
	}
	r.pos += h.size
	return int64(h.number)
}

// Bool takes a bool.
func (r *Reader) Bool() bool {
	if b := r.next(); len(b) > 0 && (b[0] == codeFalse || b[0] == codeTrue) {
		r.pos++
		return b[0] == codeTrue
	}
	h, ok := r.head()
	if !ok {
		return false
	}
	if h.kind != kindBool {
		r.want("a bool", h)
		return false
	}
	r.pos += h.size
	return h.number == 1
}

// Bytes takes a bin or a string. It aliases the slice, and is not nil where it
// is empty.
func (r *Reader) Bytes() []byte {
	if b := r.next(); len(b) > 1 && b[0] == codeBin8 {
		if end := 2 + int(b[1]); end <= len(b) {
			r.pos += end
			return b[2:end:end]
		}
	}
	h, ok := r.head()
	if !ok {
		return nil
	}
	if h.kind != kindBytes && h.kind != kindString {
		r.want("a bin", h)
		return nil
	}
	from := r.pos + h.size
	if room := len(r.b) - from; h.bytes > uint64(room) {
		r.fail(fmt.Sprintf("%s claims %d bytes, %d are left", h.kind, h.bytes, room))
		return nil
	}
	to := from + int(h.bytes)
	r.pos = to
	return r.b[from:to:to]
}

// String takes what [Reader.Bytes] takes and copies it.
func (r *Reader) String() string { return string(r.Bytes()) }

// Nil takes a nil, if one is next, and reports whether it did.
func (r *Reader) Nil() bool {
	if r.err != nil || r.pos == len(r.b) || r.b[r.pos] != codeNil {
		return false
	}
	r.pos++
	return true
}

// AtArray reports whether an array is next, and takes nothing.
func (r *Reader) AtArray() bool { return r.at(kindArray) }

// AtBool reports whether a bool is next, and takes nothing.
func (r *Reader) AtBool() bool { return r.at(kindBool) }

func (r *Reader) at(k kind) bool {
	if r.err != nil || r.pos == len(r.b) {
		return false
	}
	h, problem := readHead(r.b[r.pos:])
	return problem == "" && h.kind == k
}

// Fixed32 takes a number written by [AppendFixed32], and in no other width.
func (r *Reader) Fixed32() uint32 {
	if b := r.next(); len(b) >= 5 && b[0] == codeUint32 {
		r.pos += 5
		return binary.BigEndian.Uint32(b[1:])
	}
	h, ok := r.head()
	if !ok {
		return 0
	}
	r.want("a uint of 4 bytes", h)
	return 0
}

// Skip takes the next value, whatever it is, as far as [Check] lets it pass.
func (r *Reader) Skip() {
	if r.err != nil {
		return
	}
	end, err := walk(r.b, r.pos, len(r.b))
	if err != nil {
		r.err = err
		return
	}
	r.pos = end
}

// Trailing takes the elements that an array of n has beyond the known ones,
// which a newer version may have added.
func (r *Reader) Trailing(n, known int) {
	if n < known {
		r.fail(fmt.Sprintf("want an array of %d or more, found one of %d", known, n))
	}
	for ; n > known && r.err == nil; n-- {
		r.Skip()
	}
}
