package rows

import (
	"encoding/json"
	"io"
	"math"
	"strconv"
	"unicode/utf8"
)

// flushAt is how many bytes of text a writer gathers before it hands them on.
const flushAt = 32 << 10

// text gathers what is written. After an error of the writer below it only remembers the error.
type text struct {
	w   io.Writer
	buf []byte
	err error
}

// Write takes what encoding/csv writes. It keeps no error from the caller: the owner asks for err.
func (t *text) Write(b []byte) (int, error) {
	t.buf = append(t.buf, b...)
	t.spill()
	return len(b), nil
}

// spill hands on what has gathered, if it is enough.
func (t *text) spill() {
	if len(t.buf) >= flushAt {
		t.flush()
	}
}

func (t *text) flush() {
	if t.err == nil && len(t.buf) > 0 {
		_, t.err = t.w.Write(t.buf)
	}
	t.buf = t.buf[:0]
	if cap(t.buf) > 4*flushAt {
		t.buf = nil // a long string went through
	}
}

// appendFloat appends a float as encoding/json does, which is as JavaScript does: plain between 1e-6 and 1e21, with an
// exponent of as few digits as it needs outside.
func appendFloat(dst []byte, v float64) []byte {
	format := byte('f')
	if abs := math.Abs(v); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	dst = strconv.AppendFloat(dst, v, format, -1, 64)
	if n := len(dst); format == 'e' && n >= 4 && dst[n-4] == 'e' && dst[n-3] == '-' && dst[n-2] == '0' {
		dst[n-2] = dst[n-1] // e-09 is e-9
		dst = dst[:n-1]
	}
	return dst
}

// finite reports whether JSON has a number for v.
func finite(v float64) bool { return !math.IsInf(v, 0) && !math.IsNaN(v) }

// appendString appends a string in quotes as encoding/json does: with <, > and & escaped, and what is not UTF-8
// replaced.
func appendString(dst []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' || c >= utf8.RuneSelf {
			quoted, _ := json.Marshal(s) // a string can't fail
			return append(dst, quoted...)
		}
	}
	return append(append(append(dst, '"'), s...), '"')
}
