package line

import (
	"bytes"
	"unicode/utf8"

	"muster/points"
	"muster/points/column"
)

// fields reads the fields that begin at a place of the text, and returns where they end.
func (p *Parser) fields(text []byte, at int) (int, points.Error) {
	var name []byte
	for {
		if name == nil && (at == len(text) || text[at] == '\n' || text[at] == '\r') {
			return at, points.Refuse(points.MissingFields, nil)
		}
		field, end, why := p.name(text, at, name)
		if !why.None() {
			return at, why
		}
		name = text[at:end]
		if at, why = p.value(text, end+1, field, name); !why.None() {
			return at, why
		}
		if at == len(text) || text[at] != ',' {
			return at, points.Error{}
		}
		at++
	}
}

// name reads the name of a field, after that of the one before, and returns its number and where it ends:
// at the equals sign.
func (p *Parser) name(text []byte, at int, before []byte) (field uint32, end int, why points.Error) {
	// Most points of a measurement have the same fields in the same order.
	expected, name := p.b.Expected()
	if n := len(name); n > 0 && n < len(text)-at && text[at+n] == '=' && bytes.Equal(text[at:at+n], name) {
		return expected, at + n, points.Error{}
	}
	for end = at; end < len(text); end++ {
		c := text[end]
		if c != '\n' && end > at && text[end-1] == '\\' {
			continue
		}
		if ends(c) {
			break
		}
		if c == '=' && end > at {
			field, why = p.b.Field(text[at:end])
			return field, end, why
		}
		if c == '=' {
			break
		}
	}
	if end == at {
		return 0, end, points.Refuse(points.MissingFieldKey, before)
	}
	return 0, end, points.Refuse(points.MissingFieldValue, text[at:end])
}

// value reads the value of a field, and returns where it ends: before a comma, white space or the end.
func (p *Parser) value(text []byte, at int, field uint32, name []byte) (int, points.Error) {
	if at == len(text) || ends(text[at]) {
		return at, points.Refuse(points.MissingFieldValue, name)
	}
	switch c := text[at]; {
	case '0' <= c && c <= '9' || c == '-' || c == '.':
		x, n, reason := readNumber(text[at:])
		if reason != 0 {
			return at, points.Refuse(reason, name)
		}
		switch x.kind {
		case column.Integer:
			return at + n, p.b.Integer(field, x.integer())
		case column.Unsigned:
			return at + n, p.b.Unsigned(field, x.whole)
		}
		return at + n, p.b.Float(field, x.float)
	case c == '"':
		return p.string(text, at, field, name)
	case c == 't' || c == 'T' || c == 'f' || c == 'F':
		n := 1
		for at+n < len(text) && !ends(text[at+n]) {
			n++
		}
		switch string(text[at : at+n]) {
		case "t", "T", "true", "True", "TRUE":
			return at + n, p.b.Boolean(field, true)
		case "f", "F", "false", "False", "FALSE":
			return at + n, p.b.Boolean(field, false)
		}
		return at, points.Refuse(points.InvalidBoolean, name)
	case c == 'n' || c == 'N': // of NaN
		return at, points.Refuse(points.InvalidNumber, name)
	}
	return at, points.Refuse(points.InvalidValue, name)
}

// string reads a string, whose quote stands at a place of the text.
func (p *Parser) string(text []byte, at int, field uint32, name []byte) (int, points.Error) {
	at++
	p.unescaped = p.unescaped[:0]
	whole := true // there is no escape in it so far
	begin := at
	for ; ; at++ {
		if at == len(text) {
			return at, points.Refuse(points.UnbalancedQuotes, name)
		}
		c := text[at]
		if c == '"' {
			break
		}
		// \" and \\ are escapes; before anything else a backslash is itself.
		if c == '\\' && at+1 < len(text) && (text[at+1] == '"' || text[at+1] == '\\') {
			p.unescaped = append(p.unescaped, text[begin:at]...)
			at++
			begin, whole = at, false
		}
	}
	value := text[begin:at]
	if !whole {
		p.unescaped = append(p.unescaped, value...)
		value = p.unescaped
	}
	at++
	switch {
	case at < len(text) && !ends(text[at]):
		return at, points.Refuse(points.UnbalancedQuotes, name)
	case len(value) > points.StringMax:
		return at, points.Refuse(points.StringTooLong, name)
	case !utf8.Valid(value):
		return at, points.Refuse(points.InvalidString, name)
	}
	return at, p.b.String(field, value)
}
