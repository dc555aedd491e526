package query

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/influxdata/influxql"
)

// calendarBase is where durations begin that stand for months: calendarBase plus n ns is n months. The parser knows no
// months, so time(1mo) is given to it as such a duration, and no other duration may be so long: it is 290 years.
const calendarBase = 106_000 * 24 * time.Hour

// calendarMonthsMax bounds the months of one interval: a thousand years.
const calendarMonthsMax = 12_000

// Parse reads the statements of a text, with InfluxData's parser behind the limits of this package. params are bound to
// names like $host, as the parser has them; it may be nil.
func Parse(text string, params map[string]any) ([]influxql.Statement, error) {
	if len(text) > TextMax {
		return nil, &LimitError{"bytes of text", int64(len(text)), TextMax, "split it into several queries"}
	}
	l := lexer{text: text, regex: true}
	if err := l.check(); err != nil {
		return nil, err
	}
	for name, v := range params {
		if s, ok := v.(string); ok && len(s) > TextMax {
			return nil, &LimitError{"bytes in the parameter " + strconv.Quote(name), int64(len(s)), TextMax, "bind a shorter one"}
		}
		if m, ok := v.(map[string]any); ok {
			// A map is a value with its kind, such as {"regex": "…"}.
			if re, ok := m["regex"].(string); ok {
				if err := l.boundRegex(re); err != nil {
					return nil, err
				}
			}
		}
	}
	p := influxql.NewParser(strings.NewReader(l.rewritten()))
	if params != nil {
		p.SetParams(params)
	}
	q, err := p.ParseQuery()
	if err != nil {
		return nil, fmt.Errorf("error parsing query: %w", err)
	}
	return q.Statements, nil
}

// lexer goes over a text as the parser's scanner would, counts what makes the parser recurse, and finds intervals by the
// calendar.
//
// A slash begins a regular expression only where the parser would take one. Where the two disagree the parser stops with
// an error at that slash, so nothing hides in what one of them takes for a regular expression and the other does not.
type lexer struct {
	text string
	at   int

	regex   bool // a slash here begins a regular expression
	depth   int
	repeats int // bytes of regular expressions with repetitions
	regexes int // bytes of all
	ops     int
	ends    int      // statements that have ended
	last    []string // the last two tokens, in lower case

	calendar []replacement
}

// replacement is an interval by the calendar in the text.
type replacement struct {
	from, to int
	months   int
}

func (l *lexer) check() error {
	l.last = make([]string, 2)
	for l.at < len(l.text) {
		if err := l.token(); err != nil {
			return err
		}
	}
	return nil
}

// token passes over one token.
func (l *lexer) token() error {
	rest := l.text[l.at:]
	c := rest[0]
	switch {
	case c == ' ' || c == '\t' || c == '\n':
		l.at++
		return nil
	case c == '/' && l.regex:
		return l.expression(rest)
	case strings.HasPrefix(rest, "--"):
		l.pass(strings.IndexByte(rest, '\n'), 1)
		return nil
	case strings.HasPrefix(rest, "/*"):
		l.pass(strings.Index(rest[2:], "*/"), 4)
		return nil
	case c == '\'' || c == '"':
		l.at += quoted(rest, c)
		l.took(string(c), false)
		return nil
	case c >= '0' && c <= '9':
		return l.number(rest)
	case letter(c):
		return l.word(rest)
	}
	return l.sign(rest)
}

// pass goes behind what ends at a place, or to the end of the text if at is negative.
func (l *lexer) pass(at, more int) {
	if at < 0 {
		l.at = len(l.text)
		return
	}
	l.at += at + more
}

// took notes a token, and whether a regular expression may follow it.
func (l *lexer) took(token string, regex bool) {
	l.last[0], l.last[1] = l.last[1], token
	l.regex = regex
}

// quoted returns how long the string or the name is that b begins with; it ends early with the line, as the parser has it.
func quoted(b string, quote byte) int {
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case quote:
			return i + 1
		case '\\':
			i++
		case '\n':
			return i
		}
	}
	return len(b)
}

// expression passes over a regular expression.
func (l *lexer) expression(rest string) error {
	end := 1
	for end < len(rest) && rest[end] != '/' {
		if rest[end] == '\\' {
			end++
		}
		end++
	}
	end = min(end, len(rest))
	if err := l.boundRegex(rest[1:end]); err != nil {
		return err
	}
	l.at += min(end+1, len(rest))
	l.took("/", false)
	return nil
}

// boundRegex counts a regular expression.
func (l *lexer) boundRegex(re string) error {
	l.regexes += len(re)
	if strings.IndexByte(re, '{') >= 0 {
		l.repeats += len(re)
	}
	if l.regexes > RegexMax {
		return &LimitError{"bytes of regular expressions", int64(l.regexes), RegexMax, "name values instead"}
	}
	if l.repeats > RepeatRegexMax {
		return &LimitError{"bytes of regular expressions with repetitions like {1000}", int64(l.repeats), RepeatRegexMax, "use * or +"}
	}
	return nil
}

// number passes over a number or a duration.
func (l *lexer) number(rest string) error {
	n := 0
	for n < len(rest) && rest[n] >= '0' && rest[n] <= '9' {
		n++
	}
	digits := rest[:n]
	for n < len(rest) && (letter(rest[n]) && rest[n] != '_' || rest[n] >= '0' && rest[n] <= '9' || rest[n] >= 0x80) {
		n++
	}
	from, unit := l.at, rest[len(digits):n]
	l.at += n
	interval := l.last[0] == "time" && l.last[1] == "("
	l.took("0", false)
	if unit == "mo" || unit == "y" {
		if !interval {
			return fmt.Errorf("invalid duration %s; months and years stand only in GROUP BY time(%s)", rest[:n], rest[:n])
		}
		months, err := strconv.Atoi(digits)
		if unit == "y" {
			months *= 12
		}
		if err != nil || months < 1 || months > calendarMonthsMax {
			return fmt.Errorf("invalid interval %s; want 1mo to %dmo, or 1y to %dy", rest[:n], calendarMonthsMax, calendarMonthsMax/12)
		}
		l.calendar = append(l.calendar, replacement{from, l.at, months})
		return nil
	}
	if d, err := influxql.ParseDuration(rest[:n]); unit != "" && err == nil && d >= calendarBase {
		return fmt.Errorf("invalid duration %s; want less than %dd", rest[:n], calendarBase/(24*time.Hour))
	}
	return nil
}

// word passes over a name or a keyword. Behind keywords the parser takes a regular expression, behind names it does not.
func (l *lexer) word(rest string) error {
	n := 1
	for n < len(rest) && (letter(rest[n]) || rest[n] >= '0' && rest[n] <= '9') {
		n++
	}
	l.at += n
	w := strings.ToLower(rest[:n])
	if w == "and" || w == "or" {
		if err := l.operator(); err != nil {
			return err
		}
	}
	tok := influxql.Lookup(w)
	l.took(w, tok != influxql.IDENT && tok != influxql.TRUE && tok != influxql.FALSE)
	return nil
}

// sign passes over a character that is no part of a name.
func (l *lexer) sign(rest string) error {
	n := 1
	if strings.HasPrefix(rest, "=~") || strings.HasPrefix(rest, "!~") {
		n = 2
	}
	l.at += n
	c := rest[:n]
	switch c {
	case "(":
		if l.depth++; l.depth > DepthMax {
			return &LimitError{"parentheses in each other", int64(l.depth), DepthMax, "nest less"}
		}
	case ")":
		l.depth = max(0, l.depth-1)
	case ";":
		if l.ends++; l.ends >= StatementsMax {
			return &LimitError{"statements", int64(l.ends) + 1, StatementsMax, "split it into several queries"}
		}
		l.depth = 0
	case ",", ".", "$", ":":
	default:
		if err := l.operator(); err != nil {
			return err
		}
	}
	l.took(c, c == "(" || c == "," || c == "." || c == "=~" || c == "!~")
	return nil
}

func (l *lexer) operator() error {
	if l.ops++; l.ops > OperatorsMax {
		return &LimitError{"operators", int64(l.ops), OperatorsMax, "use a regular expression instead of a chain of OR"}
	}
	return nil
}

// rewritten returns the text with intervals that the parser can read.
func (l *lexer) rewritten() string {
	if len(l.calendar) == 0 {
		return l.text
	}
	var b strings.Builder
	from := 0
	for _, r := range l.calendar {
		b.WriteString(l.text[from:r.from])
		b.WriteString(strconv.FormatInt(int64(calendarBase)+int64(r.months), 10) + "ns")
		from = r.to
	}
	b.WriteString(l.text[from:])
	return b.String()
}

func letter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' }
