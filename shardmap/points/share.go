package points

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math"
	"slices"

	"github.com/cespare/xxhash/v2"

	"muster/shardmap/points/column"
)

// ShareVersion is that of the bytes of a share, the columns in them included: another [column.Version] needs
// another one here, too.
const ShareVersion = 1

// The bytes of a share, which stand in the log of the group that keeps its shard:
//
//	u8      version: ShareVersion
//	uvarint points, as they were written
//	uvarint values
//	uvarint measurements, 1 at least; each, ascending by name:
//	    name    as it is written
//	    uvarint fields, 1 at least; each, ascending by name:
//	        uvarint how many bytes are those of the field before
//	        name    the rest
//	        u8      kind, a column.Kind
//	    uvarint shapes, 1 at least; each, ascending by its bytes:
//	        uvarint columns, 1 at least; each, ascending by field:
//	            uvarint 9 times how many fields are between that of the column before and its own; and if it has
//	                    the times of another column, how many lists of times back those are, 1 to 8
//	    uvarint series, 1 at least; each, ascending by key:
//	        uvarint how many bytes behind the measurement are those of the series before
//	        name    the rest of its key
//	    column  unsigned, for each series: its shape
//	    column  unsigned, for each list of times of each series: its length, 1 at least
//	    column  integers: the times
//	    column  for each field, of its kind: the values of all series that have it, one series behind the other
//	u64     xxhash64 of all before it, little-endian
//
// A name is a uvarint, its length, and as many bytes. Columns are those of package column, and uvarints have no
// byte more than they need.
//
// A column goes through all series of a measurement, since most writes bring a few points of many series: then each
// value has the cost of a long column, and not that of a column's head. Fields of a series share a list of times if
// theirs are equal: each column has one of the last listsCompared lists of its series if it can.
//
// Window and shard are not in the bytes: the entry names both.

// listsCompared is how many lists of times of a series a column is compared with. It bounds the work for series
// whose fields all have other times.
const listsCompared = 8

// Append appends the bytes of the share. Shares with equal columns and as many points have equal bytes, whatever the
// order of their series and fields.
func (s *Share) Append(dst []byte) []byte {
	w := shareWriter{b: &s.Batch, field: make([]uint32, len(s.Batch.names))}
	w.collect()
	begin := len(dst)
	dst = append(dst, ShareVersion)
	dst = binary.AppendUvarint(dst, uint64(s.Batch.points))
	dst = binary.AppendUvarint(dst, uint64(s.Batch.Values()))
	dst = binary.AppendUvarint(dst, uint64(w.measurements()))
	for rest := w.series; len(rest) > 0; {
		n := 1
		for n < len(rest) && bytes.Equal(rest[n].measurement(), rest[0].measurement()) {
			n++
		}
		dst = w.append(dst, rest[:n])
		rest = rest[n:]
	}
	return binary.LittleEndian.AppendUint64(dst, xxhash.Sum64(dst[begin:]))
}

// shareWriter makes bytes of a batch.
type shareWriter struct {
	b      *Batch
	series []sharedSeries // all of them, in order
	field  []uint32       // of a name of the batch: which field of its measurement it is

	fields []uint32 // of the measurement: their names in the batch, in order
	shapes []byte   // of its series, one behind the other
	counts []uint64 // of its lists
	times  []int64
	of     []extent // columns of a field

	bits     []uint64 // scratch of values
	integers []int64
	floats   []float64
	booleans []bool
	strings  []string
}

// sharedSeries is a series of a share.
type sharedSeries struct {
	key     []byte
	name    int // length of the measurement
	extents []extent
	from    int // of its shape
	to      int
}

func (s *sharedSeries) measurement() []byte { return s.key[:s.name] }
func (s *sharedSeries) tags() []byte        { return s.key[s.name:] }

// collect puts the series in order.
func (w *shareWriter) collect() {
	w.series = make([]sharedSeries, 0, len(w.b.rows))
	for s := range w.b.Series() {
		key := s.Key()
		w.series = append(w.series, sharedSeries{key: key, name: unescaped(key, 0, ',', ','), extents: s.extents})
	}
	slices.SortFunc(w.series, func(a, b sharedSeries) int {
		return cmp.Or(bytes.Compare(a.measurement(), b.measurement()), bytes.Compare(a.tags(), b.tags()))
	})
}

func (w *shareWriter) measurements() (n int) {
	for i := range w.series {
		if i == 0 || !bytes.Equal(w.series[i].measurement(), w.series[i-1].measurement()) {
			n++
		}
	}
	return n
}

// append appends a measurement with its series.
func (w *shareWriter) append(dst []byte, series []sharedSeries) []byte {
	dst = appendName(dst, series[0].measurement())
	w.number(series)
	dst = binary.AppendUvarint(dst, uint64(len(w.fields)))
	var before []byte
	for _, n := range w.fields {
		dst = append(appendRest(dst, w.name(n), before), byte(w.b.names[n].kind))
		before = w.name(n)
	}
	w.shapes, w.counts, w.times = w.shapes[:0], w.counts[:0], w.times[:0]
	for i := range series {
		w.shape(&series[i])
	}
	dst, which := w.appendShapes(dst, series)
	dst = binary.AppendUvarint(dst, uint64(len(series)))
	before = nil
	for i := range series {
		dst = appendRest(dst, series[i].tags(), before)
		before = series[i].tags()
	}
	dst = column.AppendUnsigned(dst, which)
	dst = column.AppendUnsigned(dst, w.counts)
	dst = column.AppendIntegers(dst, w.times)
	return w.appendValues(dst, series)
}

func (w *shareWriter) name(n uint32) []byte { return w.b.names[n].in(w.b.text) }

// number puts the fields of a measurement in order, and the columns of its series in that of their fields.
func (w *shareWriter) number(series []sharedSeries) {
	w.fields = w.fields[:0]
	for _, s := range series {
		for _, x := range s.extents {
			w.field[x.name] = math.MaxUint32
		}
	}
	for _, s := range series {
		for _, x := range s.extents {
			if w.field[x.name] == math.MaxUint32 {
				w.field[x.name] = 0
				w.fields = append(w.fields, x.name)
			}
		}
	}
	slices.SortFunc(w.fields, func(a, b uint32) int { return bytes.Compare(w.name(a), w.name(b)) })
	for i, n := range w.fields {
		w.field[n] = uint32(i)
	}
	order := func(x, y extent) int { return cmp.Compare(w.field[x.name], w.field[y.name]) }
	for i := range series {
		if s := &series[i]; !slices.IsSortedFunc(s.extents, order) {
			s.extents = slices.Clone(s.extents) // the batch keeps its order
			slices.SortFunc(s.extents, order)
		}
	}
}

// shape makes the shape of a series, and appends its lists of times.
func (w *shareWriter) shape(s *sharedSeries) {
	var lists lists
	s.from = len(w.shapes)
	w.shapes = binary.AppendUvarint(w.shapes, uint64(len(s.extents)))
	next := uint32(0)
	for _, x := range s.extents {
		f := w.field[x.name]
		times := w.b.timesOf(x)
		back := lists.find(times)
		if back == 0 {
			lists.add(times)
			w.counts = append(w.counts, uint64(len(times)))
			w.times = append(w.times, times...)
		}
		w.shapes = binary.AppendUvarint(w.shapes, uint64(f-next)*(listsCompared+1)+uint64(back))
		next = f + 1
	}
	s.to = len(w.shapes)
}

// lists are the lists of times of a series, of which the last few are compared.
type lists struct {
	n    int
	last [listsCompared][]int64
}

// find returns how many lists back a list with these times is; 0: none of the last ones has them.
func (l *lists) find(times []int64) (back int) {
	for i := l.n - 1; i >= max(0, l.n-listsCompared); i-- {
		if slices.Equal(l.last[i%listsCompared], times) {
			return l.n - i
		}
	}
	return 0
}

func (l *lists) add(times []int64) {
	l.last[l.n%listsCompared] = times
	l.n++
}

// appendShapes appends the different shapes of some series, and returns which one each of them has.
func (w *shareWriter) appendShapes(dst []byte, series []sharedSeries) ([]byte, []uint64) {
	var shapes []string
	numbers := map[string]uint64{}
	for _, s := range series {
		shape := w.shapes[s.from:s.to]
		if _, ok := numbers[string(shape)]; !ok {
			shapes = append(shapes, string(shape))
			numbers[string(shape)] = 0
		}
	}
	slices.Sort(shapes)
	dst = binary.AppendUvarint(dst, uint64(len(shapes)))
	for i, shape := range shapes {
		dst = append(dst, shape...)
		numbers[shape] = uint64(i)
	}
	which := make([]uint64, len(series))
	for i, s := range series {
		which[i] = numbers[string(w.shapes[s.from:s.to])]
	}
	return dst, which
}

// appendValues appends a column for each field.
func (w *shareWriter) appendValues(dst []byte, series []sharedSeries) []byte {
	// Columns by field, by counting: those of a field stay in the order of their series.
	ends := make([]int, len(w.fields)+1)
	for _, s := range series {
		for _, x := range s.extents {
			ends[w.field[x.name]+1]++
		}
	}
	for i := range w.fields {
		ends[i+1] += ends[i]
	}
	w.of = sized(w.of, ends[len(w.fields)])
	for _, s := range series {
		for _, x := range s.extents {
			at := &ends[w.field[x.name]]
			w.of[*at] = x
			*at++
		}
	}
	from := 0
	for i, n := range w.fields {
		w.bits = w.bits[:0]
		for _, x := range w.of[from:ends[i]] {
			w.bits = append(w.bits, w.b.bits[x.from:x.to]...)
		}
		dst = w.appendColumn(dst, w.b.names[n].kind)
		from = ends[i]
	}
	return dst
}

// appendColumn appends the bits as a column of a kind.
func (w *shareWriter) appendColumn(dst []byte, k column.Kind) []byte {
	switch k {
	case column.Float:
		w.floats = w.floats[:0]
		for _, v := range w.bits {
			w.floats = append(w.floats, math.Float64frombits(v))
		}
		return column.AppendFloats(dst, w.floats)
	case column.Integer:
		w.integers = w.integers[:0]
		for _, v := range w.bits {
			w.integers = append(w.integers, int64(v))
		}
		return column.AppendIntegers(dst, w.integers)
	case column.Unsigned:
		return column.AppendUnsigned(dst, w.bits)
	case column.Boolean:
		w.booleans = w.booleans[:0]
		for _, v := range w.bits {
			w.booleans = append(w.booleans, v != 0)
		}
		return column.AppendBooleans(dst, w.booleans)
	}
	w.strings = w.strings[:0]
	for _, v := range w.bits {
		w.strings = append(w.strings, string(textAt(w.b.text, v)))
	}
	return column.AppendStrings(dst, w.strings)
}

func appendName(dst, name []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(name))), name...)
}

// appendRest appends how much of a name is the same as in the one before, and the rest.
func appendRest(dst, name, before []byte) []byte {
	shared := 0
	for shared < min(len(name), len(before)) && name[shared] == before[shared] {
		shared++
	}
	return appendName(binary.AppendUvarint(dst, uint64(shared)), name[shared:])
}
