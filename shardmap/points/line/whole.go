package line

import "strconv"

// Whole returns how many bytes of a text are whole lines with their newlines, so that it can be cut there: a newline in a
// string ends no line. A text in which the first line has no end yet has none.
func Whole(text []byte) (n int) {
	for {
		_, end := cut(text[n:])
		if n+end >= len(text) {
			return n
		}
		n += end + 1
	}
}

// Stamp appends the lines of a text to dst, each with a newline, and with the time now, in nanoseconds since 1970 UTC, where
// it has none. So lines that are collected keep the time at which they came. Blank lines and comments are left out; what is wrong
// with a line stays so.
func Stamp(dst, text []byte, precision Precision, now int64) []byte {
	unit := precision.floor(now) / int64(precision)
	for at := 0; at < len(text); {
		begin, end := cut(text[at:])
		if begin < end {
			x := trimmed(text[at+begin : at+end])
			dst = append(dst, x...)
			if scan(x).time == 0 {
				dst = strconv.AppendInt(append(dst, ' '), unit, 10)
			}
			dst = append(dst, '\n')
		}
		at += end + 1
	}
	return dst
}

// trimmed returns a line without what may stand behind it: spaces, and one carriage return. A space that a backslash stands
// before is part of the line.
func trimmed(line []byte) []byte {
	x := line
	if n := len(x); n > 0 && x[n-1] == '\r' {
		x = x[:n-1]
	}
	for n := len(x); n > 0 && x[n-1] == ' ' && !escaped(x, n-1); n = len(x) {
		x = x[:n-1]
	}
	if n := len(x); n > 0 && x[n-1] == '\r' {
		return line // which is wrong, and would not be without what stands behind it
	}
	return x
}
