package line

import (
	"bytes"
	"errors"
	"unicode/utf8"

	"github.com/influxdata/line-protocol/v2/lineprotocol"

	"muster/shardmap/points"
)

// The library tells what is wrong in words with as much of the line as it has read, for people; programs learn
// from it in which part of a line an error is, and at which place. The functions here find the reason by these.
// None of them decides whether a line is taken.

// offset returns the place in the line that an error of the library is about; that may be its end.
func offset(line []byte, err error) int {
	var e *lineprotocol.DecodeError
	if !errors.As(err, &e) {
		return len(line)
	}
	at := 0
	for range e.Line - 1 {
		at += bytes.IndexByte(line[at:], '\n') + 1
	}
	return min(at+e.Column-1, len(line))
}

// keyError returns what is wrong with measurement and tags, at a place where one of them begins.
func keyError(line []byte, at int) points.Error {
	end := at
	for end < len(line) && (!separates(line[end]) || end > at && escaped(line, end)) && !control(line[end]) {
		end++
	}
	c := byteAt(line, end)
	switch {
	case control(c) && c != '\n':
		return points.Refuse(points.InvalidName, line[at:end+1])
	case !utf8.Valid(line[at:end]):
		return points.Refuse(points.InvalidName, line[at:end])
	case at == 0:
		return points.Refuse(points.MissingMeasurement, nil)
	case behind(line, at, '=') && c == '=':
		return points.Refuse(points.InvalidTag, tagBefore(line, at))
	case behind(line, at, '='):
		return points.Refuse(points.MissingTagValue, tagBefore(line, at))
	case end > at: // a name without an equals sign
		return points.Refuse(points.MissingTagValue, line[at:end])
	case behind(line, at, ','):
		return points.Refuse(points.MissingTagKey, tagBefore(line, at))
	case c == '=': // behind a value
		return points.Refuse(points.InvalidTag, tagBefore(line, at))
	}
	return points.Refuse(points.MissingFields, nil)
}

// tagBefore returns the name of the last tag that has an equals sign before a place of the line, or the measurement.
func tagBefore(line []byte, at int) []byte {
	comma := 0
	for comma < at && (line[comma] != ',' || escaped(line, comma)) {
		comma++
	}
	name := line[:comma]
	for i := comma; i < at; i++ {
		switch {
		case escaped(line, i):
		case line[i] == ',':
			comma = i
		case line[i] == '=' && comma < i:
			name = line[comma+1 : i]
			comma = at // what stands behind is a value, up to the next comma
		}
	}
	return name
}

// fieldError returns what is wrong with the fields at a place, after the field whose name, as it is written, came before.
func fieldError(line []byte, at int, before []byte) points.Error {
	field := scan(line[:at])
	c := byteAt(line, at)
	name := line[min(field.name, at):at]
	if field.value > field.name {
		name = line[field.name : field.value-1]
	}
	switch {
	case behind(line, at, '='):
		switch {
		case ends(c):
			return points.Refuse(points.MissingFieldValue, name)
		case c == '"':
			return points.Refuse(points.UnbalancedQuotes, name)
		case c == 'n' || c == 'N': // of NaN
			return points.Refuse(points.InvalidNumber, name)
		}
		return points.Refuse(points.InvalidValue, name)
	case behind(line, at, '"') && behind(line, at-1, '=') && !utf8.Valid(line[at:]):
		return points.Refuse(points.InvalidString, name)
	case behind(line, at, '"') && !ends(c):
		return points.Refuse(points.UnbalancedQuotes, name)
	case control(c) && c != '\n':
		return points.Refuse(points.InvalidName, line[min(field.name, at):at+1])
	case field.name > 0 && field.name < at:
		return points.Refuse(points.MissingFieldValue, name)
	case len(before) == 0 && c == '\n':
		return points.Refuse(points.MissingFields, nil)
	case ends(c) || c == '=':
		return points.Refuse(points.MissingFieldKey, before)
	}
	// A name that is not UTF-8 begins here.
	end := bytes.IndexByte(line[at:], '=')
	if end < 0 {
		end = len(line) - at
	}
	return points.Refuse(points.InvalidName, line[at:at+end])
}

// timeError returns what is wrong at the end of the line.
func timeError(line []byte, at int) points.Error {
	if at == scan(line[:at]).time && byteAt(line, at) != '\r' {
		return points.Refuse(points.InvalidTime, nil)
	}
	return points.Refuse(points.TextAfterTime, nil)
}

// byteAt returns the byte at a place of the line, or a newline where nothing more stands than perhaps a carriage
// return.
func byteAt(line []byte, at int) byte {
	if at == len(line) || string(line[at:]) == "\r" {
		return '\n'
	}
	return line[at]
}

// behind reports whether c stands before a place of the line, and no backslash before c.
func behind(line []byte, at int, c byte) bool {
	return at > 0 && line[at-1] == c && !escaped(line, at-1)
}

func separates(c byte) bool { return c == ',' || c == '=' || c == ' ' }

// ends reports whether a value that is not quoted ends before c.
func ends(c byte) bool { return c == ',' || c == ' ' || c == '\n' || c == '\r' }

func control(c byte) bool { return c < ' ' || c == 0x7f }
