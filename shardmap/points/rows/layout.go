package rows

import "strconv"

// Layout is how JSON is laid out.
type Layout int

const (
	// Compact is one line.
	Compact Layout = iota
	// Pretty has each value in a line of its own, with four spaces for each level.
	Pretty
)

// jsonText writes the parts of JSON one after the other, with the commas and the lines between them.
type jsonText struct {
	text
	layout Layout
	depth  int
	first  bool // nothing stands behind the last bracket that was opened
	keyed  bool // a key waits for its value
}

// before writes what stands before a value or a key.
func (t *jsonText) before() {
	if t.keyed {
		t.keyed = false
		return
	}
	if t.depth == 0 {
		return
	}
	if !t.first {
		t.buf = append(t.buf, ',')
	}
	t.first = false
	t.newline()
}

func (t *jsonText) newline() {
	if t.layout != Pretty {
		return
	}
	t.buf = append(t.buf, '\n')
	for range t.depth {
		t.buf = append(t.buf, "    "...)
	}
}

func (t *jsonText) open(bracket byte) {
	t.before()
	t.buf = append(t.buf, bracket)
	t.depth++
	t.first = true
}

func (t *jsonText) close(bracket byte) {
	t.depth--
	if !t.first {
		t.newline()
	}
	t.buf = append(t.buf, bracket)
	t.first = false
}

func (t *jsonText) key(name string) {
	t.before()
	t.buf = append(appendString(t.buf, name), ':')
	if t.layout == Pretty {
		t.buf = append(t.buf, ' ')
	}
	t.keyed = true
}

func (t *jsonText) string(s string) {
	t.before()
	t.buf = appendString(t.buf, s)
}

func (t *jsonText) integer(v int64) {
	t.before()
	t.buf = strconv.AppendInt(t.buf, v, 10)
}

// raw writes a word of JSON.
func (t *jsonText) raw(word string) {
	t.before()
	t.buf = append(t.buf, word...)
}
