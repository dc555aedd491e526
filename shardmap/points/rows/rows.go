package rows

import (
	"fmt"
	"slices"
	"time"

	"muster/shardmap/points"
)

// Series is one group of rows of an answer.
type Series struct {
	Name    string       // of the measurement; may be empty, as for SHOW DIAGNOSTICS
	Tags    []points.Tag // of the group, by name; none without GROUP BY of tags
	Columns []string
	// Values are the rows, one behind the other. A zero Value is null.
	// Invariant: len(Values) is a multiple of len(Columns).
	Values []points.Value
	// Timed is set if the first column has times: values of kind integer, in nanoseconds since 1970 UTC.
	Timed bool
	// Location is the zone in which times are written as text, that of the clause tz(). None is UTC.
	Location *time.Location
	// Partial is set if the next series goes on with this one.
	Partial bool
}

// Len returns how many rows there are.
func (s *Series) Len() int {
	if len(s.Columns) == 0 {
		return 0
	}
	return len(s.Values) / len(s.Columns)
}

// Row returns the i-th row. It is the series' own.
func (s *Series) Row(i int) []points.Value {
	n := len(s.Columns)
	return s.Values[i*n : (i+1)*n : (i+1)*n]
}

// continues reports whether s can go on with what before began.
func (s *Series) continues(before *Series) bool {
	return s.Name == before.Name && slices.Equal(s.Tags, before.Tags) && slices.Equal(s.Columns, before.Columns)
}

// Message is a remark on a statement that was carried out.
type Message struct {
	Level string // "warning"
	Text  string
}

// Warning is the only [Message.Level] that InfluxDB knows.
const Warning = "warning"

// Result is what one statement answers, or a part of it.
type Result struct {
	Statement int // its number in the query, from 0
	Series    []Series
	Messages  []Message
	// Partial is set if the next result goes on with this statement.
	Partial bool
	// Err is why the statement ended; its text is what the client reads.
	Err error
}

// order checks that results come as the package comment demands.
type order struct {
	last Series // without its values
	some bool   // a series was there
	result
}

// result is what must be remembered of the result before.
type result struct {
	statement int
	open      bool // more is to come
	begun     bool
}

// next takes note of a result, and reports whether it goes on with the statement of the one before.
func (o *order) next(r *Result) (same bool) {
	same = o.begun && o.open
	if same && r.Statement != o.statement {
		panic(fmt.Sprintf("rows: statement %d comes while statement %d goes on", r.Statement, o.statement))
	}
	if !same {
		o.some, o.last = false, Series{}
	}
	o.result = result{statement: r.Statement, open: r.Partial && r.Err == nil, begun: true}
	return same
}

// series takes note of a series, and reports whether it goes on with the one before.
func (o *order) series(s *Series) (same bool) {
	same = o.some && o.last.Partial
	if same && !s.continues(&o.last) {
		panic(fmt.Sprintf("rows: series %q comes while series %q goes on", s.Name, o.last.Name))
	}
	if n := len(s.Columns); n > 0 && len(s.Values)%n != 0 {
		panic(fmt.Sprintf("rows: %d values in %d columns", len(s.Values), n))
	}
	o.last, o.some = *s, true
	o.last.Values = nil
	return same
}
