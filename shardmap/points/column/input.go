package column

import (
	"encoding/binary"
	"fmt"
)

// DamageError refuses bytes that no encoder of this [Version] makes.
type DamageError struct {
	Offset int // in the column, of the first byte behind what is wrong
	What   string
}

func (e *DamageError) Error() string {
	return fmt.Sprintf("the column is damaged before its byte %d: %s", e.Offset, e.What)
}

// input reads a column from its beginning. Its first error stays, and all that is read after that is zero.
type input struct {
	b      []byte // what is left
	length int    // of all
	err    error
}

func newInput(b []byte) input { return input{b: b, length: len(b)} }

func (in *input) fail(format string, args ...any) {
	if in.err == nil {
		in.err = &DamageError{in.length - len(in.b), fmt.Sprintf(format, args...)}
		in.b = nil
	}
}

// end returns what a decoder returns: what was read and what is left, or what there was and the error.
func end[T any](in *input, before, values []T) ([]T, []byte, error) {
	if in.err != nil {
		return before, nil, in.err
	}
	return values, in.b, nil
}

func (in *input) byte() byte {
	b := in.take(1)
	if b == nil {
		return 0
	}
	return b[0]
}

// take returns the next n bytes, or nil.
func (in *input) take(n int) []byte {
	if n > len(in.b) {
		in.fail("%d bytes are due, %d are left", n, len(in.b))
		return nil
	}
	b := in.b[:n:n]
	in.b = in.b[n:]
	return b
}

func (in *input) uvarint() uint64 {
	v, n := binary.Uvarint(in.b)
	switch {
	case n <= 0:
		in.fail("a uvarint is due, %d bytes are left, and they begin with none", len(in.b))
		return 0
	case n > 1 && in.b[n-1] == 0: // so that each number has one form
		in.fail("the uvarint %d has %d bytes, which is more than it needs", v, n)
		return 0
	}
	in.b = in.b[n:]
	return v
}

func (in *input) varint() int64 { return unzigzag(in.uvarint()) }

func (in *input) uint64() uint64 {
	b := in.take(8)
	if b == nil {
		return 0
	}
	return binary.LittleEndian.Uint64(b)
}

// count reads how many values a column has.
func (in *input) count(max int) int {
	n := in.uvarint()
	if in.err == nil && n > uint64(max) {
		in.fail("it has %d values, at most %d were announced", n, max)
		return 0
	}
	return int(n)
}

// grow returns values with room for n more. Unlike [slices.Grow] it allocates no more than that, in any build.
func grow[T any](values []T, n int) []T {
	if cap(values)-len(values) >= n {
		return values
	}
	return append(make([]T, 0, len(values)+n), values...)
}

func zigzag(v int64) uint64   { return uint64(v)<<1 ^ uint64(v>>63) }
func unzigzag(u uint64) int64 { return int64(u>>1) ^ -int64(u&1) }
