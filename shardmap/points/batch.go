package points

import (
	"iter"
	"math"

	"muster/shardmap/points/column"
)

// Batch is the points of one write as columns: for each series its fields, for each field its times,
// which grow, and its values. No time comes twice in a column. The series stand in the order in which
// the write brought them, and so do the fields of each; the same points in the same order make the
// same batch.
//
// It has no pointers but those of its lists, so that a collector has nothing to look for in it. A
// batch that a [Builder] made is valid until the builder's Reset; so are its shares.
type Batch struct {
	text    []byte
	keys    []entry // of series
	names   []entry // of fields
	rows    []row
	extents []extent
	times   []int64
	bits    []uint64
	points  int
	// written are the points as they came, to be counted where the batch is taken apart. One that a [ShareReader] read
	// has none.
	written []point
}

// row is a series of a batch. Its columns begin where those of the row before it end.
type row struct {
	key uint32 // its number among the keys
	end uint32 // of its columns
}

// extent is a column: where its times and values are in the lists.
type extent struct {
	name     uint32 // the number of its field among the names
	from, to uint32 // of its values
	times    uint32 // where its times begin; columns that a [ShareReader] read may share them
}

func (b *Batch) timesOf(x extent) []int64 {
	to := x.times + x.to - x.from
	return b.times[x.times:to:to]
}

// Points returns how many points were written. Points of one series and time count one by one, though
// only the last of them is in the columns.
func (b *Batch) Points() int { return b.points }

// Names returns how many names there are: the numbers of fields are below it.
func (b *Batch) Names() int { return len(b.names) }

// SeriesLen returns how many series there are.
func (b *Batch) SeriesLen() int { return len(b.rows) }

// Values returns how many values the columns have in all.
func (b *Batch) Values() (n int) {
	for _, s := range b.extents {
		n += int(s.to - s.from)
	}
	return n
}

// Series goes through the series in order.
func (b *Batch) Series() iter.Seq[SeriesColumns] {
	return func(yield func(SeriesColumns) bool) {
		from := uint32(0)
		for _, r := range b.rows {
			if !yield(SeriesColumns{b, r.key, b.extents[from:r.end]}) {
				return
			}
			from = r.end
		}
	}
}

// SeriesColumns is one series of a batch with its columns.
type SeriesColumns struct {
	b       *Batch
	key     uint32
	extents []extent
}

// Key returns the key of the series. It is the batch's, and not to be changed.
func (s SeriesColumns) Key() []byte { return s.b.keys[s.key].in(s.b.text) }

// Columns goes through the fields in order.
func (s SeriesColumns) Columns() iter.Seq[Column] {
	return func(yield func(Column) bool) {
		for _, x := range s.extents {
			if !yield(s.b.column(x)) {
				return
			}
		}
	}
}

func (b *Batch) column(x extent) Column {
	name := b.names[x.name]
	return Column{
		Field: x.name,
		Name:  name.in(b.text),
		Kind:  name.kind,
		Times: b.timesOf(x),
		bits:  b.bits[x.from:x.to:x.to],
		text:  b.text,
	}
}

// Column is the values of one field of one series. All of it is the batch's, and not to be changed.
type Column struct {
	Field uint32 // the number of its field: columns of a measurement that are of one field have one number
	Name  []byte // of the field, as it is written; [ParseName] takes out the escapes
	Kind  column.Kind
	Times []int64 // in nanoseconds since 1970 UTC; Invariant: each is larger than the one before

	// bits has a value for each time: of a float its bits, of an integer its two's complement, of a
	// boolean 0 or 1, of a string where it is in the text: from<<32 | length.
	bits []uint64
	text []byte
}

// Len returns how many values there are.
func (c Column) Len() int { return len(c.Times) }

// AppendFloats appends the values of a column of kind [column.Float].
func (c Column) AppendFloats(dst []float64) []float64 {
	for _, v := range c.of(column.Float) {
		dst = append(dst, math.Float64frombits(v))
	}
	return dst
}

// AppendIntegers appends the values of a column of kind [column.Integer].
func (c Column) AppendIntegers(dst []int64) []int64 {
	for _, v := range c.of(column.Integer) {
		dst = append(dst, int64(v))
	}
	return dst
}

// AppendUnsigned appends the values of a column of kind [column.Unsigned].
func (c Column) AppendUnsigned(dst []uint64) []uint64 { return append(dst, c.of(column.Unsigned)...) }

// AppendBooleans appends the values of a column of kind [column.Boolean].
func (c Column) AppendBooleans(dst []bool) []bool {
	for _, v := range c.of(column.Boolean) {
		dst = append(dst, v != 0)
	}
	return dst
}

// AppendStrings appends the values of a column of kind [column.String], each a copy.
func (c Column) AppendStrings(dst []string) []string {
	for _, v := range c.of(column.String) {
		dst = append(dst, string(textAt(c.text, v)))
	}
	return dst
}

// Bits returns the values as 64 bits each: of a float its bits, of an integer its two's complement, of a boolean 0
// or 1, and of a string what Text reads.
func (c Column) Bits() []uint64 { return c.bits }

// Text returns the string of which bits are in a column of kind [column.String].
func (c Column) Text(bits uint64) []byte { return textAt(c.text, bits) }

// of returns the values of a column that the caller knows to be of a kind; of another they would be
// read as what they are not.
func (c Column) of(k column.Kind) []uint64 {
	if c.Kind != k {
		panic("points: a column of kind " + c.Kind.String() + " read as " + k.String())
	}
	return c.bits
}

func textAt(text []byte, bits uint64) []byte {
	return text[bits>>32:][: bits&math.MaxUint32 : bits&math.MaxUint32]
}

// Value returns the i-th value.
func (c Column) Value(i int) Value {
	v := Value{Kind: c.Kind, bits: c.bits[i]}
	if c.Kind == column.String {
		v.text, v.bits = string(textAt(c.text, v.bits)), 0
	}
	return v
}
