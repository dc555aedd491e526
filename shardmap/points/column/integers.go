package column

import "encoding/binary"

// AppendTimes appends a column of times in nanoseconds since 1970, which must ascend strictly: [ReadTimes] refuses any
// others.
func AppendTimes(dst []byte, values []int64) []byte {
	return appendColumn(dst, values, formDeltaOfDelta)
}

// ReadTimes appends the times of a column at the beginning of b to dst, and returns what stands behind it. A column
// with more than max values is refused before memory is spent. Its error is a [DamageError]; dst is unchanged then.
func ReadTimes(b []byte, dst []int64, max int) (values []int64, rest []byte, err error) {
	in := newInput(b)
	values = readColumn(&in, dst, max, formDeltaOfDelta)
	for i := len(dst) + 1; i < len(values) && in.err == nil; i++ {
		if values[i] <= values[i-1] {
			in.fail("the time %d follows %d: times must ascend", values[i], values[i-1])
		}
	}
	return end(&in, dst, values)
}

// AppendIntegers appends a column of integers.
func AppendIntegers(dst []byte, values []int64) []byte {
	return appendColumn(dst, values, formZigzag)
}

// ReadIntegers reads what [AppendIntegers] wrote, as [ReadTimes] does for times.
func ReadIntegers(b []byte, dst []int64, max int) (values []int64, rest []byte, err error) {
	in := newInput(b)
	return end(&in, dst, readColumn(&in, dst, max, formZigzag))
}

// AppendUnsigned appends a column of unsigned integers.
func AppendUnsigned(dst []byte, values []uint64) []byte {
	return appendColumn(dst, values, formZigzag)
}

// ReadUnsigned reads what [AppendUnsigned] wrote, as [ReadTimes] does for times.
func ReadUnsigned(b []byte, dst []uint64, max int) (values []uint64, rest []byte, err error) {
	in := newInput(b)
	return end(&in, dst, readColumn(&in, dst, max, formZigzag))
}

func appendColumn[T whole](dst []byte, values []T, most form) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(values)))
	if len(values) == 0 {
		return dst
	}
	return appendWhole(dst, values, most)
}

func readColumn[T whole](in *input, dst []T, max int, most form) []T {
	n := in.count(max)
	if n == 0 {
		return dst
	}
	w := newWholes(in, n, most)
	if in.err != nil {
		return dst
	}
	dst = grow(dst, n)
	var room [groupSize]uint64
	for r := w.next(&room); r != nil; r = w.next(&room) {
		for _, v := range r {
			dst = append(dst, T(v))
		}
	}
	return dst
}
