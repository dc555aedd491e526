package column

import (
	"encoding/binary"
	"math/bits"
)

// groupSize is how many residuals share a width. Fewer would follow changes of the data more closely and pay for a
// header more often: with 32 a random column of 7 bits is 3.6 % longer than its bits, with 64 1.8 %, and a group of 64
// begins at a whole byte whatever its width.
const groupSize = 64

// Headers of groups.
const (
	headerZeros      = 64 // plus the number of groups that are zeros
	headerExceptions = 128

	zerosMax = headerExceptions - 1 - headerZeros // groups of zeros under one header
)

// packer appends groups.
type packer struct {
	dst   []byte
	zeros byte // groups of zeros that have no header yet
}

// add appends a group of 1 to [groupSize] residuals. All groups but the last are full.
func (p *packer) add(r []uint64) {
	width, exceptions, _ := fit(r)
	if width == 0 && exceptions == 0 {
		if p.zeros++; p.zeros == zerosMax {
			p.flush()
		}
		return
	}
	p.flush()
	if exceptions == 0 {
		p.dst = appendBits(append(p.dst, byte(width)), r, width)
		return
	}
	p.dst = append(p.dst, headerExceptions|byte(width), byte(exceptions))
	p.dst = appendBits(p.dst, r, width)
	for i, v := range r {
		if high := v >> width; high != 0 {
			p.dst = binary.AppendUvarint(append(p.dst, byte(i)), high)
		}
	}
}

// flush writes the header of the groups of zeros, if there are some. It must be called behind the last group.
func (p *packer) flush() {
	if p.zeros > 0 {
		p.dst = append(p.dst, headerZeros+p.zeros)
		p.zeros = 0
	}
}

// fit returns the width that makes a group shortest, how many residuals are exceptions then, and the length of the
// group in bytes; a group of zeros counts as one byte. Of equal widths it takes the largest.
func fit(r []uint64) (width uint, exceptions, size int) {
	var count [65]uint8 // of residuals, by their length in bits
	all := uint64(0)
	for _, v := range r {
		count[bits.Len64(v)]++
		all |= v
	}
	longest := bits.Len64(all)
	width, size = uint(longest), 1+(len(r)*longest+7)/8
	// A shorter width makes exceptions of what is longer. Only a width that some residual has can be the best: any
	// other one could be lowered without another exception.
	above := 0
	for w := longest - 1; w >= 0; w-- {
		above += int(count[w+1])
		if 2*above+2 >= size {
			break // an exception has two bytes at least, and lower widths have no fewer
		}
		if w > 0 && count[w] == 0 {
			continue
		}
		s := 2 + (len(r)*w+7)/8
		for n := w + 1; n <= longest; n++ {
			s += int(count[n]) * (1 + (n-w+6)/7)
		}
		if s < size {
			width, exceptions, size = uint(w), above, s
		}
	}
	return width, exceptions, size
}

// appendBits appends the lowest width bits of each residual.
func appendBits(dst []byte, r []uint64, width uint) []byte {
	if width == 0 {
		return dst
	}
	var acc uint64 // bits that are not appended yet
	var have uint  // how many; below 64
	mask := uint64(1)<<width - 1
	for _, v := range r {
		v &= mask
		acc |= v << have
		if have += width; have >= 64 {
			dst = binary.LittleEndian.AppendUint64(dst, acc)
			have -= 64
			acc = v >> (width - have) // all of it is gone if have is 0: a shift by 64 gives 0
		}
	}
	for ; have > 0; have -= min(have, 8) {
		dst = append(dst, byte(acc))
		acc >>= 8
	}
	return dst
}

// unpacker reads the groups that a [packer] wrote.
type unpacker struct {
	in    *input
	zeros byte // groups of zeros that are still to come
	room  [groupSize*8 + 8]byte
}

// next reads the next group, which has as many residuals as r.
func (u *unpacker) next(r []uint64) {
	if u.zeros > 0 {
		u.zeros--
		clear(r)
		return
	}
	h := u.in.byte()
	switch {
	case h == 0:
		u.in.fail("a group of zeros has the header 0, want %d or more", headerZeros+1)
	case h&headerExceptions != 0:
		u.exceptions(r, uint(h&^headerExceptions))
	case h > headerZeros:
		u.zeros = h - headerZeros - 1
		clear(r)
	default:
		u.bits(r, uint(h))
	}
	if u.in.err != nil {
		clear(r)
	}
}

// end must be called behind the last group.
func (u *unpacker) end() {
	if u.zeros > 0 {
		u.in.fail("%d groups of zeros stand behind the last value", u.zeros)
	}
}

// bits reads the lowest width bits of each residual.
func (u *unpacker) bits(r []uint64, width uint) {
	if width == 0 {
		clear(r)
		return
	}
	n := (len(r)*int(width) + 7) / 8
	b := u.in.b // eight bytes are read at once, so some must stand behind the last one
	if u.in.take(n) == nil {
		return
	}
	if len(b) < n+8 {
		clear(u.room[copy(u.room[:], b):])
		b = u.room[:]
	}
	var all uint64
	if mask := uint64(1)<<width - 1; width <= 64-7 {
		at := uint(0)
		for i := range r {
			v := binary.LittleEndian.Uint64(b[at/8:]) >> (at % 8) & mask
			r[i] = v
			all |= v
			at += width
		}
	} else {
		for i := range r {
			at := uint(i) * width
			v := (binary.LittleEndian.Uint64(b[at/8:])>>(at%8) | uint64(b[at/8+8])<<(64-at%8)) & mask
			r[i] = v
			all |= v
		}
	}
	// An encoder takes no width that is too large, nor sets a bit behind the last value. Were that not refused, a flip
	// of a bit could pass unseen.
	if all>>(width-1) == 0 {
		u.in.fail("no value of a group has the %d bits of its header", width)
	}
	if used := uint(len(r)) * width % 8; used != 0 && b[n-1]>>used != 0 {
		u.in.fail("bits are set behind the last value of a group")
	}
}

// exceptions reads a group that has some.
func (u *unpacker) exceptions(r []uint64, width uint) {
	n := int(u.in.byte())
	if width >= 64 || n == 0 || n > len(r) {
		u.in.fail("a group of %d values has width %d with %d exceptions", len(r), width, n)
		return
	}
	u.bits(r, width)
	next := 0
	for range n {
		at, high := int(u.in.byte()), u.in.uvarint()
		if u.in.err != nil {
			return
		}
		if at < next || at >= len(r) || bits.Len64(high) > int(64-width) || high == 0 {
			u.in.fail("an exception of a group of %d values is %d at %d, due is one at %d or later", len(r), high, at, next)
			return
		}
		r[at] |= high << width
		next = at + 1
	}
}
