package cmd

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// marshalLine is v in JSON and a newline, with <, > and & as they are, and
// without what a terminal may act on.
func marshalLine(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return plainJSON(b.Bytes()), err
}

// itemText is a key or a value in JSON: as itself where it is valid UTF-8,
// else in base64 under another name.
type itemText struct {
	Key         *string `json:"key,omitempty"`
	KeyBase64   *string `json:"key_base64,omitempty"`
	Value       *string `json:"value,omitempty"`
	ValueBase64 *string `json:"value_base64,omitempty"`
}

func keyText(key []byte) (i itemText) {
	i.Key, i.KeyBase64 = textOrBase64(key)
	return i
}

func pairText(key, value []byte) itemText {
	i := keyText(key)
	i.Value, i.ValueBase64 = textOrBase64(value)
	return i
}

func textOrBase64(b []byte) (text, encoded *string) {
	if utf8.Valid(b) {
		s := string(b)
		return &s, nil
	}
	s := base64.StdEncoding.EncodeToString(b)
	return nil, &s
}

// appendText appends a field with a text: as it is where it is valid UTF-8, else in base64 under another name, as in
// [itemText].
func appendText(b []byte, name string, text []byte) []byte {
	b = append(append(b, '"'), name...)
	if utf8.Valid(text) {
		return appendQuoted(append(b, `":`...), text)
	}
	return append(base64.StdEncoding.AppendEncode(append(b, `_base64":"`...), text), '"')
}

// appendQuoted appends a text that is valid UTF-8 as a string of JSON, as [marshalLine] does. Nearly all keys and
// values are of ASCII: the encoder of any value takes ten times as long for each, and a long listing has a lot of them.
func appendQuoted(b, text []byte) []byte {
	begin, done := len(b), 0
	b = append(b, '"')
	for i, c := range text {
		switch {
		case c >= 0x7f:
			line, _ := marshalLine(string(text)) // of a string there is no error
			return append(b[:begin], bytes.TrimSuffix(line, []byte("\n"))...)
		case c >= ' ' && c != '"' && c != '\\':
			continue
		}
		b = appendEscape(append(b, text[done:i]...), c)
		done = i + 1
	}
	return append(append(b, text[done:]...), '"')
}

// appendEscape appends what stands in a string of JSON for a character that may not stand there itself.
func appendEscape(b []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(b, '\\', c)
	case '\b':
		return append(b, '\\', 'b')
	case '\f':
		return append(b, '\\', 'f')
	case '\n':
		return append(b, '\\', 'n')
	case '\r':
		return append(b, '\\', 'r')
	case '\t':
		return append(b, '\\', 't')
	}
	return append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&0xf])
}

// hexDigits are those of bytes that are shown by their numbers.
const hexDigits = "0123456789abcdef"

// cellMax bounds one cell of a table, in characters: who wants all of a large
// value asks for JSON.
const cellMax = 60

// cell is b as one cell: quoted where it has something in it that a terminal
// would act on, or that would break the columns, and cut where it is long.
func cell(b []byte) string { return string(appendCell(nil, b)) }

// appendCell appends the cell of b.
func appendCell(to, b []byte) []byte {
	shown := b[:min(len(b), cellMax)]
	asItIs := len(shown) > 0
	for _, c := range shown {
		if c >= utf8.RuneSelf {
			return appendRunes(to, b)
		}
		if c < ' ' || c == 0x7f {
			asItIs = false
		}
	}
	if asItIs {
		to = append(to, shown...)
	} else {
		to = appendQuotedASCII(to, shown)
	}
	if len(shown) < len(b) {
		to = append(to, "…"...)
	}
	return to
}

// appendQuotedASCII appends text of ASCII as [strconv.Quote] has it, which is slower: it looks each character up among those
// of all languages.
func appendQuotedASCII(to, text []byte) []byte {
	const letters = "abtnvfr" // of the characters from \a on
	to = append(to, '"')
	for _, c := range text {
		switch {
		case c == '"' || c == '\\':
			to = append(to, '\\', c)
		case c >= ' ' && c < 0x7f:
			to = append(to, c)
		case c >= '\a' && c <= '\r':
			to = append(to, '\\', letters[c-'\a'])
		default:
			to = append(to, '\\', 'x', hexDigits[c>>4], hexDigits[c&0xf])
		}
	}
	return append(to, '"')
}

// appendRunes is [appendCell] of any text.
func appendRunes(to, b []byte) []byte {
	shown := firstRunes(b, cellMax)
	s := string(shown)
	if s == "" || !isPlain(s) {
		s = strconv.Quote(s)
	}
	to = append(to, s...)
	if len(shown) < len(b) {
		to = append(to, "…"...)
	}
	return to
}

func firstRunes(b []byte, n int) []byte {
	i := 0
	for ; n > 0 && i < len(b); n-- {
		_, size := utf8.DecodeRune(b[i:])
		i += size
	}
	return b[:i]
}

// printable is b for the middle of a line of text.
func printable(b []byte) string { return strconv.Quote(string(b)) }

// shown is printable, cut where it is long.
func shown(b []byte) string {
	some := firstRunes(b, cellMax)
	s := printable(some)
	if len(some) < len(b) {
		s += fmt.Sprintf("… (%d bytes)", len(b))
	}
	return s
}

func number[T ~int | ~int64 | ~uint64 | ~uint16 | ~uint32](n T) string { return fmt.Sprint(n) }

// orDash is what a table shows for nothing.
func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
