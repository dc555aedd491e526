package line

import (
	"bytes"
	"errors"
	"strconv"

	"github.com/influxdata/line-protocol/v2/lineprotocol"

	"muster/shardmap/points"
)

// runAfter is after how many good lines the ones behind them get a decoder together. A text of bad lines makes so hardly more
// decoders than it has lines.
const runAfter = 8

// run is a decoder of the library that reads lines one behind the other.
type run struct {
	decoder *lineprotocol.Decoder
	next    int // where the line begins that it would read next
	good    int // lines that were good, one behind the other
}

// next gives the builder the point of the line that stands from begin to end, counted from a place of the text where a line
// begins. If it says why the line is refused, what the builder has of it must be taken back.
//
// After an error a decoder goes on at the next newline, be it in a string. So a line that may have a string has a decoder of
// its own, and nothing that stands in a refused line is read as another. Others share one up to the first that is refused,
// which is read once more by itself: the reason never depends on what stood before.
func (p *Parser) next(at, begin, end int, now int64) points.Error {
	line := p.text[at+begin : at+end : at+end]
	shares := p.run.good >= runAfter && bytes.IndexByte(line, '"') < 0
	if shares {
		if p.run.decoder == nil || p.run.next != at || begin > 0 {
			p.run.decoder = lineprotocol.NewDecoderWithBytes(p.text[at+begin:])
		}
		t, why := p.read(p.run.decoder, line, now)
		if why.None() {
			why = p.b.Commit(t)
		}
		if why.None() {
			p.run.next = at + end + 1
			return why
		}
		p.b.Rollback()
	}
	p.run.decoder = nil
	why := p.point(line, now)
	if p.run.good++; !why.None() {
		p.run.good = 0
	}
	return why
}

// point reads a line by itself.
func (p *Parser) point(line []byte, now int64) points.Error {
	d := lineprotocol.NewDecoderWithBytes(line)
	t, why := p.read(d, line, now)
	if why.None() && d.Next() {
		// The library has found an end before that of the line; nothing is read then but what both agree on.
		why = points.Refuse(points.TextAfterTime, nil)
	}
	if !why.None() {
		return why
	}
	return p.b.Commit(t)
}

// read reads the next line of a decoder, and returns its time.
func (p *Parser) read(d *lineprotocol.Decoder, line []byte, now int64) (int64, points.Error) {
	d.Next()
	if why := p.key(d, line); !why.None() {
		return 0, why
	}
	if why := p.fields(d, line); !why.None() {
		return 0, why
	}
	return p.time(d, line, now)
}

// timeName is the column of a row that has the time of its point. A tag or a field of that name could not be selected, so
// there is none: InfluxDB drops points with such a tag, and leaves such a field out.
const timeName = "time"

// key reads a measurement and its tags, and begins a point of their series.
func (p *Parser) key(d *lineprotocol.Decoder, line []byte) points.Error {
	measurement, err := d.Measurement()
	if err != nil {
		return keyError(line, offset(line, err))
	}
	p.written = points.AppendMeasurement(p.written[:0], measurement)
	for {
		name, value, err := d.NextTag()
		switch {
		case err != nil:
			return keyError(line, offset(line, err))
		case name == nil:
			return p.b.Begin(p.written)
		}
		if string(name) == timeName {
			return points.Refuse(points.InvalidTagKey, name)
		}
		p.written = points.AppendTag(p.written, name, value)
	}
}

// fields reads the fields of a point.
func (p *Parser) fields(d *lineprotocol.Decoder, line []byte) points.Error {
	p.written = p.written[:0]
	for {
		name, kind, text, err := d.NextFieldBytes()
		switch {
		case err != nil:
			return fieldError(line, offset(line, err), p.written)
		case name == nil:
			return points.Error{}
		}
		// Most points of a measurement have the same fields in the same order. A name that needs no escapes is written as it is.
		field, expected := p.b.Expected()
		why := points.Error{}
		plain := bytes.Equal(expected, name) && bytes.IndexByte(name, '\\') < 0
		if plain {
			p.written = append(p.written[:0], name...)
		} else {
			p.written = points.AppendFieldName(p.written[:0], name)
		}
		switch {
		case plain || bytes.Equal(expected, p.written):
		case string(name) == timeName:
			why = points.Refuse(points.InvalidFieldName, name)
		default:
			field, why = p.b.Field(p.written)
		}
		if why.None() {
			why = p.value(field, kind, text)
		}
		if !why.None() {
			return why
		}
	}
}

// value gives a field of the point its value. The library has found out the kind and taken away quotes, escapes
// and the letter at the end.
func (p *Parser) value(field uint32, kind lineprotocol.ValueKind, text []byte) points.Error {
	if kind == lineprotocol.String {
		if len(text) > points.StringMax {
			return points.Refuse(points.StringTooLong, p.written)
		}
		return p.b.String(field, text)
	}
	if kind == lineprotocol.Float && !decimal(text) {
		return points.Refuse(points.InvalidNumber, p.written)
	}
	v, err := lineprotocol.NewValueFromBytes(kind, text)
	switch {
	case errors.Is(err, lineprotocol.ErrValueOutOfRange):
		return points.Refuse(points.NumberOutOfRange, p.written)
	case err != nil && kind == lineprotocol.Bool:
		return points.Refuse(points.InvalidBoolean, p.written)
	case err != nil:
		return points.Refuse(points.InvalidNumber, p.written)
	}
	switch kind {
	case lineprotocol.Int:
		return p.b.Integer(field, v.IntV())
	case lineprotocol.Uint:
		return p.b.Unsigned(field, v.UintV())
	case lineprotocol.Bool:
		return p.b.Boolean(field, v.BoolV())
	}
	return p.b.Float(field, v.FloatV())
}

// decimal reports whether a number has nothing in it that is for source code of Go alone. The library would take
// 0x1p4 and 1_000, which InfluxDB 1.8 does not.
func decimal(text []byte) bool {
	for _, c := range text {
		if c == 'x' || c == 'X' || c == '_' {
			return false
		}
	}
	return true
}

// time reads the time of a point; without one it is now. The library knows no minutes and hours, and its own
// multiplication would not tell a time that is out of range from one that is missing.
func (p *Parser) time(d *lineprotocol.Decoder, line []byte, now int64) (int64, points.Error) {
	text, err := d.TimeBytes()
	switch {
	case err != nil:
		return 0, timeError(line, offset(line, err))
	case text == nil:
		return now, points.Error{}
	}
	t, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0, points.Refuse(points.InvalidTime, nil)
	}
	ns, ok := p.precision.nanoseconds(t)
	if err != nil || !ok {
		return 0, points.Refuse(points.TimeOutOfRange, nil)
	}
	return ns, points.Error{}
}
