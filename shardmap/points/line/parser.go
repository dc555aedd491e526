package line

import (
	"bytes"
	"fmt"

	"muster/shardmap/points"
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

	// These belong to the text that is being read.
	text      []byte
	precision Precision
	report    Report
	numbered  struct{ at, line int } // at this place begins this line
	run       run
	written   []byte // the key or the name of a field, with its escapes
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
	p.run = run{}
	defer func() { p.text, p.run.decoder = nil, nil }() // they are the caller's
	p.numbered.at, p.numbered.line = 0, 1
	p.reserve()
	now = precision.floor(now)
	for at := 0; at < len(text); {
		begin, end := cut(text[at:])
		why := points.Error{}
		switch {
		case begin == end:
		case end > LineMax:
			why = points.Refuse(points.LineTooLong, nil)
		default:
			why = p.next(at, begin, end, now)
		}
		if why.Reason == points.BatchFull {
			p.b.Reset()
			return p.b.Batch(), Report{}, why
		}
		if !why.None() {
			p.b.Rollback()
			p.refuse(at, why)
		}
		at += end + 1
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
