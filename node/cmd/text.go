package cmd

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/width"

	"muster/repl/trust"
)

// What a terminal gets. Names, labels, versions, addresses and errors come from
// nodes, and a node may be anybody's: a name with an escape sequence in it would
// move the cursor and rewrite what stands above it, one with a newline would
// add a row of its own to a table. So everything that people read goes through
// [plain], and nothing reaches standard output but by the methods of [output]. A
// test of the house looks for other ways.

// output is standard output. What is written to it by its Writer's own methods
// reaches the reader as it is: JSON, which [marshalLine] has made harmless, and
// the value that kv get was asked for.
type output struct{ *bufio.Writer }

// outputBytes is how much gathers before it is written: some pages, so that a
// long list costs few calls.
const outputBytes = 64 << 10

func newOutput(w io.Writer) *output { return &output{bufio.NewWriterSize(w, outputBytes)} }

func (o *output) line(format string, args ...any) error {
	_, err := o.WriteString(plain(fmt.Sprintf(format, args...)) + "\n")
	return err
}

// bugSteers is planted to show that its test finds it: whoever chooses a name steers the terminal of
// those who look at it.
const bugSteers = "text printed as it comes"

// plain is s as a terminal may show it: what is not a visible character or a
// blank is written as Go writes it, as \x1b or \u009b.
func plain(s string) string {
	if isPlain(s) || bug(bugSteers) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			q := strconv.QuoteRune(r)
			b.WriteString(q[1 : len(q)-1])
		}
		s = s[size:]
	}
	return b.String()
}

// secretForms are what only a secret looks like: the last part of a token, and a private key of a file.
// Those of other secrets are words like any other.
var secretForms = regexp.MustCompile(`(\b` + regexp.QuoteMeta(trust.TokenPrefix) + `\.[^.\s]*\.[^.\s]*\.)[A-Za-z0-9_=-]+|(-----BEGIN [A-Z ]*PRIVATE KEY-----).*`)

// bugEchoes is planted to show that its test finds it: a secret that stands in the place of something
// else is repeated where others look.
const bugEchoes = "mistyped secret repeated"

// hushed is s without the secrets in it that somebody has given in the place of something else.
func hushed(s string) string {
	if bug(bugEchoes) {
		return s
	}
	return secretForms.ReplaceAllString(s, "$1$2…")
}

func isPlain(s string) bool {
	// Nearly all text is this, and a long list has a lot of it.
	ascii := true
	for i := 0; i < len(s) && ascii; i++ {
		ascii = s[i] >= ' ' && s[i] < 0x7f
	}
	return ascii || utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// plainJSON is one line of JSON without the characters that a terminal may act
// on and that JSON allows in strings: the control characters from U+007F to
// U+009F, and those that change the direction of text.
func plainJSON(line []byte) []byte {
	ascii := true // as in isPlain
	for i := 0; i < len(line) && ascii; i++ {
		ascii = line[i] < 0x7f
	}
	if ascii || !bytes.ContainsFunc(line, func(r rune) bool { return r >= 0x7f && !unicode.IsPrint(r) }) {
		return line
	}
	b := make([]byte, 0, len(line)+len(line)/8)
	for _, r := range string(line) { // it is valid UTF-8: json has seen to that
		switch {
		case r < 0x7f || unicode.IsPrint(r):
			b = utf8.AppendRune(b, r)
		case r > 0xffff: // two halves, as JSON wants it
			r -= 0x10000
			b = fmt.Appendf(b, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			b = fmt.Appendf(b, `\u%04x`, r)
		}
	}
	return b
}

// columnsOf is how many columns of a terminal s takes, which is plain: two for a
// wide character, none for one that is drawn over the one before it.
func columnsOf[T string | []byte](s T) int {
	for i := 0; ; i++ {
		if i == len(s) {
			return i
		}
		if s[i] >= utf8.RuneSelf {
			break
		}
	}
	n := 0
	for _, r := range string(s) {
		switch {
		case r < utf8.RuneSelf:
			n++
		case unicode.In(r, unicode.Mn, unicode.Me):
		case isWide(r):
			n += 2
		default:
			n++
		}
	}
	return n
}

func isWide(r rune) bool {
	k := width.LookupRune(r).Kind()
	return k == width.EastAsianWide || k == width.EastAsianFullwidth
}

// columnGap is how many blanks lie between two columns of a table.
const columnGap = 2

// table aligns what is put into it in columns. It keeps its rows until Flush.
type table struct {
	out *output
	// text has the cells, one behind the other: a long list has a lot of them, and one allocation for each would
	// cost more than all else.
	text  []byte
	cells []tableCell
	ends  []int // of the rows, in cells
}

type tableCell struct {
	end     int // in text
	columns int // of a cell that has others behind it, once Flush has counted
}

func newTable(out *output, head ...string) *table {
	t := &table{out: out}
	t.row(head...)
	return t
}

func (t *table) row(cells ...string) {
	for _, c := range cells {
		t.text = append(t.text, plain(c)...)
		t.endCell()
	}
	t.endRow()
}

// endCell makes what was put behind the cell before a cell. It is plain.
func (t *table) endCell() { t.cells = append(t.cells, tableCell{end: len(t.text)}) }

func (t *table) endRow() { t.ends = append(t.ends, len(t.cells)) }

// Flush prints the rows that there are. Further ones are aligned anew.
func (t *table) Flush() error {
	var widths []int
	begin, from := 0, 0
	for _, end := range t.ends {
		// The last cell of a row needs no room behind it, and may be long: nobody counts its columns.
		cells := t.cells[begin:end]
		for i := range cells[:max(len(cells)-1, 0)] {
			c := &cells[i]
			c.columns = columnsOf(t.text[from:c.end])
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], c.columns)
			from = c.end
		}
		if len(cells) > 0 {
			from = cells[len(cells)-1].end
		}
		begin = end
	}
	var line []byte
	begin, from = 0, 0
	for _, end := range t.ends {
		line = line[:0]
		for i, c := range t.cells[begin:end] {
			line = append(line, t.text[from:c.end]...)
			if begin+i < end-1 {
				for range widths[i] - c.columns + columnGap {
					line = append(line, ' ')
				}
			}
			from = c.end
		}
		begin = end
		if _, err := t.out.Write(append(bytes.TrimRight(line, " "), '\n')); err != nil {
			return err
		}
	}
	t.text, t.cells, t.ends = t.text[:0], t.cells[:0], t.ends[:0]
	return nil
}
