package cmd

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// A line of kv export, which kv import reads:
//
//	{"key":"a/b","value":"text","version":17}
//	{"key_base64":"/wA=","value_base64":"//79","version":18}
//
// Key and value have each the one form or the other; other fields are passed
// over. What JSON leaves open is closed here, since a key that is read as
// another one is a lost key: field names are compared exactly, a field given
// twice is an error, and so is text that no UTF-8 can stand for, where
// encoding/json would put U+FFFD without a word.

// lineMax bounds one line of import, in bytes: the largest value that a cluster
// can be set to take and the largest key, each byte written as \u00XX, and
// room for the fields around them.
const lineMax = 6*(16<<20+4096) + 1<<16

// lineReader reads lines of a bounded length into one buffer that it keeps.
type lineReader struct {
	r      *bufio.Reader
	buf    []byte
	max    int
	number int // of the line that next returned last, from 1
}

func newLineReader(r io.Reader, max int) *lineReader {
	return &lineReader{r: bufio.NewReaderSize(r, 1<<16), max: max}
}

// errLineLong is returned for a line over the limit, which is passed over: the
// next call goes on behind it.
type errLineLong struct{ size, max int64 }

func (e *errLineLong) Error() string {
	return fmt.Sprintf("%d bytes; at most %d are read", e.size, e.max)
}

// next returns the next line that is not blank, without its end; it is valid
// until the next call. The end of the input is [io.EOF].
func (l *lineReader) next() ([]byte, error) {
	for {
		line, err := l.one()
		if err != nil {
			return nil, err
		}
		if len(bytes.TrimSpace(line)) > 0 {
			return line, nil
		}
	}
}

func (l *lineReader) one() ([]byte, error) {
	l.buf = l.buf[:0]
	l.number++
	size := int64(0)
	for {
		part, err := l.r.ReadSlice('\n')
		size += int64(len(part))
		if size <= int64(l.max) {
			l.buf = append(l.buf, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && size > 0:
			// A last line without an end.
		case err != nil:
			return nil, err
		}
		if size > int64(l.max) {
			return nil, &errLineLong{size, int64(l.max)}
		}
		return bytes.TrimRight(l.buf, "\r\n"), nil
	}
}

// parseLine reads the key and the value of one line. Both are new slices.
func parseLine(line []byte) (key, value []byte, err error) {
	if !utf8.Valid(line) {
		return nil, nil, errors.New("not valid UTF-8; give such keys and values as key_base64 and value_base64")
	}
	if depthOf(line) > depthMax {
		return nil, nil, fmt.Errorf("nested deeper than %d", depthMax)
	}
	if !json.Valid(line) {
		return nil, nil, notJSON(line)
	}
	line = bytes.TrimSpace(line)
	if line[0] != '{' {
		return nil, nil, errors.New(`not a JSON object; want {"key":…,"value":…}`)
	}
	var p pairReader
	if err := eachField(line, p.field); err != nil {
		return nil, nil, err
	}
	if !p.hasKey {
		return nil, nil, errors.New(`no "key" or "key_base64"`)
	}
	if !p.hasValue {
		return nil, nil, errors.New(`no "value" or "value_base64"`)
	}
	return p.key, p.value, nil
}

// depthMax bounds how deep a line nests, since encoding/json keeps a word for
// each level. A line of export has one.
const depthMax = 64

// depthOf returns how deep line nests, if it is JSON.
func depthOf(line []byte) (deepest int) {
	depth, quoted := 0, false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '"':
			quoted = !quoted
		case quoted && c == '\\':
			i++
		case !quoted && (c == '{' || c == '['):
			depth++
			deepest = max(deepest, depth)
		case !quoted && (c == '}' || c == ']'):
			depth--
		}
	}
	return deepest
}

func notJSON(line []byte) error {
	var syntax *json.SyntaxError
	if err := json.Unmarshal(line, new(struct{})); errors.As(err, &syntax) {
		return fmt.Errorf("not JSON: %w, at byte %d", err, syntax.Offset)
	}
	return errors.New("not JSON")
}

type pairReader struct {
	key, value               []byte
	hasKey, hasValue         bool
	keyEncoded, valueEncoded bool // in base64
}

func (p *pairReader) field(name, value []byte) error {
	to, has, wasEncoded, encoded := &p.key, &p.hasKey, &p.keyEncoded, false
	switch string(name) {
	case `"key"`:
	case `"key_base64"`:
		encoded = true
	case `"value"`:
		to, has, wasEncoded = &p.value, &p.hasValue, &p.valueEncoded
	case `"value_base64"`:
		to, has, wasEncoded, encoded = &p.value, &p.hasValue, &p.valueEncoded, true
	default:
		return nil
	}
	if *has {
		if plain := strings.TrimSuffix(strings.Trim(string(name), `"`), "_base64"); *wasEncoded != encoded {
			return fmt.Errorf("both %q and %q; want one of them", plain, plain+"_base64")
		}
		return fmt.Errorf("%s: given twice", name)
	}
	if value[0] != '"' {
		return fmt.Errorf("%s: not a string", name)
	}
	text, err := unquote(value)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if encoded {
		n, err := base64.StdEncoding.Decode(text, text)
		if err != nil {
			return fmt.Errorf("%s: not base64: %w", name, err)
		}
		text = text[:n]
	}
	*to, *has, *wasEncoded = text, true, encoded
	return nil
}

// eachField calls f with the name, in its quotes, and the value of each field
// of object, which is valid JSON without space around it. It allocates nothing.
func eachField(object []byte, f func(name, value []byte) error) error {
	rest := bytes.TrimLeft(object[1:], space)
	for rest[0] != '}' {
		n := stringEnd(rest)
		name := rest[:n]
		rest = bytes.TrimLeft(rest[n:], space)
		rest = bytes.TrimLeft(rest[1:], space) // the colon
		n = valueEnd(rest)
		if err := f(name, rest[:n]); err != nil {
			return err
		}
		rest = bytes.TrimLeft(rest[n:], space)
		if rest[0] == ',' {
			rest = bytes.TrimLeft(rest[1:], space)
		}
	}
	return nil
}

const space = " \t\r\n"

func stringEnd(b []byte) int {
	for i := 1; ; i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
}

func valueEnd(b []byte) int {
	depth := 0
	for i := 0; ; i++ {
		switch b[i] {
		case '"':
			if i += stringEnd(b[i:]) - 1; depth == 0 {
				return i + 1
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i // the end of a number, true, false or null
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case ',', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return i
			}
		}
	}
}

// unquote returns what a valid JSON string stands for.
func unquote(quoted []byte) ([]byte, error) {
	quoted = quoted[1 : len(quoted)-1]
	out := make([]byte, 0, len(quoted))
	for len(quoted) > 0 {
		i := bytes.IndexByte(quoted, '\\')
		if i < 0 {
			return append(out, quoted...), nil
		}
		out = append(out, quoted[:i]...)
		c := quoted[i+1]
		quoted = quoted[i+2:]
		switch c {
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r := hex4(quoted)
			quoted = quoted[4:]
			if utf16.IsSurrogate(r) {
				if len(quoted) < 6 || quoted[0] != '\\' || quoted[1] != 'u' {
					return nil, fmt.Errorf(`\u%04x is half a character`, r)
				}
				whole := utf16.DecodeRune(r, hex4(quoted[2:]))
				if whole == utf8.RuneError {
					return nil, fmt.Errorf(`\u%04x is half a character`, r)
				}
				r, quoted = whole, quoted[6:]
			}
			out = utf8.AppendRune(out, r)
		default: // '"', '\\' or '/'
			out = append(out, c)
		}
	}
	return out, nil
}

func hex4(b []byte) rune {
	n, _ := strconv.ParseUint(string(b[:4]), 16, 16)
	return rune(n)
}
