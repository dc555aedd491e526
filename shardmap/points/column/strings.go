package column

import (
	"encoding/binary"
)

// Forms of strings.
const (
	formStrings    = 1
	formDictionary = 2
)

// AppendStrings appends a column of strings, of any bytes.
func AppendStrings(dst []byte, values []string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(values)))
	if len(values) == 0 {
		return dst
	}
	begin := len(dst)
	words, which := distinct(values)
	dst = appendText(append(dst, formStrings), values)
	if words == nil {
		return dst
	}
	middle := len(dst)
	dst = binary.AppendUvarint(append(dst, formDictionary), uint64(len(words)))
	dst = appendWhole(appendText(dst, words), which, formZigzag)
	if len(dst)-middle >= middle-begin {
		return dst[:middle]
	}
	return append(dst[:begin], dst[middle:]...)
}

// distinct returns each word of the values once, in the order in which they first come, and which word each value is.
// It returns nil if more than half of the values are words of their own, since a dictionary does not pay then.
func distinct(values []string) (words []string, which []uint64) {
	numbers := map[string]uint64{}
	which = make([]uint64, 0, len(values))
	for _, v := range values {
		n, ok := numbers[v]
		if !ok {
			if n = uint64(len(words)); n >= uint64(len(values)/2) {
				return nil, nil
			}
			numbers[v] = n
			words = append(words, v)
		}
		which = append(which, n)
	}
	return words, which
}

// appendText appends the lengths of strings, and their bytes.
func appendText(dst []byte, values []string) []byte {
	lengths := make([]uint64, 0, len(values))
	for _, v := range values {
		lengths = append(lengths, uint64(len(v)))
	}
	dst = appendWhole(dst, lengths, formZigzag)
	for _, v := range values {
		dst = append(dst, v...)
	}
	return dst
}

// ReadStrings reads what [AppendStrings] wrote, as [ReadTimes] does for times. The strings share one copy of their
// bytes, and none of b.
func ReadStrings(b []byte, dst []string, max int) (values []string, rest []byte, err error) {
	in := newInput(b)
	n := in.count(max)
	if n == 0 {
		return end(&in, dst, dst)
	}
	switch f := in.byte(); f {
	case formStrings:
		values = readText(&in, dst, n)
	case formDictionary:
		words := readText(&in, nil, in.count(n))
		if in.err == nil {
			values = readWords(&in, dst, n, words)
		}
	default:
		in.fail("strings have form %d; known are 1 and 2", f)
	}
	return end(&in, dst, values)
}

// readText reads n strings. Their lengths are read twice: they are no longer than the bytes that follow before
// memory is spent.
func readText(in *input, dst []string, n int) []string {
	if n == 0 {
		in.fail("the dictionary has no words")
		return dst
	}
	w := newWholes(in, n, formZigzag)
	lengths, from := w, *in
	lengths.in, lengths.groups.in = &from, &from
	total := uint64(0)
	var room [groupSize]uint64
	for r := w.next(&room); r != nil; r = w.next(&room) {
		for _, length := range r {
			// Each is compared by itself, since a sum may wrap.
			if left := uint64(len(in.b)); length > left || total+length > left {
				in.fail("a string of %d bytes is due behind %d bytes of others, %d are left", length, total, left)
				return dst
			}
			total += length
		}
	}
	text := string(in.take(int(total)))
	if in.err != nil {
		return dst
	}
	dst = grow(dst, n)
	for r := lengths.next(&room); r != nil; r = lengths.next(&room) {
		for _, length := range r {
			dst = append(dst, text[:length])
			text = text[length:]
		}
	}
	return dst
}

// readWords reads which word each of n strings is.
func readWords(in *input, dst []string, n int, words []string) []string {
	w := newWholes(in, n, formZigzag)
	if in.err != nil {
		return dst
	}
	dst = grow(dst, n)
	used := uint64(0) // words; the next new one must be the one behind them
	var room [groupSize]uint64
	for r := w.next(&room); r != nil; r = w.next(&room) {
		for _, i := range r {
			if i > used || i >= uint64(len(words)) {
				in.fail("a string is word %d of %d, and %d have come before", i, len(words), used)
				return dst
			}
			used = max(used, i+1)
			dst = append(dst, words[i])
		}
	}
	if used != uint64(len(words)) {
		in.fail("%d of %d words are in no string", uint64(len(words))-used, len(words))
	}
	return dst
}
