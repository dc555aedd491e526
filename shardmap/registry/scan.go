package registry

import (
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// scanner walks JSON that json.Valid took. Package encoding/json makes a decoder and an
// interface for each value, which for a hostile file of empty objects comes to hundreds of bytes
// for every two; and it does not tell of a key that is given twice.
type scanner struct {
	text string
	pos  int
}

func (c *scanner) space() {
	for c.pos < len(c.text) && strings.IndexByte(" \t\r\n", c.text[c.pos]) >= 0 {
		c.pos++
	}
}

// next returns the first byte of what comes next, 0 at the end.
func (c *scanner) next() byte {
	c.space()
	if c.pos == len(c.text) {
		return 0
	}
	return c.text[c.pos]
}

// enter takes the byte that opens an array or an object.
func (c *scanner) enter() { c.space(); c.pos++ }

// more reports whether another element follows; after the last it takes the end of the
// array or object.
func (c *scanner) more() bool {
	switch c.next() {
	case ',':
		c.pos++
		return true
	case ']', '}':
		c.pos++
		return false
	case 0:
		return false
	}
	return true
}

// key takes the key of a pair and its colon.
func (c *scanner) key() string {
	k := unquote(c.value())
	c.space()
	c.pos++
	return k
}

// value takes the next value, whatever it is, and returns its text.
func (c *scanner) value() string {
	c.space()
	from, depth := c.pos, 0
	for c.pos < len(c.text) {
		switch c.text[c.pos] {
		case '"':
			c.skipString()
			if depth == 0 {
				return c.text[from:c.pos]
			}
			continue
		case '[', '{':
			depth++
		case ']', '}':
			if depth == 0 { // the end of what holds a number
				return c.text[from:c.pos]
			}
			if depth--; depth == 0 {
				c.pos++
				return c.text[from:c.pos]
			}
		case ',', ' ', '\t', '\r', '\n', ':':
			if depth == 0 {
				return c.text[from:c.pos]
			}
		}
		c.pos++
	}
	return c.text[from:c.pos]
}

func (c *scanner) skipString() {
	for c.pos++; c.pos < len(c.text); c.pos++ {
		switch c.text[c.pos] {
		case '\\':
			c.pos++
		case '"':
			c.pos++
			return
		}
	}
	c.pos = len(c.text)
}

// secretWithin reports whether a field somewhere in valid JSON is a secret.
func secretWithin(text string) bool {
	c := scanner{text: text}
	for c.pos < len(c.text) {
		if c.text[c.pos] != '"' {
			c.pos++
			continue
		}
		from := c.pos
		c.skipString()
		quoted := c.text[from:c.pos]
		if c.next() == ':' && Secret(unquote(quoted)) {
			return true
		}
	}
	return false
}

// whole reports whether all texts in valid JSON are UTF-8, the keys too.
func whole(text string) bool {
	if !utf8.ValidString(text) {
		return false
	}
	c := scanner{text: text}
	for c.pos < len(c.text) {
		if c.text[c.pos] != '"' {
			c.pos++
			continue
		}
		from := c.pos
		if c.skipString(); !utf8.ValidString(unquote(c.text[from:c.pos])) {
			return false
		}
	}
	return true
}

// secrets takes the next value, and calls f with each text and number in it that is the value of a
// field whose key is that of a secret, or is within one. If secret is true all of them are.
func (c *scanner) secrets(secret bool, f func(string)) {
	switch c.next() {
	case '{':
		for c.enter(); c.more(); {
			key := c.key()
			c.secrets(secret || Secret(key), f)
		}
	case '[':
		for c.enter(); c.more(); {
			c.secrets(secret, f)
		}
	default:
		switch text := c.value(); {
		case !secret || text == "true" || text == "false" || text == "null" || text == "":
		case text[0] == '"':
			f(unquote(text))
		default:
			f(text)
		}
	}
}

// unquote returns the text of a JSON string, which aliases it where nothing is escaped. It is no
// UTF-8 if the string is none, or has half a surrogate pair, which no UTF-8 can stand for: so
// [Service.Validate] finds it, where U+FFFD would take its place without a word.
func unquote(quoted string) string {
	if len(quoted) < 2 {
		return ""
	}
	s := quoted[1 : len(quoted)-1]
	at := strings.IndexByte(s, '\\')
	if at < 0 {
		return s
	}
	out := make([]byte, 0, len(s)) // no escape stands for more bytes than it has
	for at >= 0 && at+1 < len(s) {
		out = append(out, s[:at]...)
		var r rune
		r, s = unescape(s[at:])
		if utf16.IsSurrogate(r) {
			out = append(out, halfPair...)
		} else {
			out = utf8.AppendRune(out, r)
		}
		at = strings.IndexByte(s, '\\')
	}
	return string(append(out, s...))
}

// halfPair is what half a surrogate pair becomes, whichever it is: the bytes of U+D800, which are
// no UTF-8.
const halfPair = "\xed\xa0\x80"

// unescape returns the character of the escape that s begins with, and what follows it. Half a
// surrogate pair is returned as it is.
func unescape(s string) (rune, string) {
	switch s[1] {
	case 'b':
		return '\b', s[2:]
	case 'f':
		return '\f', s[2:]
	case 'n':
		return '\n', s[2:]
	case 'r':
		return '\r', s[2:]
	case 't':
		return '\t', s[2:]
	case 'u':
		r, s := unit(s)
		if !utf16.IsSurrogate(r) {
			return r, s
		}
		if low, rest := unit(s); utf16.DecodeRune(r, low) != utf8.RuneError {
			return utf16.DecodeRune(r, low), rest
		}
		return r, s
	}
	return rune(s[1]), s[2:]
}

// unit takes \uXXXX.
func unit(s string) (rune, string) {
	if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
		return utf8.RuneError, s
	}
	n, err := strconv.ParseUint(s[2:6], 16, 16)
	if err != nil {
		return utf8.RuneError, s
	}
	return rune(n), s[6:]
}
