package line

import (
	"bytes"
	"fmt"

	"muster/points"
)

// The limits of a text, beside those of points.
const (
	// TextMax bounds a text, in bytes. InfluxDB's default for a request is a little less, so that what it takes
	// at once is taken at once.
	TextMax = 24 << 20
	// LineMax bounds a line, in bytes without its newline: a thousand fields with long names and values, and
	// eight of the longest strings.
	LineMax = 1 << 20
	// ListedMax is how many refused lines are listed. A client that sends the wrong format is told enough by these.
	ListedMax = 32
)

// Parser reads texts. It is for one goroutine; its memory is used again for the next text.
type Parser struct {
	b *points.Builder

	// Of the text that is being read:
	text      []byte
	precision Precision
	report    Report
	numbered  struct{ at, line int } // at this place begins this line
	unescaped []byte                 // a string without its escapes
}

// NewParser returns a parser.
func NewParser() *Parser { return &Parser{b: points.NewBuilder()} }

// Report says what became of the lines of a text. Blank lines and comments are not counted.
type Report struct {
	Points  int           // lines that became points
	Refused int           // lines that did not
	Listed  []RefusedLine // the first ListedMax of those
}

// RefusedLine is a line that was refused.
type RefusedLine struct {
	Line int // from 1; a string with newlines takes several
	Why  points.Error
}

func (r RefusedLine) String() string { return fmt.Sprintf("line %d: %v", r.Line, r.Why) }

// Err returns nil if no line was refused, and else an error that says which, in InfluxDB's words: "partial
// write" where some were kept.
func (r Report) Err() error {
	if r.Refused == 0 {
		return nil
	}
	return &RefusedError{r}
}

// RefusedError says which lines of a text were refused.
type RefusedError struct{ Report Report }

func (e *RefusedError) Error() string {
	r := e.Report
	text := "unable to parse points:"
	if r.Points > 0 {
		text = fmt.Sprintf("partial write: %d points kept, %d lines refused:", r.Points, r.Refused)
	}
	for i, x := range r.Listed {
		if i > 0 {
			text += ";"
		}
		text += " " + x.String()
	}
	if more := r.Refused - len(r.Listed); more > 0 {
		text += fmt.Sprintf("; and %d more", more)
	}
	return text
}

// Unwrap returns why the listed lines were refused, for errors.Is.
func (e *RefusedError) Unwrap() []error {
	errs := make([]error, len(e.Report.Listed))
	for i, x := range e.Report.Listed {
		errs[i] = x.Why
	}
	return errs
}

// Parse reads a text whose times are in a precision. Points without one get now, in nanoseconds since
// 1970 UTC, at that precision. The batch has the good lines; the report says what is wrong with the others.
// An error, which is a [points.Error], says that all of it is too much, and then nothing of it is kept.
//
// The batch is valid until the next call. The text may be changed after Parse returns.
func (p *Parser) Parse(text []byte, precision Precision, now int64) (*points.Batch, Report, error) {
	p.b.Reset()
	if len(text) > TextMax {
		return p.b.Batch(), Report{}, points.Refuse(points.BatchTooLong, nil)
	}
	p.text, p.precision, p.report = text, precision, Report{}
	defer func() { p.text = nil }() // it is the caller's
	p.numbered.at, p.numbered.line = 0, 1
	p.reserve()
	now = precision.floor(now)
	for at := 0; at < len(text); {
		next, why := p.line(at, now)
		if why.Reason == points.BatchFull {
			p.b.Reset()
			return p.b.Batch(), Report{}, why
		}
		if !why.None() {
			p.b.Rollback()
			p.refuse(at, why)
		}
		at = next
	}
	p.report.Points = p.b.Len()
	return p.b.Batch(), p.report, nil
}

// The shortest line is "a b=1" with its newline, the shortest value of a longer one "a=1" with its comma.
const (
	lineMin  = len("a b=1\n")
	valueMin = len("a=1,")
)

// reserve makes room for as many points and values as there can be in the text, and for names and strings of a
// third of it, which is more than most texts have.
func (p *Parser) reserve() {
	lines := min(bytes.Count(p.text, []byte{'\n'}), len(p.text)/lineMin) + 1
	values := min(bytes.Count(p.text, []byte{'='}), len(p.text)/valueMin+1)
	p.b.Reserve(lines, values, len(p.text)/3)
}

// refuse counts a line, and lists it if it is among the first.
func (p *Parser) refuse(at int, why points.Error) {
	p.report.Refused++
	if len(p.report.Listed) == ListedMax {
		return
	}
	p.numbered.line += bytes.Count(p.text[p.numbered.at:at], []byte{'\n'})
	p.numbered.at = at
	p.report.Listed = append(p.report.Listed, RefusedLine{Line: p.numbered.line, Why: why})
}

// line reads the line that begins at a place of the text, and returns where the next one begins. If it says
// why the line is refused, what the builder has of it must be taken back.
func (p *Parser) line(at int, now int64) (next int, why points.Error) {
	text := p.text[at:]
	// Nothing but a string reaches over a newline, so all that is looked for before the fields is looked
	// for up to there. Without that bound a text of short bad lines would be read once for each.
	first := text
	if n := bytes.IndexByte(text, '\n'); n >= 0 {
		first = text[:n]
	}
	begin := blank(first, 0)
	if begin == len(first) || first[begin] == '#' || string(first[begin:]) == "\r" {
		return at + len(first) + 1, points.Error{}
	}
	if len(first) > LineMax {
		return at + lineEnd(text) + 1, points.Refuse(points.LineTooLong, nil)
	}
	t, end, why := p.point(text, begin, keyEnd(first, begin), now)
	if why.None() && end > LineMax {
		why = points.Refuse(points.LineTooLong, nil)
	}
	if why.None() {
		why = p.b.Commit(t)
	}
	if !why.None() {
		end = lineEnd(text)
	}
	return at + end + 1, why
}

// blank returns the first place from i on that is neither a space nor a tab.
func blank(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\t') {
		i++
	}
	return i
}

// keyEnd returns where the key that begins at i ends: at the first space that no backslash precedes, or
// at the end of the line.
func keyEnd(line []byte, i int) int {
	for at := i; ; {
		n := bytes.IndexByte(line[at:], ' ')
		if n < 0 {
			if end := len(line); end > i && line[end-1] == '\r' {
				return end - 1
			}
			return len(line)
		}
		if at += n; at > i && line[at-1] == '\\' {
			at++
			continue
		}
		return at
	}
}

// point reads the point whose key stands from begin to end, and returns its time and where its line ends.
func (p *Parser) point(text []byte, begin, end int, now int64) (t int64, at int, why points.Error) {
	if why = p.b.Begin(text[begin:end]); !why.None() {
		return 0, 0, why
	}
	if at, why = p.fields(text, blank(text, end)); !why.None() {
		return 0, 0, why
	}
	at = blank(text, at)
	t = now
	if at < len(text) && text[at] != '\n' && text[at] != '\r' {
		if t, at, why = p.time(text, at); !why.None() {
			return 0, 0, why
		}
		for at < len(text) && text[at] == ' ' {
			at++
		}
	}
	if at < len(text) && text[at] == '\r' { // CRLF
		at++
	}
	if at < len(text) && text[at] != '\n' {
		return 0, 0, points.Refuse(points.TextAfterTime, nil)
	}
	return t, at, points.Error{}
}

// time reads the time that begins at a place of the text, and returns where it ends.
func (p *Parser) time(text []byte, at int) (int64, int, points.Error) {
	begin, negative := at, text[at] == '-'
	if negative {
		at++
	}
	// It is added up below zero, where there is one number more.
	t, fits := int64(0), true
	for ; at < len(text) && '0' <= text[at] && text[at] <= '9'; at++ {
		digit := int64(text[at] - '0')
		fits = fits && t >= (points.TimeMin+digit)/10
		t = t*10 - digit
	}
	switch {
	case at == begin || negative && at == begin+1:
		return 0, at, points.Refuse(points.InvalidTime, nil)
	case at < len(text) && (!ends(text[at]) || text[at] == ','):
		return 0, at, points.Refuse(points.InvalidTime, nil)
	}
	if !negative {
		t = -t
	}
	t, ok := p.precision.nanoseconds(t)
	if !fits || !ok {
		return 0, at, points.Refuse(points.TimeOutOfRange, nil)
	}
	return t, at, points.Error{}
}

// lineEnd returns where the line that text begins with ends, whatever is wrong with it: at the first
// newline that stands in no string, or at the end of the text. A string begins at a quote in the fields that
// stands behind an equals sign, or behind more equals signs than commas, and ends at the next quote. In it a
// backslash takes the meaning from a quote or a backslash, and outside from all but a newline. For good lines it is
// where [Parser.line] ends.
//
// InfluxDB counts equals signs and commas alone, and so finds no string behind v=1,,s=.
func lineEnd(text []byte) int {
	equals, commas, behind := 0, 0, 0 // behind the last equals sign
	fields, quoted := false, false
	for at := blank(text, 0); at < len(text); at++ {
		c := text[at]
		if quoted {
			if c == '\\' && at+1 < len(text) && (text[at+1] == '"' || text[at+1] == '\\') {
				at++
			}
			quoted = c != '"'
			continue
		}
		if c == '\n' {
			return at
		}
		if at > 0 && text[at-1] == '\\' {
			continue
		}
		switch {
		case c == ' ':
			fields = true
		case fields && c == '=':
			equals, behind = equals+1, at+1
		case fields && c == ',':
			commas++
		case fields && c == '"':
			quoted = equals > commas || at == behind
		}
	}
	return len(text)
}
