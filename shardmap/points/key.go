package points

import (
	"bytes"
	"iter"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"
)

// The key of a series is its measurement and its tags as line protocol writes them, the tags in the
// order of their names:
//
//	measurement,tag=value,tag=value
//
// A comma or a space in any of them stands behind a backslash, and so does an equals sign in a tag's name
// or value. A backslash before anything else is itself. So each series has one key, and from the key
// the series can be read again. A name can't end with a backslash, which would escape what follows it.

// Escapes of a measurement, and of the names of tags and fields and the values of tags.
const (
	measurementEscapes = ", "
	nameEscapes        = ", ="
)

// Tag is a name and a value that tell a series from others of its measurement. Neither is empty.
type Tag struct{ Name, Value string }

// Series is a measurement and tags, as they are and not as they are written.
type Series struct {
	Measurement string
	Tags        []Tag // in any order
}

// AppendKey appends the key of the series. An error is an [Error].
func (s Series) AppendKey(dst []byte) ([]byte, error) {
	begin := len(dst)
	if s.Measurement == "" {
		return dst, Refuse(MissingMeasurement, nil)
	}
	if strings.HasSuffix(s.Measurement, `\`) {
		return dst, Refuse(TrailingBackslash, []byte(s.Measurement))
	}
	key := appendEscaped(dst, s.Measurement, measurementEscapes)
	for _, t := range s.Tags {
		for _, part := range [...]string{t.Name, t.Value} {
			if strings.HasSuffix(part, `\`) {
				return dst, Refuse(TrailingBackslash, []byte(part))
			}
		}
		key = appendEscaped(append(key, ','), t.Name, nameEscapes)
		key = appendEscaped(append(key, '='), t.Value, nameEscapes)
	}
	// Reading what was written checks the rest, and finds the order: there is one place that does.
	var r keyReader
	if bad := r.read(key[begin:]); !bad.None() {
		return dst, bad
	}
	if r.sorted {
		return key, nil
	}
	return r.append(dst, bytes.Clone(key[begin:])), nil
}

// ParseKey returns the series of a key; its tags are sorted, whether they are in the key or not. An
// error is an [Error].
func ParseKey(key []byte) (Series, error) {
	var r keyReader
	if bad := r.read(key); !bad.None() {
		return Series{}, bad
	}
	s := Series{Measurement: unescape(key[:r.measurement], measurementEscapes)}
	for _, t := range r.tags {
		s.Tags = append(s.Tags, Tag{unescape(t.name(key), nameEscapes), unescape(t.value(key), nameEscapes)})
	}
	return s, nil
}

// AppendName appends the name of a field as it is written. An error is an [Error].
func AppendName(dst []byte, name string) ([]byte, error) {
	written := appendEscaped(dst, name, nameEscapes)
	if bad := checkName(written[len(dst):]); !bad.None() {
		return dst, bad
	}
	return written, nil
}

// AppendMeasurement appends a measurement as it is written, at the beginning of a key. It checks nothing:
// [Builder.Begin] does.
func AppendMeasurement(dst, name []byte) []byte { return appendEscaped(dst, name, measurementEscapes) }

// AppendTag appends a tag as it is written, with the comma before it. It checks nothing: [Builder.Begin] does.
func AppendTag(dst, name, value []byte) []byte {
	dst = appendEscaped(append(dst, ','), name, nameEscapes)
	return appendEscaped(append(dst, '='), value, nameEscapes)
}

// AppendFieldName appends the name of a field as it is written. It checks nothing: [Builder.Field] does.
func AppendFieldName(dst, name []byte) []byte { return appendEscaped(dst, name, nameEscapes) }

// ParseName returns the name of a field from what is written: it takes out the escapes.
func ParseName(written []byte) string { return unescape(written, nameEscapes) }

// MeasurementOf returns the part of a key that is its measurement, as it is written.
func MeasurementOf(key []byte) []byte { return key[:unescaped(key, 0, ',', ',')] }

// TagsOf yields the tags of a key that is one: the name of each, as it is written, and NAME=VALUE.
func TagsOf(key []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, pair []byte) bool) {
		for at := unescaped(key, 0, ',', ','); at < len(key); {
			from := at + 1
			at = unescaped(key, from, ',', ',')
			if !yield(key[from:unescaped(key, from, '=', '=')], key[from:at]) {
				return
			}
		}
	}
}

// ParseMeasurement returns a measurement from what is written: it takes out the escapes.
func ParseMeasurement(written []byte) string { return unescape(written, measurementEscapes) }

// SeriesHash is the xxhash64, with seed 0, of the key of a series.
type SeriesHash uint64

// HashOf returns the hash of the series with this key.
func HashOf(key []byte) SeriesHash { return SeriesHash(xxhash.Sum64(key)) }

// Shard is one of a window's parts, counted from 0.
type Shard uint32

// Shard returns which of n shards the series is in: the hash modulo n, as a slot is that of a key. A
// window keeps its number of shards for as long as it lives, so no series ever moves within one.
func (h SeriesHash) Shard(n uint32) Shard { return Shard(uint64(h) % uint64(n)) }

// keyReader takes a written key apart. It can be used again and again.
type keyReader struct {
	measurement int       // where the measurement ends
	tags        []tagSpan // sorted by name
	sorted      bool      // the key has them in this order
}

// tagSpan is where a tag stands in a key: its name up to the equals sign, its value up to the end.
type tagSpan struct{ from, equals, to int32 }

func (t tagSpan) name(key []byte) []byte  { return key[t.from:t.equals] }
func (t tagSpan) value(key []byte) []byte { return key[t.equals+1 : t.to] }

// read takes key apart, and says what is wrong with it.
func (r *keyReader) read(key []byte) Error {
	r.tags, r.sorted = r.tags[:0], true
	if len(key) > KeyMax {
		return Refuse(KeyTooLong, nil)
	}
	r.measurement = unescaped(key, 0, ',', ',')
	if r.measurement == 0 {
		return Refuse(MissingMeasurement, nil)
	}
	if key[0] == '#' {
		return Refuse(CommentedMeasurement, key[:r.measurement])
	}
	before := key[:r.measurement] // the name before the next one
	for at := r.measurement; at < len(key); {
		from := at + 1
		equals := unescaped(key, from, '=', ',')
		switch {
		case equals == from:
			return Refuse(MissingTagKey, before)
		case equals == len(key) || key[equals] == ',':
			return Refuse(MissingTagValue, key[from:equals])
		}
		before = key[from:equals]
		at = unescaped(key, equals+1, '=', ',')
		switch {
		case at < len(key) && key[at] == '=':
			return Refuse(InvalidTag, before)
		case at == equals+1:
			return Refuse(MissingTagValue, before)
		case len(r.tags) == TagsMax:
			return Refuse(TooManyTags, nil)
		}
		r.tags = append(r.tags, tagSpan{int32(from), int32(equals), int32(at)})
	}
	if bad := r.checkText(key); !bad.None() {
		return bad
	}
	return r.sort(key)
}

// unescaped returns where the first of two characters stands in b from i on that no backslash precedes;
// len(b) if there is none. A backslash before i escapes nothing.
func unescaped(b []byte, i int, c, d byte) int {
	for begin := i; i < len(b); i++ {
		if (b[i] == c || b[i] == d) && (i == begin || b[i-1] != '\\') {
			return i
		}
	}
	return len(b)
}

// checkText refuses a key of which a part is not text. It looks for the part only if there is one.
func (r *keyReader) checkText(key []byte) Error {
	if bad := checkText(key); bad.None() {
		return bad
	}
	if bad := checkText(key[:r.measurement]); !bad.None() {
		return bad
	}
	for _, t := range r.tags {
		for _, part := range [...][]byte{t.name(key), t.value(key)} {
			if bad := checkText(part); !bad.None() {
				return bad
			}
		}
	}
	return Refuse(InvalidName, nil) // not reached: commas and equals signs are text
}

// checkText refuses a written name that is not text, that would read on some terminal as something else, or that can't
// stand before a comma.
func checkText(b []byte) Error {
	ascii := true
	for _, c := range b {
		if c < ' ' || c == 0x7f {
			return Refuse(InvalidName, b)
		}
		ascii = ascii && c < utf8.RuneSelf
	}
	if !ascii {
		if !utf8.Valid(b) {
			return Refuse(InvalidName, b)
		}
		// C1 controls are 0xc2 and 0x80 to 0x9f: in valid UTF-8 nothing else has a 0xc2 there.
		for i, c := range b[:len(b)-1] {
			if c == 0xc2 && b[i+1] < 0xa0 {
				return Refuse(InvalidName, b)
			}
		}
	}
	if len(b) > 0 && b[len(b)-1] == '\\' {
		return Refuse(TrailingBackslash, b)
	}
	return Error{}
}

// checkName says what is wrong with the name of a field as it is written.
func checkName(written []byte) Error {
	switch {
	case len(written) == 0:
		return Refuse(MissingFieldKey, nil)
	case len(written) > NameMax:
		return Refuse(FieldNameTooLong, written)
	}
	return checkText(written)
}

// sort puts the tags in order, and refuses one that comes twice.
func (r *keyReader) sort(key []byte) Error {
	order := func(a, b tagSpan) int { return compareWritten(a.name(key), b.name(key)) }
	for i := 1; i < len(r.tags) && r.sorted; i++ {
		r.sorted = order(r.tags[i-1], r.tags[i]) < 0
	}
	if r.sorted {
		return Error{}
	}
	slices.SortFunc(r.tags, order)
	for i := 1; i < len(r.tags); i++ {
		if order(r.tags[i-1], r.tags[i]) == 0 {
			return Refuse(DuplicateTag, r.tags[i].name(key))
		}
	}
	return Error{}
}

// append appends the key with its tags in order.
func (r *keyReader) append(dst, key []byte) []byte {
	dst = append(dst, key[:r.measurement]...)
	for _, t := range r.tags {
		dst = append(append(dst, ','), key[t.from:t.to]...)
	}
	return dst
}

// compareWritten compares names by what they are, not by how they are written: a tag "a,b" stands
// where its comma puts it, and not where a backslash would.
func compareWritten(a, b []byte) int {
	if bytes.IndexByte(a, '\\') < 0 && bytes.IndexByte(b, '\\') < 0 {
		return bytes.Compare(a, b)
	}
	return strings.Compare(unescape(a, nameEscapes), unescape(b, nameEscapes))
}

// appendEscaped appends s with a backslash before each of the characters in escapes.
func appendEscaped[T string | []byte](dst []byte, s T, escapes string) []byte {
	from := 0 // most names have nothing to escape, and are appended at once
	for i := range len(s) {
		// No other characters are ever escaped.
		if c := s[i]; (c == ' ' || c == ',' || c == '=') && strings.IndexByte(escapes, c) >= 0 {
			dst = append(append(dst, s[from:i]...), '\\')
			from = i
		}
	}
	return append(dst, s[from:]...)
}

// unescape takes out each backslash that stands before one of the characters in escapes.
func unescape(b []byte, escapes string) string {
	if bytes.IndexByte(b, '\\') < 0 {
		return string(b)
	}
	var s strings.Builder
	for i, c := range b {
		if c == '\\' && i+1 < len(b) && strings.IndexByte(escapes, b[i+1]) >= 0 {
			continue
		}
		s.WriteByte(c)
	}
	return s.String()
}
