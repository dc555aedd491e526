package points

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"

	"muster/shardmap/points/column"
)

// DamageError refuses bytes of a share that [Share.Append] does not make.
type DamageError struct {
	Offset int // of what is wrong, or behind it
	What   string
}

func (e *DamageError) Error() string {
	return fmt.Sprintf("the bytes of the share are damaged at byte %d: %s", e.Offset, e.What)
}

// VersionError refuses bytes of a share whose version this build does not know.
type VersionError struct{ Found, Known byte }

func (e *VersionError) Error() string {
	return fmt.Sprintf("the bytes of the share have version %d, this build knows version %d: use a newer build", e.Found, e.Known)
}

// ShareReader reads shares, one after the other. It is for one goroutine, and uses its memory again.
//
// It spends at most 256 bytes for each value of which the share tells, 64 for each byte of the share, and four times the
// keys, names and strings in it; some 40 bytes a value for most. [ShareValues] tells of the values before anything is
// spent; [ValuesMax] and [TextMax] bound both.
type ShareReader struct {
	batch  Batch
	window Window
	all, b []byte // the bytes of the share, and what is left of them
	err    error  // the first one

	values int // that are still to come
	// The measurement that is being read:
	fields  uint32 // where its fields begin among the names
	columns []shapeColumn
	shapes  []shape
	used    []bool // a field, or a shape, by series that have it
	before  []byte // the name of the last field, or what is behind the measurement in the last key
	which   []uint64
	counts  []uint64
	of      []uint32 // how many values each field has

	reader   keyReader
	floats   []float64 // scratch
	booleans []bool
	strings  []string
}

// shape is what columns a series has.
type shape struct {
	from, to int // its columns
	lists    uint32
}

type shapeColumn struct{ field, list uint32 }

// ShareValues returns of how many values the bytes of a share tell: reading it spends memory for them. Bytes that
// are no share have 0.
func ShareValues(b []byte) int {
	r := ShareReader{all: b, b: b}
	r.head()
	if r.err != nil {
		return 0
	}
	return r.values
}

// Read reads the bytes of a share of a window. The batch is good until the next call; its series and their
// fields are in order, and fields with equal times share them. An error is a [VersionError] or a [DamageError]; a
// time outside of the window is damage, too.
//
// It refuses whatever Append does not make, as far as it can tell without choosing the codings of the columns anew.
func (r *ShareReader) Read(b []byte, w Window) (*Batch, error) {
	r.window, r.all, r.b, r.err = w, b, b, nil
	x := &r.batch
	*x = Batch{text: x.text[:0], keys: x.keys[:0], names: x.names[:0], rows: x.rows[:0], extents: x.extents[:0], times: x.times[:0], bits: x.bits[:0]}
	r.head()
	if r.err == nil {
		end := len(r.all) - 8
		if got, want := xxhash.Sum64(r.all[:end]), binary.LittleEndian.Uint64(r.all[end:]); got != want {
			r.fail("it has checksum %016x, and says %016x", got, want)
		} else {
			r.b = r.b[:len(r.b)-8]
		}
	}
	var before []byte
	for n := r.uvarint("the number of measurements", 1, PointsMax); n > 0 && r.err == nil; n-- {
		before = r.measurement(before)
	}
	switch {
	case r.err != nil:
		return nil, r.err
	case len(r.b) > 0:
		r.fail("%d bytes stand behind the last measurement", len(r.b))
	case r.values > 0:
		r.fail("%d values of which it tells are missing", r.values)
	case x.points < len(x.rows):
		r.fail("it tells of %d points, and has %d series", x.points, len(x.rows))
	}
	if r.err != nil {
		return nil, r.err
	}
	return x, nil
}

func (r *ShareReader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = &DamageError{len(r.all) - len(r.b), fmt.Sprintf(format, args...)}
		r.b = nil
	}
}

// head reads what stands before the measurements.
func (r *ShareReader) head() {
	if len(r.b) < 1+8 {
		r.fail("it has %d bytes, which is no share", len(r.b))
		return
	}
	if v := r.b[0]; v != ShareVersion {
		r.err, r.b = &VersionError{v, ShareVersion}, nil
		return
	}
	r.b = r.b[1:]
	r.batch.points = r.uvarint("the number of points", 1, PointsMax)
	r.values = r.uvarint("the number of values", 1, ValuesMax)
	if r.err == nil && len(r.b) < 8 {
		r.fail("it ends before its checksum")
	}
}

func (r *ShareReader) uvarint(what string, least, most int) int {
	v, n := binary.Uvarint(r.b)
	switch {
	case r.err != nil:
		return 0
	case n <= 0 || n > 1 && r.b[n-1] == 0:
		r.fail("%s is no number, or has more bytes than it needs", what)
		return 0
	case v < uint64(least) || v > uint64(most):
		r.fail("%s is %d, want %d to %d", what, v, least, most)
		return 0
	}
	r.b = r.b[n:]
	return int(v)
}

// name reads a name. It is part of the bytes of the share.
func (r *ShareReader) name(what string, least, most int) []byte {
	n := r.uvarint(what, least, most)
	if n > len(r.b) {
		r.fail("%s has %d bytes, %d are left", what, n, len(r.b))
		return nil
	}
	name := r.b[:n:n]
	r.b = r.b[n:]
	return name
}

// rest reads a name of which the beginning is that of the one before. It is good until the next call.
func (r *ShareReader) rest(what string, first bool, most int) []byte {
	shared := r.uvarint("how much of a name is shared", 0, len(r.before))
	rest := r.name("the rest of a name", 0, most-shared)
	// It ascends, and shares all that it can, if it goes on with a larger byte or where the other one ends.
	if r.err == nil && !first && (len(rest) == 0 || shared < len(r.before) && rest[0] <= r.before[shared]) {
		r.fail("%s does not follow the one before", what)
	}
	r.before = append(r.before[:shared], rest...)
	return r.before
}

// measurement reads a measurement with its series, and returns its name. before is that of the one before.
func (r *ShareReader) measurement(before []byte) []byte {
	name := r.name("a measurement", 1, KeyMax)
	if r.err == nil && bytes.Compare(before, name) >= 0 {
		r.fail("measurement %q follows %q", cut(name), cut(before))
	}
	r.readFields()
	r.readShapes()
	first := len(r.batch.rows)
	r.readKeys(name)
	series := len(r.batch.keys) - first
	r.which = r.column(r.which, series, "which shapes there are")
	lists, columns := r.useShapes()
	if r.err == nil && (lists > r.values || columns > r.values) {
		r.fail("%d series have %d columns, %d values are left", series, columns, r.values)
	}
	r.counts = r.column(r.counts, lists, "how long lists of times are")
	r.readTimes()
	if r.err != nil {
		return nil
	}
	r.layOut(first)
	r.readValues(first)
	return name
}

func cut(name []byte) []byte { return name[:min(len(name), nameShown)] }

// column reads a column of n unsigned numbers.
func (r *ShareReader) column(dst []uint64, n int, what string) []uint64 {
	dst = dst[:0]
	if r.err != nil {
		return dst
	}
	values, rest, err := column.ReadUnsigned(r.b, dst, n)
	switch {
	case err != nil:
		r.damaged(err, "the column that tells "+what)
	case len(values) != n:
		r.fail("the column that tells %s has %d numbers, want %d", what, len(values), n)
	default:
		r.b = rest
	}
	return values
}

// damaged passes on the error of a column, with its place in the share.
func (r *ShareReader) damaged(err error, what string) {
	var d *column.DamageError
	if errors.As(err, &d) {
		r.fail("%s, %d bytes on: %s", what, d.Offset, d.What)
	}
	r.fail("%s: %v", what, err)
}

func (r *ShareReader) readFields() {
	r.fields = uint32(len(r.batch.names))
	r.before = r.before[:0]
	for n := r.uvarint("the number of fields", 1, len(r.b)); n > 0 && r.err == nil; n-- {
		name := r.rest("the name of a field", uint32(len(r.batch.names)) == r.fields, NameMax)
		if bad := checkName(name); r.err == nil && !bad.None() {
			r.fail("%v", bad)
		}
		e := entry{from: uint32(len(r.batch.text)), length: uint16(len(name))}
		r.text(name)
		if len(r.b) > 0 {
			e.kind, r.b = column.Kind(r.b[0]), r.b[1:]
		}
		if !e.kind.Valid() {
			r.fail("field %q is of %v, want one of the kinds %d to %d", cut(name), e.kind, column.Float, column.String)
		}
		r.batch.names = append(r.batch.names, e)
	}
}

// text appends to the text of the batch.
func (r *ShareReader) text(parts ...[]byte) {
	for _, p := range parts {
		if len(r.batch.text)+len(p) > TextMax {
			r.fail("names and strings have more than %d bytes", TextMax)
			return
		}
		r.batch.text = append(r.grown(len(p)), p...)
	}
}

// grown returns the text with room for n more bytes.
func (r *ShareReader) grown(n int) []byte {
	if text := r.batch.text; len(text)+n > cap(text) {
		return reserve(text, max(len(text)+n, 2*cap(text)))
	}
	return r.batch.text
}

func (r *ShareReader) readShapes() {
	fields := len(r.batch.names) - int(r.fields)
	r.columns, r.shapes = r.columns[:0], r.shapes[:0]
	r.used = sized(r.used, fields)
	clear(r.used)
	var before []byte
	for n := r.uvarint("the number of shapes", 1, len(r.b)); n > 0 && r.err == nil; n-- {
		began := r.b
		s := shape{from: len(r.columns)}
		next := 0
		for n := r.uvarint("the number of columns", 1, fields); n > 0 && r.err == nil; n-- {
			v := r.uvarint("a column", 0, fields*(listsCompared+1))
			f, back := next+v/(listsCompared+1), v%(listsCompared+1)
			if f >= fields || back > int(s.lists) || r.err != nil {
				r.fail("a column is of field %d of %d, with the times of %d lists back of %d", f, fields, back, s.lists)
				return
			}
			list := int(s.lists) - back
			if back == 0 {
				s.lists++
			}
			r.columns = append(r.columns, shapeColumn{uint32(f), uint32(list)})
			r.used[f], next = true, f+1
		}
		if r.err != nil {
			return
		}
		s.to = len(r.columns)
		r.shapes = append(r.shapes, s)
		bytesOf := began[:len(began)-len(r.b)]
		if bytes.Compare(before, bytesOf) >= 0 {
			r.fail("shapes are not in order")
		}
		before = bytesOf
	}
	if slices.Contains(r.used, false) {
		r.fail("a field is in no shape")
	}
}

// readKeys reads the keys of a measurement's series.
func (r *ShareReader) readKeys(measurement []byte) {
	r.before = r.before[:0]
	n := r.uvarint("the number of series", 1, min(len(r.b), PointsMax-len(r.batch.keys)))
	r.batch.keys, r.batch.rows = slices.Grow(r.batch.keys, n), slices.Grow(r.batch.rows, n)
	for i := range n {
		tags := r.rest("a key", i == 0, KeyMax-len(measurement))
		from := len(r.batch.text)
		r.text(measurement, tags)
		if r.err != nil {
			return
		}
		key := r.batch.text[from:]
		if bad := r.reader.read(key); !bad.None() || !r.reader.sorted || r.reader.measurement != len(measurement) {
			r.fail("the key %q is none as it is written: %v", cut(key), bad)
			return
		}
		r.batch.keys = append(r.batch.keys, entry{from: uint32(from), length: uint16(len(key))})
	}
}

// useShapes counts lists of times and columns of the series, and holds shapes to being used.
func (r *ShareReader) useShapes() (lists, columns int) {
	r.used = sized(r.used, len(r.shapes))
	clear(r.used)
	for _, n := range r.which {
		if n >= uint64(len(r.shapes)) {
			r.fail("a series has shape %d of %d", n, len(r.shapes))
			return 0, 0
		}
		s := r.shapes[n]
		r.used[n] = true
		lists, columns = lists+int(s.lists), columns+s.to-s.from
	}
	if r.err == nil && slices.Contains(r.used, false) {
		r.fail("a shape is that of no series")
	}
	return lists, columns
}

// readTimes reads the lists of times of a measurement.
func (r *ShareReader) readTimes() {
	total := 0
	for _, n := range r.counts {
		if n == 0 || n > uint64(r.values-total) {
			r.fail("a list has %d times, want 1 to %d", n, r.values-total)
			return
		}
		total += int(n)
	}
	if r.err != nil {
		return
	}
	from := len(r.batch.times)
	times, rest, err := column.ReadIntegers(r.b, r.batch.times, total)
	switch {
	case err != nil:
		r.damaged(err, "the column of times")
		return
	case len(times)-from != total:
		r.fail("the column of times has %d, want %d", len(times)-from, total)
		return
	}
	r.batch.times, r.b = times, rest
	first, last := max(r.window.First, TimeMin), min(r.window.Last, TimeMax)
	for _, n := range r.counts {
		list := times[from : from+int(n)]
		from += int(n)
		for i := 1; i < len(list); i++ {
			if list[i] <= list[i-1] {
				r.fail("time %d follows %d", list[i], list[i-1])
				return
			}
		}
		if list[0] < first || list[len(list)-1] > last {
			r.fail("times from %d to %d are not all in the window from %d to %d", list[0], list[len(list)-1], first, last)
			return
		}
	}
}

// layOut makes the columns of the series, whose values stand field by field.
func (r *ShareReader) layOut(first int) {
	x := &r.batch
	fields := len(x.names) - int(r.fields)
	r.of = sized(r.of, fields)
	clear(r.of)
	at := uint32(len(x.times))
	for _, n := range r.counts {
		at -= uint32(n)
	}
	list := 0
	values := 0
	for i, n := range r.which {
		s := r.shapes[n]
		counts := r.counts[list : list+int(s.lists)]
		list += len(counts)
		begins := at // where the lists of the series begin
		var seen lists
		for _, n := range counts {
			times := x.times[at : at+uint32(n)]
			if seen.find(times) > 0 {
				r.fail("a series has a list of times twice")
				return
			}
			seen.add(times)
			at += uint32(n)
		}
		now, next := uint32(0), begins // the list of the column, and where it begins
		for _, c := range r.columns[s.from:s.to] {
			for ; now < c.list; now++ {
				next += uint32(counts[now])
			}
			for ; now > c.list; now-- {
				next -= uint32(counts[now-1])
			}
			n := uint32(counts[c.list])
			if values += int(n); values > r.values {
				r.fail("%d values are left of those of which it tells", r.values)
				return
			}
			x.extents = append(x.extents, extent{name: r.fields + c.field, from: r.of[c.field], to: r.of[c.field] + n, times: next})
			r.of[c.field] += n
		}
		x.rows = append(x.rows, row{uint32(first + i), uint32(len(x.extents))})
	}
}

// readValues reads the columns of the fields, and tells the extents where they begin.
func (r *ShareReader) readValues(first int) {
	if r.err != nil {
		return
	}
	x := &r.batch
	for i, n := range r.of {
		from := len(x.bits)
		r.readColumn(x.names[r.fields+uint32(i)].kind, int(n))
		if r.err != nil {
			return
		}
		if len(x.bits)-from != int(n) {
			r.fail("a column of values has %d, want %d", len(x.bits)-from, n)
			return
		}
		r.values -= int(n)
		r.of[i] = uint32(from)
	}
	begin := uint32(0)
	if first > 0 {
		begin = x.rows[first-1].end
	}
	for i := range x.extents[begin:] {
		e := &x.extents[int(begin)+i]
		base := r.of[e.name-r.fields]
		e.from, e.to = e.from+base, e.to+base
	}
}

// readColumn appends n values of a kind at most.
func (r *ShareReader) readColumn(k column.Kind, n int) {
	x := &r.batch
	var rest []byte
	var err error
	switch k {
	case column.Float:
		r.floats, rest, err = column.ReadFloats(r.b, r.floats[:0], n)
		for _, v := range r.floats {
			if v-v != 0 {
				r.fail("a value is %v, which can't be stored", v)
			}
			x.bits = append(x.bits, math.Float64bits(v))
		}
	case column.Integer, column.Unsigned:
		// Whole numbers are modulo 2^64: an integer reads as its two's complement.
		x.bits, rest, err = column.ReadUnsigned(r.b, x.bits, n)
	case column.Boolean:
		r.booleans, rest, err = column.ReadBooleans(r.b, r.booleans[:0], n)
		for _, v := range r.booleans {
			bit := uint64(0)
			if v {
				bit = 1
			}
			x.bits = append(x.bits, bit)
		}
	case column.String:
		r.strings, rest, err = column.ReadStrings(r.b, r.strings[:0], n)
		for _, v := range r.strings {
			if len(v) > StringMax || !utf8.ValidString(v) {
				r.fail("a string of %d bytes is longer than %d, or no UTF-8", len(v), StringMax)
			}
			if len(x.text)+len(v) > TextMax {
				r.fail("names and strings have more than %d bytes", TextMax)
			}
			if r.err != nil {
				break
			}
			x.bits = append(x.bits, uint64(len(x.text))<<32|uint64(len(v)))
			x.text = append(r.grown(len(v)), v...)
		}
		clear(r.strings) // they hold a copy of the column
	}
	if err != nil {
		r.damaged(err, "a column of values")
		return
	}
	if r.err == nil {
		r.b = rest
	}
}
