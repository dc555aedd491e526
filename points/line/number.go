package line

import (
	"math"
	"strconv"

	"muster/points"
	"muster/points/column"
)

// number is a number as it was read.
type number struct {
	kind     column.Kind
	negative bool
	whole    uint64 // of an integer or unsigned: without its sign
	float    float64
}

// exactDigits is how many digits a float64 holds exactly, and powers are the powers of ten that it does.
const exactDigits = 15

var powers = [...]float64{1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15}

// readNumber reads the number that text begins with, up to a comma, white space or the end, and returns
// its length. The grammar is InfluxDB's: 1, -1.5, .5, 1e-3, with an i or u at the end for whole numbers.
func readNumber(text []byte) (x number, n int, bad points.Reason) {
	if text[0] == '-' {
		x.negative, n = true, 1
	}
	// Most numbers are short. Digits are counted, so that the sum of those that are too many,
	// which means nothing, is not used.
	begin, point, digits := n, -1, 0
	overflow := false
loop:
	for ; n < len(text); n++ {
		switch c := text[n]; {
		case '0' <= c && c <= '9':
			digits++
			if x.whole > (math.MaxUint64-9)/10 {
				overflow = overflow || x.whole > math.MaxUint64/10 || x.whole*10 > math.MaxUint64-uint64(c-'0')
			}
			x.whole = x.whole*10 + uint64(c-'0')
		case c == '.' && point < 0:
			point = n
		default:
			break loop
		}
	}
	if digits == 0 {
		return x, n, points.InvalidNumber
	}
	x.kind = column.Float
	switch {
	case n == len(text) || ends(text[n]):
		if digits > exactDigits {
			break // to strconv
		}
		// Both numbers are exact, so their quotient is rounded once, and right.
		x.float = float64(x.whole)
		if point >= 0 {
			x.float /= powers[n-point-1]
		}
		if x.negative {
			x.float = -x.float
		}
		return x, n, 0
	case text[n] == 'i' || text[n] == 'u':
		if x.kind = column.Integer; text[n] == 'u' {
			x.kind = column.Unsigned
		}
		if n++; point >= 0 || n < len(text) && !ends(text[n]) || x.negative && x.kind == column.Unsigned {
			return x, n, points.InvalidNumber
		}
		if overflow || x.kind == column.Integer && x.whole > magnitudeMax(x.negative) {
			return x, n, points.NumberOutOfRange
		}
		return x, n, 0
	case text[n] != 'e' && text[n] != 'E':
		return x, n, points.InvalidNumber
	}
	for n < len(text) && !ends(text[n]) {
		if c := text[n]; (c < '0' || c > '9') && c != 'e' && c != 'E' && c != '+' && c != '-' {
			return x, n, points.InvalidNumber // strconv takes more: 0x1p4, 1_000, inf
		}
		n++
	}
	v, err := strconv.ParseFloat(string(text[begin:n]), 64)
	switch {
	case math.IsInf(v, 0):
		return x, n, points.NumberOutOfRange
	case err != nil:
		return x, n, points.InvalidNumber
	case x.negative:
		v = -v
	}
	x.float = v
	return x, n, 0
}

// magnitudeMax is how large an int64 may be without its sign.
func magnitudeMax(negative bool) uint64 {
	if negative {
		return 1 << 63
	}
	return math.MaxInt64
}

// integer returns an integer with its sign. It wraps around at the smallest one, as it must.
func (x number) integer() int64 {
	if x.negative {
		return -int64(x.whole)
	}
	return int64(x.whole)
}

// ends reports whether a value that is not quoted ends before c.
func ends(c byte) bool { return c == ',' || c == ' ' || c == '\n' || c == '\r' }
