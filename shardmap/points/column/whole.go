package column

import (
	"encoding/binary"
	"math"
)

// whole is what a column of whole numbers is made of. Their order matters to the choice of a base; all else is counted
// modulo 2^64.
type whole interface{ int64 | uint64 }

// form is a way to write whole numbers.
type form byte

const (
	formPlain        form = 1
	formDelta        form = 2
	formZigzag       form = 3
	formDeltaOfDelta form = 4
)

// coding is how a column of whole numbers is written.
type coding struct {
	form  form
	start uint64
	step  uint64
	base  uint64
}

// survey is what must be known of the values before a coding is chosen.
type survey[T whole] struct {
	min, max T
	// step is the greatest common divisor of all differences; 0: all values are equal.
	step uint64
	// fall and most are the smallest and the largest difference, and rise is the smallest one that is not negative;
	// [math.MaxInt64] if there is none.
	fall, rise, most int64
}

func look[T whole](values []T) survey[T] {
	s := survey[T]{min: values[0], max: values[0], fall: math.MaxInt64, rise: math.MaxInt64, most: math.MinInt64}
	before := values[0]
	for _, v := range values[1:] {
		s.min, s.max = min(s.min, v), max(s.max, v)
		d := int64(v - before)
		before = v
		s.fall, s.most = min(s.fall, d), max(s.most, d)
		if d >= 0 {
			s.rise = min(s.rise, d)
		}
		if s.step != 1 {
			s.step = divisor(uint64(max(d, -d)), s.step)
		}
	}
	// Differences that do not fit into 63 bits have wrapped, and only 1 divides both them and the true ones.
	if uint64(s.max)-uint64(s.min) > math.MaxInt64 {
		s.step = 1
	}
	return s
}

// divisor is the greatest common divisor of two numbers; that of any number and 0 is the number.
func divisor(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// choices are the codings that may be the shortest for some values.
type choices struct {
	list [5]coding
	n    int
}

func (c *choices) add(x coding) {
	c.list[c.n] = x
	c.n++
}

// choices returns the codings among which a length decides. Forms up to most take part.
func (s *survey[T]) choices(values []T, most form) (c choices) {
	first, step := uint64(values[0]), s.step
	delta := func(base int64) coding {
		base /= int64(step)
		return coding{formDelta, first - step*uint64(base), step, uint64(base)}
	}
	if s.fall == s.most {
		c.add(delta(s.fall)) // all residuals are zero
		return c
	}
	c.add(coding{form: formPlain, start: uint64(s.min), step: step})
	c.add(delta(s.fall))
	if s.fall < 0 && s.rise != math.MaxInt64 {
		// A counter that was reset: the difference lies below the base, wraps, and becomes an exception of eleven bytes.
		c.add(delta(s.rise))
	}
	c.add(coding{form: formZigzag, start: first, step: step})
	if most >= formDeltaOfDelta {
		base := int64(values[1]-values[0]) / int64(step) // there are two, or the step were 0
		c.add(coding{formDeltaOfDelta, first - step*uint64(base), step, uint64(base)})
	}
	return c
}

// appendWhole appends a body of whole numbers, in the form up to most that is shortest for a sample of them. There is one value
// at least.
func appendWhole[T whole](dst []byte, values []T, most form) []byte {
	s := look(values)
	if s.step == 0 {
		return binary.AppendUvarint(binary.AppendUvarint(dst, zigzag(int64(values[0]))), 0)
	}
	var best coding
	shortest := math.MaxInt
	c := s.choices(values, most)
	for i := range c.list[:c.n] {
		if n := length(&c.list[i], values, shortest); n < shortest {
			best, shortest = c.list[i], n
		}
	}
	return appendCoded(dst, &best, values)
}

// appendCoded appends a body of whole numbers in a coding.
func appendCoded[T whole](dst []byte, c *coding, values []T) []byte {
	p := packer{dst: c.appendHead(dst)}
	w := residuals[T]{coding: c, values: values}
	var room [groupSize]uint64
	for r := w.next(&room); r != nil; r = w.next(&room) {
		p.add(r)
	}
	p.flush()
	return p.dst
}

// appendHead appends all that stands before the groups.
func (c *coding) appendHead(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, zigzag(int64(c.start)))
	dst = append(binary.AppendUvarint(dst, c.step), byte(c.form))
	if c.hasBase() {
		dst = binary.AppendUvarint(dst, zigzag(int64(c.base)))
	}
	return dst
}

func (c *coding) hasBase() bool { return c.form == formDelta || c.form == formDeltaOfDelta }

// sampled is how many groups, or a few more, show which coding is the shortest. All groups of all codings took a third of the
// time of a seal, and made files that were not shorter.
const sampled = 4

// length is about how many bytes the values take in a coding, by a sample of their groups, evenly spread: the header of each
// group of zeros is counted, though several may share one. It stops counting at a limit.
func length[T whole](c *coding, values []T, limit int) int {
	var room [groupSize]uint64
	n := len(c.appendHead(make([]byte, 0, 32)))
	groups := (len(values) + groupSize - 1) / groupSize
	every := max(1, groups/sampled)
	for from := 0; from < len(values) && n < limit; from += every * groupSize {
		w := residuals[T]{coding: c, values: values[from:min(len(values), from+groupSize)]}
		if from > 0 {
			last := uint64(values[from-1])
			w.begun, w.before, w.delta = true, last, uint64(int64(last-uint64(values[from-2]))/int64(c.step))
		}
		_, _, size := fit(w.next(&room))
		n += size * every
	}
	return n
}

// residuals are what is packed of some values in a coding.
type residuals[T whole] struct {
	*coding
	values []T // of which there is none yet
	begun  bool
	before uint64 // the value before
	delta  uint64 // the difference before, in steps
}

// next fills room with the residuals of the next group; nil: there is none.
func (w *residuals[T]) next(room *[groupSize]uint64) []uint64 {
	if len(w.values) == 0 {
		return nil
	}
	if !w.begun {
		w.before, w.delta, w.begun = w.start, w.base, true
	}
	values := w.values[:min(len(w.values), groupSize)]
	w.values = w.values[len(values):]
	r := room[:len(values)]
	if w.form == formPlain {
		for i, v := range values {
			r[i] = uint64(v) - w.start
		}
		if w.step != 1 {
			for i := range r {
				r[i] /= w.step
			}
		}
		return r
	}
	before, step := w.before, int64(w.step)
	for i, v := range values {
		r[i] = uint64(v) - before
		before = uint64(v)
	}
	w.before = before
	if step != 1 {
		for i := range r {
			r[i] = uint64(int64(r[i]) / step)
		}
	}
	switch w.form {
	case formDelta:
		for i := range r {
			r[i] -= w.base
		}
	case formZigzag:
		for i := range r {
			r[i] = zigzag(int64(r[i]))
		}
	case formDeltaOfDelta:
		for i, d := range r {
			r[i] = zigzag(int64(d - w.delta))
			w.delta = d
		}
	}
	return r
}

// wholes reads a body of whole numbers, a group at a time. A copy of it reads the same ones again.
type wholes struct {
	coding
	in     *input
	groups unpacker
	left   int // values that are still to come
	before uint64
	delta  uint64
	some   uint64 // not zero if a residual of form 4 was not
	low    uint64 // how many steps a difference may go down,
	span   uint64 // and how many it may go down and up together
}

// newWholes reads the head of a body that has n values, in a form up to most.
func newWholes(in *input, n int, most form) wholes {
	w := wholes{in: in, left: n, groups: unpacker{in: in}}
	w.start, w.step = uint64(in.varint()), in.uvarint()
	if w.step != 0 {
		w.form = form(in.byte())
		if in.err == nil && (w.form < formPlain || w.form > most) {
			in.fail("whole numbers have form %d; known here are 1 to %d", w.form, most)
		}
		if w.hasBase() {
			w.base = uint64(in.varint())
		}
	}
	w.before, w.delta, w.span = w.start, w.base, math.MaxUint64
	if w.step > 1 {
		// No difference wraps. Were that not refused, another step could give the same values.
		w.low = math.MaxInt64 / w.step
		w.span = 2 * w.low
	}
	return w
}

// next fills room with the values of the next group. It returns nil behind the last one, and after an error.
func (w *wholes) next(room *[groupSize]uint64) []uint64 {
	if w.left == 0 || w.in.err != nil {
		w.groups.end()
		if w.form == formDeltaOfDelta && w.some == 0 { // else a flip that makes form 2 of it could pass unseen
			w.in.fail("equal differences have form %d, want %d", formDeltaOfDelta, formDelta)
		}
		return nil
	}
	r := room[:min(w.left, groupSize)]
	w.left -= len(r)
	if w.step == 0 {
		for i := range r {
			r[i] = w.start
		}
		return r
	}
	if w.groups.next(r); w.in.err != nil {
		return nil
	}
	if !w.restore(r) {
		w.in.fail("a difference is more than %d steps of %d", w.low, w.step)
		return nil
	}
	return r
}

// restore makes values of residuals. It reports whether all are within the span.
func (w *wholes) restore(r []uint64) (ok bool) {
	ok = true
	v, step, low, span := w.before, w.step, w.low, w.span
	switch w.form {
	case formPlain:
		for i, q := range r {
			ok = ok && q <= span-low
			r[i] = w.start + step*q
		}
	case formDelta:
		for i, q := range r {
			q += w.base
			ok = ok && q+low <= span
			v += step * q
			r[i] = v
		}
	case formZigzag:
		for i, z := range r {
			q := uint64(unzigzag(z))
			ok = ok && q+low <= span
			v += step * q
			r[i] = v
		}
	case formDeltaOfDelta:
		for i, z := range r {
			w.some |= z
			w.delta += uint64(unzigzag(z))
			ok = ok && w.delta+low <= span
			v += step * w.delta
			r[i] = v
		}
	}
	w.before = v
	return ok
}
