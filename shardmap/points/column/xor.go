package column

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// windowBits is what a new window costs: how many zeros are above it, and its length.
const windowBits = 6 + 6

// bitWriter appends bits, the first in the lowest bit of a byte.
type bitWriter struct {
	dst  []byte
	acc  uint64
	have uint // bits in acc; below 64
}

// write appends the lowest n bits of v, 1 to 64, whose higher bits are zero.
func (w *bitWriter) write(v uint64, n uint) {
	w.acc |= v << w.have
	if w.have += n; w.have >= 64 {
		w.dst = binary.LittleEndian.AppendUint64(w.dst, w.acc)
		w.have -= 64
		w.acc = v >> (n - w.have)
	}
}

// end appends what is left, up to a whole byte.
func (w *bitWriter) end() []byte {
	for ; w.have > 0; w.have -= min(w.have, 8) {
		w.dst = append(w.dst, byte(w.acc))
		w.acc >>= 8
	}
	return w.dst
}

// appendXOR appends each float as what it differs in from the one before. It is not ok as soon as dst is longer
// by more than limit bytes; what it appended is void then.
//
// Other systems keep a window until a value does not fit in, so that one large difference makes all that follow
// wide. Here a window that is wider than the bits of a value by more than what a new one costs is replaced.
func appendXOR(dst []byte, values []float64, limit int) (_ []byte, ok bool) {
	begin := len(dst) - 1 // the form counts
	w := bitWriter{dst: dst}
	before := math.Float64bits(values[0])
	w.write(before, 64)
	var low, length uint // the window: its lowest bit, and how many it has
	for _, f := range values[1:] {
		v := math.Float64bits(f)
		x := v ^ before
		before = v
		if x == 0 {
			w.write(0, 1)
			continue
		}
		tail := uint(bits.TrailingZeros64(x))
		own := uint(bits.Len64(x)) - tail
		if tail >= low && tail+own <= low+length && length <= own+windowBits {
			w.write(0b01, 2)
			w.write(x>>low, length)
			continue
		}
		low, length = tail, own
		w.write(0b11|uint64(64-low-length)<<2|uint64(length-1)<<8, 2+windowBits)
		w.write(x>>low, length)
		if len(w.dst)-begin >= limit {
			return w.dst, false
		}
	}
	dst = w.end()
	return dst, len(dst)-begin < limit
}

// bitReader reads what a bitWriter wrote.
type bitReader struct {
	in   *input
	acc  uint64
	have uint // bits in acc
}

// read returns the next n bits, 1 to 64.
func (r *bitReader) read(n uint) uint64 {
	if r.have < n {
		return r.more(n)
	}
	v := r.acc & (1<<n - 1)
	r.acc >>= n
	r.have -= n
	return v
}

// more is read where acc has too few bits. It takes the next eight bytes, or those that are left.
func (r *bitReader) more(n uint) uint64 {
	v, got := r.acc, r.have
	b := r.in.b
	if len(b) >= 8 {
		r.acc, r.have = binary.LittleEndian.Uint64(b), 64
		r.in.b = b[8:]
	} else {
		r.acc, r.have = 0, uint(8*len(b))
		for i, x := range b {
			r.acc |= uint64(x) << (8 * i)
		}
		r.in.b = nil
	}
	need := n - got
	if r.have < need {
		r.in.fail("%d bits are due, %d are left", n, got+r.have)
		r.have = 0
		return 0
	}
	v |= r.acc << got
	r.acc >>= need
	r.have -= need
	if n < 64 {
		v &= 1<<n - 1
	}
	return v
}

// end gives back the bytes of which no bit was read.
func (r *bitReader) end(all []byte) {
	if r.in.err != nil {
		return
	}
	whole := int(r.have / 8)
	r.in.b = all[len(all)-len(r.in.b)-whole:]
	if r.acc&(1<<(r.have%8)-1) != 0 {
		r.in.fail("bits are set behind the last value")
	}
}

func readXOR(in *input, dst []float64, n int) []float64 {
	// A value has a bit at least, the first one 64: what can't be there is refused before memory is spent.
	if most := 8*len(in.b) - 63; n > most {
		in.fail("%d values are due, %d bytes are left", n, len(in.b))
		return dst
	}
	all := in.b
	r := bitReader{in: in}
	dst = grow(dst, n)
	v := r.read(64)
	dst = append(dst, math.Float64frombits(v))
	var low, length uint
	for range n - 1 {
		if r.read(1) == 1 {
			x := uint64(0)
			if r.read(1) == 0 {
				// Before the first window its length is 0, and one bit is read of a value that is refused anyway.
				if x = r.read(max(length, 1)); in.err == nil && (x == 0 || length == 0) {
					in.fail("a value is in a window that there is not, or differs in nothing from the one before")
				}
			} else {
				above := uint(r.read(6))
				length = uint(r.read(6)) + 1
				x = r.read(min(length, 64-above))
				// The window is exactly as wide as the value that makes it.
				if in.err == nil && (above+length > 64 || x&1 == 0 || x>>(length-1) == 0) {
					in.fail("a window of %d bits below %d zeros is not that of its value", length, above)
				}
				low = 64 - min(above+length, 64)
			}
			v ^= x << low
		}
		if in.err != nil {
			return dst
		}
		dst = append(dst, math.Float64frombits(v))
	}
	r.end(all)
	return dst
}
