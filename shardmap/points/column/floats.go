package column

import (
	"encoding/binary"
	"math"
)

// Forms of floats.
const (
	formDecimal = 1
	formXOR     = 2
)

// AppendFloats appends a column of floats. Each comes back with all its bits, even a NaN with its payload, and -0.
func AppendFloats(dst []byte, values []float64) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(values)))
	if len(values) == 0 {
		return dst
	}
	begin := len(dst)
	dst, ok := appendDecimal(append(dst, formDecimal), values)
	if !ok {
		dst, _ = appendXOR(append(dst[:begin], formXOR), values, math.MaxInt)
		return dst
	}
	// XOR gives up as soon as it is longer, which is soon where values are decimals.
	middle := len(dst)
	dst, ok = appendXOR(append(dst, formXOR), values, middle-begin)
	if !ok {
		return dst[:middle]
	}
	return append(dst[:begin], dst[middle:]...)
}

// ReadFloats reads what [AppendFloats] wrote, as [ReadTimes] does for times.
func ReadFloats(b []byte, dst []float64, max int) (values []float64, rest []byte, err error) {
	in := newInput(b)
	n := in.count(max)
	if n == 0 {
		return end(&in, dst, dst)
	}
	switch f := in.byte(); f {
	case formDecimal:
		values = readDecimal(&in, dst, n)
	case formXOR:
		values = readXOR(&in, dst, n)
	default:
		in.fail("floats have form %d; known are 1 and 2", f)
	}
	return end(&in, dst, values)
}

// Limits of decimals.
const (
	// exponentMax is the largest power of ten that a float is to the bit.
	exponentMax = 22
	// mantissaMax keeps to fifteen digits: a float names each decimal of so many, and a multiplication by a power
	// of ten is wrong by less than a half, so that the nearest whole number is the right one.
	mantissaMax = 1e15
	// exceptionBytes is about what an exception costs.
	exceptionBytes = 9
)

var powers = [exponentMax + 1]float64{1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22}

// mantissa returns m so that m ÷ 10^exponent is v, bit by bit, if there is one of fifteen digits.
func mantissa(v float64, exponent int) (m int64, ok bool) {
	x := math.RoundToEven(v * powers[exponent])
	if !(x >= -mantissaMax && x <= mantissaMax) { // so that a NaN fails
		return 0, false
	}
	m = int64(x)
	return m, math.Float64bits(float64(m)/powers[exponent]) == math.Float64bits(v)
}

// exponent chooses the power of ten for a column: that with which the digits of all and the exceptions take the
// fewest bytes together. It is not ok if too many values are no decimals.
func exponent(values []float64) (best int, ok bool) {
	var least [exponentMax + 1]int // how many values need this exponent
	last, odd := 0, 0
	for i, v := range values {
		// The exponent of the value before is the most likely. It is the least if the next lower one fails.
		e := last
		if _, ok := mantissa(v, e); !ok || e > 0 && has(v, e-1) {
			for e = 0; e <= exponentMax && !has(v, e); e++ {
			}
		}
		if e > exponentMax {
			// The search of all exponents is slow, so that noise is given up early.
			if odd++; odd > 8+i/4 {
				return 0, false
			}
			continue
		}
		least[e]++
		last = e
	}
	above := len(values) - odd // values that need a higher exponent
	lowest := math.MaxInt
	for e, n := range least {
		above -= n
		if n == 0 {
			continue
		}
		// Each power of ten is 10/3 bits in each value.
		if cost := 24*exceptionBytes*above + 10*e*len(values); cost < lowest {
			best, lowest = e, cost
		}
	}
	return best, lowest != math.MaxInt
}

func has(v float64, exponent int) bool {
	_, ok := mantissa(v, exponent)
	return ok
}

// appendDecimal appends floats as decimals. It is not ok if they are none; what it appended is void then.
func appendDecimal(dst []byte, values []float64) (_ []byte, ok bool) {
	e, ok := exponent(values)
	if !ok {
		return dst, false
	}
	var room [1024]int64 // of most blocks: no memory is asked for
	whole := room[:0]
	if len(values) > len(room) {
		whole = make([]int64, 0, len(values))
	}
	var exceptions []int
	before := int64(0)
	for i, v := range values {
		m, ok := mantissa(v, e)
		if !ok {
			// The one before in its place costs the least.
			m, exceptions = before, append(exceptions, i)
		}
		whole, before = append(whole, m), m
	}
	dst = appendWhole(append(dst, byte(e)), whole, formZigzag)
	dst = binary.AppendUvarint(dst, uint64(len(exceptions)))
	next := 0
	for _, i := range exceptions {
		dst = binary.AppendUvarint(dst, uint64(i-next))
		dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(values[i]))
		next = i + 1
	}
	return dst, true
}

func readDecimal(in *input, dst []float64, n int) []float64 {
	e := int(in.byte())
	if e > exponentMax {
		in.fail("the exponent is %d, the limit is %d", e, exponentMax)
	}
	w := newWholes(in, n, formZigzag)
	if in.err != nil {
		return dst
	}
	dst = grow(dst, n)
	begin, power := len(dst), powers[e]
	least := e == 0 // whether some value needs the exponent
	var room [groupSize]uint64
	for r := w.next(&room); r != nil; r = w.next(&room) {
		for _, m := range r {
			dst = append(dst, float64(int64(m))/power)
			least = least || int64(m)%10 != 0
		}
	}
	if !least {
		in.fail("no value needs the exponent %d", e)
	}
	values := dst[begin:]
	next, before := 0, 0.0 // what stands before that place, if it is that of an exception
	for range in.count(n) {
		gap, bits := in.uvarint(), in.uint64()
		if in.err != nil {
			break
		}
		if gap >= uint64(n-next) {
			in.fail("an exception is %d places behind place %d of %d", gap, next, n)
			break
		}
		if next += int(gap); gap > 0 {
			before = values[next-1]
		}
		// Nothing shows what is in the place of an exception. So it must be what an encoder puts there.
		if values[next] != before {
			in.fail("in the place of an exception is %v, want %v", values[next], before)
			break
		}
		values[next] = math.Float64frombits(bits)
		next++
	}
	return dst
}
