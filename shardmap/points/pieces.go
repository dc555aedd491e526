package points

import (
	"iter"
	"slices"
)

// Pieces yields the bytes of the share, as [Share.Append] makes them, in pieces of at most so many bytes and values: its
// series in several, or else the times of one series, or else the fields of one point. A piece of a single value may
// have more bytes. All have together the columns of the share and its points; a point of which two pieces have fields counts in
// one of them. The same share makes the same pieces. The bytes are the caller's own. A share that was read can't be
// taken apart.
func (s *Share) Pieces(bytes, values int) iter.Seq[Piece] {
	return func(yield func(Piece) bool) { s.pieces(bytes, min(values, bytes), s.Batch.points, yield) }
}

// Piece is a part of a share.
type Piece struct {
	Bytes  []byte
	Points int // as they were written; 0: another piece has the point
	Values int
}

// pieces yields the pieces of a share of which so many points count here.
func (s *Share) pieces(bytes, values, count int, yield func(Piece) bool) bool {
	// Most values take a byte or more, so a share of more values than bytes is not tried as a whole: that would cost as much
	// as its pieces.
	if n := s.Batch.Values(); n == 1 || n <= values {
		if b := s.Append(nil); len(b) <= bytes || n == 1 {
			return yield(Piece{b, count, n})
		}
	}
	left, right := s.halves()
	rest := max(0, count-left.Batch.points) // below 0 of fields whose point counts in another piece
	return left.pieces(bytes, values, count-rest, yield) && right.pieces(bytes, values, rest, yield)
}

// halves takes a share of at least two values apart.
func (s *Share) halves() (left, right Share) {
	b := &s.Batch
	if n := len(b.rows); n > 1 {
		return s.halvesOfSeries(n / 2)
	}
	first, last := b.times[b.extents[0].times], b.timesOf(b.extents[0])[0]
	for _, x := range b.extents {
		times := b.timesOf(x)
		first, last = min(first, times[0]), max(last, times[len(times)-1])
	}
	if first < last {
		return s.halvesOfTimes(first + int64(uint64(last-first)/2))
	}
	return s.halvesOfFields(len(b.extents) / 2)
}

// part is a share like s of some rows and columns.
func (s *Share) part(rows []row, extents []extent, written []point) Share {
	p := *s
	p.Batch.rows, p.Batch.extents, p.Batch.written, p.Batch.points = rows, extents, written, len(written)
	return p
}

// halvesOfSeries takes the first n series and the others apart.
func (s *Share) halvesOfSeries(n int) (left, right Share) {
	b := &s.Batch
	end := b.rows[n-1].end
	lower := slices.Clone(b.rows[n:])
	for i := range lower {
		lower[i].end -= end
	}
	in := make([]bool, len(b.keys)) // the left one
	for _, r := range b.rows[:n] {
		in[r.key] = true
	}
	here, there := b.apart(func(p point) bool { return in[p.series] })
	return s.part(b.rows[:n], b.extents[:end], here), s.part(lower, b.extents[end:], there)
}

// halvesOfTimes takes apart what a single series has up to a time, and behind it.
func (s *Share) halvesOfTimes(last int64) (left, right Share) {
	b := &s.Batch
	var until, behind []extent
	for _, x := range b.extents {
		times := b.timesOf(x)
		n, found := slices.BinarySearch(times, last)
		if found {
			n++
		}
		u, v := x, x
		u.to = x.from + uint32(n)
		v.from, v.times = u.to, x.times+uint32(n)
		if u.from < u.to {
			until = append(until, u)
		}
		if v.from < v.to {
			behind = append(behind, v)
		}
	}
	here, there := b.apart(func(p point) bool { return p.time <= last })
	key := b.rows[0].key
	return s.part([]row{{key, uint32(len(until))}}, until, here), s.part([]row{{key, uint32(len(behind))}}, behind, there)
}

// halvesOfFields takes the first n fields of a single point and the others apart. Both have what was written of the point,
// and it counts in the first one.
func (s *Share) halvesOfFields(n int) (left, right Share) {
	b := &s.Batch
	key := b.rows[0].key
	return s.part([]row{{key, uint32(n)}}, b.extents[:n], b.written), s.part([]row{{key, uint32(len(b.extents) - n)}}, b.extents[n:], b.written)
}

// apart parts the points as they were written.
func (b *Batch) apart(left func(point) bool) (here, there []point) {
	for _, p := range b.written {
		if left(p) {
			here = append(here, p)
		} else {
			there = append(there, p)
		}
	}
	return here, there
}
