package query

import (
	"encoding/binary"
	"fmt"

	"muster/shardmap/points/column"
)

// DamageError refuses bytes that no encoder of this [Version] makes.
type DamageError struct {
	Offset int // of the first byte behind what is wrong
	What   string
}

func (e *DamageError) Error() string {
	return fmt.Sprintf("the bytes of a query are damaged before byte %d: %s", e.Offset, e.What)
}

// Version is that of all bytes that this package makes and reads. It is their first byte.
const Version = 1

// input reads bytes from their beginning. Its first error stays, and all that is read after that is zero. It is a [*DamageError], or
// the [*LimitError] that the memory is not enough.
type input struct {
	b      []byte // what is left
	length int    // of all
	left   int64  // memory that may still be spent
	err    error
}

// read returns an input behind the version. All that is made of it may take memory bytes.
func read(b []byte, memory int64) input {
	in := input{b: b, length: len(b), left: memory}
	if v := in.byte(); v != Version && in.err == nil {
		in.fail("they are of version %d, known is %d", v, Version)
	}
	return in
}

func (in *input) fail(format string, args ...any) {
	if in.err == nil {
		in.err = &DamageError{in.length - len(in.b), fmt.Sprintf(format, args...)}
		in.b = nil
	}
}

// end returns the error, or that bytes are left.
func (in *input) end() error {
	if len(in.b) > 0 {
		in.fail("%d bytes are left", len(in.b))
	}
	return in.err
}

// spend takes memory for what is about to be made.
func (in *input) spend(n int64) bool {
	if in.left -= n; in.left < 0 && in.err == nil {
		in.err, in.b = overMemory(), nil // they may be whole
	}
	return in.err == nil
}

func (in *input) byte() byte {
	if len(in.b) == 0 {
		in.fail("a byte is due")
		return 0
	}
	c := in.b[0]
	in.b = in.b[1:]
	return c
}

func (in *input) uvarint() uint64 {
	v, n := binary.Uvarint(in.b)
	if n <= 0 || n > 1 && in.b[n-1] == 0 { // each number has one form
		in.fail("a uvarint is due")
		return 0
	}
	in.b = in.b[n:]
	return v
}

func (in *input) varint() int64 {
	u := in.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

// count reads how many things follow, of which each takes a byte at least, and in memory size bytes.
func (in *input) count(what string, most int, size int64) int {
	n := in.uvarint()
	if n > uint64(most) || n > uint64(len(in.b)) {
		in.fail("%d %s are announced, at most %d may be there, and %d bytes are", n, what, most, len(in.b))
		return 0
	}
	if !in.spend(int64(n) * size) {
		return 0
	}
	return int(n)
}

func (in *input) text(most int) string {
	n := in.count("bytes of text", most, 1)
	s := string(in.b[:n])
	in.b = in.b[n:]
	return s
}

// flag reads a byte that is 0 or 1.
func (in *input) flag() bool {
	c := in.byte()
	if c > 1 {
		in.fail("a flag is %d", c)
	}
	return c == 1
}

func (in *input) kind() column.Kind {
	k := column.Kind(in.byte())
	if !k.Valid() && in.err == nil {
		in.fail("a kind is %d", byte(k))
	}
	return k
}

// times reads a column of n whole numbers.
func (in *input) times(n int) []int64 {
	if !in.spend(int64(n) * 8) {
		return nil
	}
	v, rest, err := column.ReadTimes(in.b, nil, n)
	return checked(in, v, rest, err, n, len(v))
}

// integers reads a column of n integers.
func (in *input) integers(n int) []int64 {
	if !in.spend(int64(n) * 8) {
		return nil
	}
	v, rest, err := column.ReadIntegers(in.b, nil, n)
	return checked(in, v, rest, err, n, len(v))
}

// values reads a column of n values of a kind.
func (in *input) values(n int, k column.Kind) column.Values {
	// A string takes 16 bytes, and its text is bounded by the bytes that are there: a word of a dictionary is not
	// copied for each string.
	if in.err != nil || !in.spend(int64(n)*16) {
		return column.Values{}
	}
	var v column.Values
	rest, err := v.Read(in.b, k, n)
	return checked(in, v, rest, err, n, v.Len())
}

func checked[T any](in *input, v T, rest []byte, err error, want, got int) T {
	var none T
	switch {
	case in.err != nil:
		return none
	case err != nil:
		in.fail("%v", err)
		return none
	case want != got:
		in.fail("a column has %d values, %d are due", got, want)
		return none
	}
	in.b = rest
	return v
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendVarint(b []byte, v int64) []byte {
	return binary.AppendUvarint(b, uint64(v)<<1^uint64(v>>63))
}

func appendFlag(b []byte, f bool) []byte {
	if f {
		return append(b, 1)
	}
	return append(b, 0)
}
