package points

import (
	"hash/maphash"
	"math"

	"muster/shardmap/points/column"
)

// Builder takes points one after the other, and makes columns of them. It is for one goroutine, and can
// be used again: then it allocates only where a batch is larger than those before.
//
// # Duties of the caller
//
//  1. [Builder.Begin] with the key of the point's series.
//  2. For each field of it, [Builder.Field] with its name, or [Builder.Expected] where that is the one,
//     then one of Float, Integer, Unsigned, String and Boolean with the number that it returned.
//  3. [Builder.Commit] with the time of the point.
//  4. [Builder.Batch] once, after the last point.
//
// After a call that refuses something the point has no more calls, but for [Builder.Rollback], after
// which the builder is as it was before Begin. It keeps nothing of the bytes that it is handed.
type Builder struct {
	text   []byte     // keys of series, names of measurements and fields, strings
	keys   dictionary // of series
	names  dictionary // of measurements, which have no parent, and of their fields
	series []series   // by the number of the key
	fields []field    // by the number of the name
	points []point
	// bits and owners have the values of all points, one after the other: bits as a [Column] has
	// them, and the number of the field.
	bits   []uint64
	owners []uint32
	reader keyReader

	// now is the point that is being built: its series, and the name that came last in it.
	now struct{ series, last uint32 }
	// kept is how much of each list belongs to points that were committed.
	kept struct{ text, series, names, values int }

	made maker // of what Batch returns
}

type series struct {
	measurement uint32 // its number among the names
	points      uint32 // how many there are; in Batch, where they end in the order of series
}

// field is what is known of a measurement or a field, beside its name and kind.
type field struct {
	next   uint32 // the name that came after it the last time; it may have been taken back since
	column uint32 // in Batch: its column in the series that is being made
}

type point struct {
	time   int64
	series uint32
	end    uint32 // its values end there, where those of the next one begin
}

// noParent is the parent of measurements; a field's is the number of its measurement + 1.
const noParent = 0

// Up to how many points, values and bytes of text a builder keeps its memory for the next batch: some 16 MB.
// One large batch would otherwise hold hundreds for ever.
const (
	keptPoints = 1 << 16
	keptValues = 1 << 18
	keptText   = 4 << 20
)

// NewBuilder returns a builder without points.
func NewBuilder() *Builder {
	seed := maphash.MakeSeed()
	return &Builder{keys: dictionary{seed: seed}, names: dictionary{seed: seed}}
}

// Reset takes out all points. A batch that the builder made is no longer valid.
func (b *Builder) Reset() {
	if cap(b.points) > keptPoints || cap(b.bits) > keptValues || cap(b.text) > keptText {
		*b = *NewBuilder()
		return
	}
	b.keys.reset(b.text)
	b.names.reset(b.text)
	b.text, b.series, b.fields = b.text[:0], b.series[:0], b.fields[:0]
	b.points, b.bits, b.owners = b.points[:0], b.bits[:0], b.owners[:0]
	b.kept = struct{ text, series, names, values int }{}
	b.made.reset()
}

// Reserve makes room for some points, values, and bytes of names and strings in all: lists that grow
// take several times as much on their way. More may come.
func (b *Builder) Reserve(points, values, text int) {
	points, values = min(points, PointsMax), min(values, ValuesMax)
	b.points = reserve(b.points, points)
	b.series = reserve(b.series, points) // each point may be of another
	b.keys.room(b.text, points)
	b.bits = reserve(b.bits, values)
	b.owners = reserve(b.owners, values)
	b.text = reserve(b.text, min(text, TextMax))
}

// Len returns how many points were committed.
func (b *Builder) Len() int { return len(b.points) }

// Begin begins a point of the series with this key; its tags may be in any order.
func (b *Builder) Begin(key []byte) Error {
	if len(b.points) == PointsMax || len(b.text)+2*len(key) > TextMax {
		return Refuse(BatchFull, nil)
	}
	// Most clients write keys in order, and then the key as it stands is found without a look into it:
	// what is in the dictionary is a key, and reads as itself.
	hash := b.keys.hash(noParent, key)
	if n, ok := b.keys.find(b.text, hash, noParent, key); ok {
		b.now.series, b.now.last = n, b.series[n].measurement
		return Error{}
	}
	if bad := b.reader.read(key); !bad.None() {
		return bad
	}
	from := len(b.text)
	if b.reader.sorted {
		b.text = append(b.grown(len(key)), key...)
	} else {
		b.text = b.reader.append(b.grown(len(key)), key)
		sorted := b.text[from:]
		hash = b.keys.hash(noParent, sorted)
		if n, ok := b.keys.find(b.text[:from], hash, noParent, sorted); ok {
			b.text = b.text[:from]
			b.now.series, b.now.last = n, b.series[n].measurement
			return Error{}
		}
	}
	b.now.series = b.keys.add(b.text, hash, entry{from: uint32(from), length: uint16(len(key))})
	b.now.last = b.measurement(from, key[:b.reader.measurement])
	b.series = push(b.series, series{measurement: b.now.last})
	return Error{}
}

// grown returns the text with room for n more bytes.
func (b *Builder) grown(n int) []byte {
	if len(b.text)+n > cap(b.text) {
		return reserve(b.text, max(len(b.text)+n, 2*cap(b.text)))
	}
	return b.text
}

// measurement returns the number of a measurement, which stands at the beginning of a key in the text.
func (b *Builder) measurement(from int, name []byte) uint32 {
	hash := b.names.hash(noParent, name)
	if n, ok := b.names.find(b.text, hash, noParent, name); ok {
		return n
	}
	return b.addName(hash, entry{from: uint32(from), length: uint16(len(name))})
}

// addName numbers the name of a measurement or a field. Most batches have few names. One that has many may have
// one for each point and each value, so then there is room for that at once: doubling up to it would
// take twice as much.
func (b *Builder) addName(hash uint32, e entry) uint32 {
	if n := len(b.fields); n == cap(b.names.names) {
		n = max(8, 2*n)
		if most := cap(b.bits) + cap(b.points); n > most/8 && n < most {
			n = most
		}
		b.names.room(b.text, n)
		b.fields = reserve(b.fields, n)
	}
	b.fields = append(b.fields, field{})
	return b.names.add(b.text, hash, e)
}

// parent returns what the fields of the point have for a parent.
func (b *Builder) parent() uint32 { return b.series[b.now.series].measurement + 1 }

// Expected returns the field, and its name as it is written, that came after the last one in an
// earlier point of the measurement; no name if there is none.
func (b *Builder) Expected() (field uint32, name []byte) {
	n := b.fields[b.now.last].next
	if n >= uint32(len(b.names.names)) || b.names.names[n].parent != b.parent() {
		return 0, nil
	}
	return n, b.names.names[n].in(b.text)
}

// Field returns the field of the point's measurement with this name, as it is written.
func (b *Builder) Field(name []byte) (uint32, Error) {
	parent := b.parent()
	hash := b.names.hash(parent, name)
	if n, ok := b.names.find(b.text, hash, parent, name); ok {
		return n, Error{}
	}
	if bad := checkName(name); !bad.None() {
		return 0, bad
	}
	if len(b.text)+len(name) > TextMax {
		return 0, Refuse(BatchFull, nil)
	}
	from := uint32(len(b.text))
	b.text = append(b.grown(len(name)), name...)
	return b.addName(hash, entry{parent: parent, from: from, length: uint16(len(name))}), Error{}
}

// put gives the point a value. A field that had none before is of this kind from now on; if the point
// is taken back the field is, too, since only this point can have brought it.
func (b *Builder) put(f uint32, k column.Kind, bits uint64) Error {
	x := &b.names.names[f]
	switch {
	case x.kind == 0:
		x.kind = k
	case x.kind != k:
		bad := Refuse(FieldTypeConflict, x.in(b.text))
		bad.Kind, bad.Had = k, x.kind
		return bad
	}
	if len(b.bits) == ValuesMax {
		return Refuse(BatchFull, nil)
	}
	b.bits, b.owners = push(b.bits, bits), push(b.owners, f)
	b.fields[b.now.last].next = f
	b.now.last = f
	return Error{}
}

// Float gives a field of the point a number. It must be neither infinite nor NaN.
func (b *Builder) Float(field uint32, v float64) Error {
	if v-v != 0 {
		return Refuse(InvalidNumber, b.names.names[field].in(b.text))
	}
	return b.put(field, column.Float, math.Float64bits(v))
}

// Integer gives a field of the point a number.
func (b *Builder) Integer(field uint32, v int64) Error {
	return b.put(field, column.Integer, uint64(v))
}

// Unsigned gives a field of the point a number.
func (b *Builder) Unsigned(field uint32, v uint64) Error { return b.put(field, column.Unsigned, v) }

// Boolean gives a field of the point a truth value.
func (b *Builder) Boolean(field uint32, v bool) Error {
	if v {
		return b.put(field, column.Boolean, 1)
	}
	return b.put(field, column.Boolean, 0)
}

// String gives a field of the point a text.
func (b *Builder) String(field uint32, v []byte) Error {
	if len(b.text)+len(v) > TextMax {
		return Refuse(BatchFull, nil)
	}
	from := uint64(len(b.text))
	b.text = append(b.grown(len(v)), v...)
	return b.put(field, column.String, from<<32|uint64(len(v)))
}

// Commit ends the point. Of points of one series and time the last one's values win, field by field.
func (b *Builder) Commit(time int64) Error {
	switch {
	case len(b.bits) == b.kept.values:
		return Refuse(MissingFields, nil)
	case time < TimeMin || time > TimeMax:
		return Refuse(TimeOutOfRange, nil)
	}
	b.points = push(b.points, point{time, b.now.series, uint32(len(b.bits))})
	b.series[b.now.series].points++
	b.kept.text, b.kept.series, b.kept.names, b.kept.values = len(b.text), len(b.series), len(b.fields), len(b.bits)
	return Error{}
}

// Rollback takes back all of the point that was begun and not committed: values, strings, and the
// series, measurement and fields that came with it. If none was begun it does nothing.
func (b *Builder) Rollback() {
	b.keys.truncate(b.text, b.kept.series)
	b.names.truncate(b.text, b.kept.names)
	b.series = b.series[:b.kept.series]
	b.fields = b.fields[:b.kept.names]
	b.bits = b.bits[:b.kept.values]
	b.owners = b.owners[:b.kept.values]
	b.text = b.text[:b.kept.text]
}
