package points

import (
	"cmp"
	"slices"
)

// maker makes a batch of what a builder has. Its lists are used again.
type maker struct {
	batch Batch
	order []uint32 // the points by series, and those of a series as they came
	pairs []pair   // of a column that must be sorted
}

type pair struct {
	time int64
	bits uint64
	turn uint32
}

func (m *maker) reset() {
	b := &m.batch
	*b = Batch{rows: b.rows[:0], extents: b.extents[:0], times: b.times[:0]}
}

// Batch returns the points that were committed. After it the builder is good for Reset alone: the batch
// has its memory.
func (b *Builder) Batch() *Batch {
	m := &b.made
	x := &m.batch
	x.text, x.keys, x.names = b.text, b.keys.names, b.names.names
	x.points, x.written = len(b.points), b.points
	x.rows = reserve(x.rows[:0], len(b.series))
	x.extents = reserve(x.extents[:0], min(len(b.bits), len(b.series)*len(b.fields)))
	x.times = sized(x.times, len(b.bits))

	m.sortPoints(b)
	from, filled := uint32(0), uint32(0)
	for n, s := range b.series {
		first := len(x.extents)
		filled = m.layOut(b, m.order[from:s.points], first, filled)
		m.direct(b, m.order[from:s.points])
		x.rows = append(x.rows, row{uint32(n), uint32(len(x.extents))})
		from = s.points
	}
	permute(b.bits, b.owners)
	x.bits = b.bits
	for i := range x.extents {
		m.settle(&x.extents[i])
	}
	return x
}

// sortPoints puts the points in the order of their series, by counting: those of one series stay as
// they came. After it a series knows where its points end in that order.
func (m *maker) sortPoints(b *Builder) {
	m.order = sized(m.order, len(b.points))
	at := uint32(0)
	for n := range b.series {
		s := &b.series[n]
		s.points, at = at, at+s.points
	}
	for i, p := range b.points {
		s := &b.series[p.series]
		m.order[s.points] = uint32(i)
		s.points++
	}
}

// valuesOf returns where the values of the i-th point begin and end.
func (b *Builder) valuesOf(i uint32) (from, to uint32) {
	if i > 0 {
		from = b.points[i-1].end
	}
	return from, b.points[i].end
}

// layOut makes a column for each field that the points of one series have, and gives it room from filled on for as many
// values as there are. The first of the columns has the number first. It returns where the room ends.
func (m *maker) layOut(b *Builder, points []uint32, first int, filled uint32) uint32 {
	extents := m.batch.extents
	for _, i := range points {
		from, to := b.valuesOf(i)
		for _, owner := range b.owners[from:to] {
			f := &b.fields[owner]
			// The column that the field knows may be one of an earlier series.
			if at := int(f.column); at < first || at >= len(extents) || extents[at].name != owner {
				f.column = uint32(len(extents))
				extents = append(extents, extent{name: owner})
			}
			extents[f.column].to++
		}
	}
	for i := first; i < len(extents); i++ {
		x := &extents[i]
		x.from, x.to, x.times, filled = filled, filled, filled, filled+x.to
	}
	m.batch.extents = extents
	return filled
}

// direct writes the times of one series' points into the room of their columns, and into the
// place of each value's owner where the value belongs.
func (m *maker) direct(b *Builder, points []uint32) {
	for _, i := range points {
		from, to := b.valuesOf(i)
		for at, owner := range b.owners[from:to] {
			x := &m.batch.extents[b.fields[owner].column]
			m.batch.times[x.to] = b.points[i].time
			b.owners[from:to][at] = x.to
			x.to++
		}
	}
}

// permute brings each of the bits to the place that stands beside it. It follows each circle of places, and
// needs no second list.
func permute(bits []uint64, places []uint32) {
	for i := range bits {
		for places[i] != uint32(i) {
			j := places[i]
			bits[i], bits[j] = bits[j], bits[i]
			places[i], places[j] = places[j], places[i]
		}
	}
}

// settle sorts a column by time, and keeps the last value of each time.
func (m *maker) settle(x *extent) {
	times, bits := m.batch.times[x.from:x.to], m.batch.bits[x.from:x.to]
	strictly, sorted := true, true
	for i := 1; i < len(times); i++ {
		strictly = strictly && times[i-1] < times[i]
		sorted = sorted && times[i-1] <= times[i]
	}
	if strictly {
		return // as most columns are
	}
	if !sorted {
		m.sort(times, bits)
	}
	kept := 0
	for i := range times {
		if i+1 < len(times) && times[i+1] == times[i] {
			continue // a later one wins
		}
		times[kept], bits[kept] = times[i], bits[i]
		kept++
	}
	x.to = x.from + uint32(kept)
}

// sort sorts by time, and what has one time by turn.
func (m *maker) sort(times []int64, bits []uint64) {
	m.pairs = sized(m.pairs, len(times))
	for i := range m.pairs {
		m.pairs[i] = pair{times[i], bits[i], uint32(i)}
	}
	slices.SortFunc(m.pairs, func(a, b pair) int {
		if c := cmp.Compare(a.time, b.time); c != 0 {
			return c
		}
		return cmp.Compare(a.turn, b.turn)
	})
	for i, p := range m.pairs {
		times[i], bits[i] = p.time, p.bits
	}
}
