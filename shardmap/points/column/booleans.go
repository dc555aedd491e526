package column

import (
	"encoding/binary"
	"slices"
)

// Forms of booleans.
const (
	formBits = 1
	formRuns = 2
)

// AppendBooleans appends a column of booleans.
func AppendBooleans(dst []byte, values []bool) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(values)))
	if len(values) == 0 {
		return dst
	}
	begin := len(dst)
	dst, ok := appendRuns(append(dst, formRuns), values, (len(values)+7)/8)
	if ok {
		return dst
	}
	dst = append(dst[:begin], formBits)
	for part := range slices.Chunk(values, 8) {
		var b byte
		for i, v := range part {
			b |= bit(v) << i
		}
		dst = append(dst, b)
	}
	return dst
}

// appendRuns appends the runs. It is not ok as soon as they take limit bytes; what it appended is void then.
func appendRuns(dst []byte, values []bool, limit int) (_ []byte, ok bool) {
	begin := len(dst)
	dst = append(dst, bit(values[0]))
	from := 0
	for i := 1; i <= len(values); i++ {
		if i < len(values) && values[i] == values[from] {
			continue
		}
		dst = binary.AppendUvarint(dst, uint64(i-from))
		from = i
		if len(dst)-begin >= limit {
			return dst, false
		}
	}
	return dst, true
}

// ReadBooleans reads what [AppendBooleans] wrote, as [ReadTimes] does for times.
func ReadBooleans(b []byte, dst []bool, max int) (values []bool, rest []byte, err error) {
	in := newInput(b)
	n := in.count(max)
	if n == 0 {
		return end(&in, dst, dst)
	}
	switch f := in.byte(); f {
	case formBits:
		values = readBits(&in, dst, n)
	case formRuns:
		values = readRuns(&in, dst, n)
	default:
		in.fail("booleans have form %d; known are 1 and 2", f)
	}
	return end(&in, dst, values)
}

func readBits(in *input, dst []bool, n int) []bool {
	b := in.take((n + 7) / 8)
	if b == nil {
		return dst
	}
	if used := n % 8; used != 0 && b[len(b)-1]>>used != 0 {
		in.fail("bits are set behind the last value")
		return dst
	}
	dst = grow(dst, n)
	for i := range n {
		dst = append(dst, b[i/8]>>(i%8)&1 == 1)
	}
	return dst
}

func readRuns(in *input, dst []bool, n int) []bool {
	first := in.byte()
	if first > 1 {
		in.fail("the first value is %d, want 0 or 1", first)
	}
	if in.err != nil {
		return dst
	}
	dst = grow(dst, n)
	for value := first == 1; n > 0; value = !value {
		run := in.uvarint()
		if in.err == nil && (run == 0 || run > uint64(n)) {
			in.fail("a run has %d values, 1 to %d can be left", run, n)
		}
		if in.err != nil {
			return dst
		}
		for range run {
			dst = append(dst, value)
		}
		n -= int(run)
	}
	return dst
}

func bit(v bool) byte {
	if v {
		return 1
	}
	return 0
}
