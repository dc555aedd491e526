package shard

import (
	"slices"

	"muster/shardmap/points/column"
)

// Piece is values of one field of one series, in order of time; each time is there once.
type Piece struct {
	Times  []int64
	Values column.Values

	fill []bool // as that of cells
}

// slice returns a part of a piece, with its memory.
func (p *Piece) slice(from, to int) Piece {
	q := Piece{Times: p.Times[from:to], Values: column.Values{Kind: p.Values.Kind}}
	switch p.Values.Kind {
	case column.Float:
		q.Values.Floats = p.Values.Floats[from:to]
	case column.Integer:
		q.Values.Integers = p.Values.Integers[from:to]
	case column.Unsigned:
		q.Values.Unsigned = p.Values.Unsigned[from:to]
	case column.Boolean:
		q.Values.Booleans = p.Values.Booleans[from:to]
	case column.String:
		q.Values.Strings = p.Values.Strings[from:to]
	}
	if p.fill != nil {
		q.fill = p.fill[from:to]
	}
	return q
}

// append appends a part of another piece, without its fills.
func (p *Piece) append(q *Piece, from, to int) {
	p.Times = append(p.Times, q.Times[from:to]...)
	v, w := &p.Values, &q.Values
	v.Kind = w.Kind
	switch w.Kind {
	case column.Float:
		v.Floats = append(v.Floats, w.Floats[from:to]...)
	case column.Integer:
		v.Integers = append(v.Integers, w.Integers[from:to]...)
	case column.Unsigned:
		v.Unsigned = append(v.Unsigned, w.Unsigned[from:to]...)
	case column.Boolean:
		v.Booleans = append(v.Booleans, w.Booleans[from:to]...)
	case column.String:
		v.Strings = append(v.Strings, w.Strings[from:to]...)
	}
}

func (p *Piece) reset() {
	v := &p.Values
	clear(v.Strings) // they hold the text of a block
	p.Times, p.fill = p.Times[:0], nil
	v.Floats, v.Integers, v.Unsigned, v.Booleans, v.Strings = v.Floats[:0], v.Integers[:0], v.Unsigned[:0], v.Booleans[:0], v.Strings[:0]
}

// source gives values of a field piece by piece. Each begins behind the one before, and none is empty. A piece is good
// until the next call; nil is the end.
type source interface {
	next() (*Piece, error)
}

// merger makes one column of several sources, the oldest first: of values of one time the newest counts, but a fill
// only where no older one is.
type merger struct {
	streams  []stream
	acc, tmp Piece
	rest     Piece // of the only source that has some
}

// stream is a source with the piece of which a part is still to come.
type stream struct {
	source source
	piece  *Piece // nil: another one is due
	at     int
	ended  bool
}

// begin takes the sources of another column.
func (m *merger) begin(sources ...source) {
	m.streams = m.streams[:0]
	for _, s := range sources {
		m.streams = append(m.streams, stream{source: s})
	}
}

// next returns the next piece, good until the next call; nil: there is none. It holds a piece of each source, however long
// the column is.
func (m *merger) next() (*Piece, error) {
	bound, alive := int64(0), 0
	for i := range m.streams {
		s := &m.streams[i]
		if s.piece == nil && !s.ended {
			var err error
			if s.piece, err = s.source.next(); err != nil {
				return nil, err
			}
			s.at, s.ended = 0, s.piece == nil
		}
		if s.piece == nil {
			continue
		}
		// Up to here all sources have shown what they have.
		if last := s.piece.Times[len(s.piece.Times)-1]; alive == 0 || last < bound {
			bound = last
		}
		alive++
	}
	switch alive {
	case 0:
		return nil, nil
	case 1:
		for i := range m.streams {
			if s := &m.streams[i]; s.piece != nil {
				m.rest = s.piece.slice(s.at, len(s.piece.Times))
				s.piece = nil
			}
		}
		return &m.rest, nil
	}
	m.acc.reset()
	first := true
	for i := range m.streams {
		s := &m.streams[i]
		if s.piece == nil {
			continue
		}
		to := len(s.piece.Times)
		if s.piece.Times[to-1] > bound {
			n, found := slices.BinarySearch(s.piece.Times[s.at:], bound)
			if to = s.at + n; found {
				to++
			}
		}
		if to > s.at && !(bug(bugLate) && m.late(i)) {
			part := s.piece.slice(s.at, to)
			if first {
				m.acc.append(&part, 0, len(part.Times))
			} else {
				m.tmp.reset()
				m.tmp.merge(&m.acc, &part)
				m.acc, m.tmp = m.tmp, m.acc
			}
			first = false
		}
		if s.at = to; to == len(s.piece.Times) {
			s.piece = nil
		}
	}
	return &m.acc, nil
}

// bugLate is planted to show that its test finds it: values are lost if an older source has later ones.
const bugLate = "late point lost in a merge"

// late reports whether an older source has a value behind the next one of a stream.
func (m *merger) late(i int) bool {
	s := &m.streams[i]
	for j := range i {
		if p := m.streams[j].piece; p != nil && p.Times[len(p.Times)-1] > s.piece.Times[s.at] {
			return true
		}
	}
	return false
}

// merge makes p of two pieces, of which the second is the newer one.
func (p *Piece) merge(a, b *Piece) {
	i, j := 0, 0
	for i < len(a.Times) && j < len(b.Times) {
		switch x, y := a.Times[i], b.Times[j]; {
		case x < y:
			to := i + 1
			for to < len(a.Times) && a.Times[to] < y {
				to++
			}
			p.append(a, i, to)
			i = to
		case y < x:
			to := j + 1
			for to < len(b.Times) && b.Times[to] < x {
				to++
			}
			p.append(b, j, to)
			j = to
		case b.fill != nil && b.fill[j] && !bug(bugFill):
			p.append(a, i, i+1)
			i, j = i+1, j+1
		default:
			p.append(b, j, j+1)
			i, j = i+1, j+1
		}
	}
	p.append(a, i, len(a.Times))
	p.append(b, j, len(b.Times))
}
