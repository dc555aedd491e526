package queries

import (
	"github.com/influxdata/influxql"

	"muster/shardmap/points/query"
)

// TextMax bounds a text, in bytes.
const TextMax = query.TextMax

// Statement is what a text says of one of its statements before it is carried out.
type Statement struct {
	Text    string // without passwords, at most [TextShown] bytes
	Changes bool   // it changes something, or ends a query
	ByTime  bool   // a SELECT whose rows are those of windows of time
}

// Parse returns the statements of a text. The error is a [*TextError], as of [Runner.Run].
func Parse(text string) (all []Statement, err error) {
	statements, err := query.Parse(text, nil)
	if err != nil {
		return nil, &TextError{err}
	}
	for _, s := range statements {
		all = append(all, Statement{Text: Shown(s.String()), Changes: changes(s), ByTime: byTime(s)})
	}
	return all, nil
}

// byTime reports whether a statement has GROUP BY time(…), the only call that may stand there.
func byTime(s influxql.Statement) bool {
	selects, ok := s.(*influxql.SelectStatement)
	if !ok {
		return false
	}
	for _, d := range selects.Dimensions {
		if _, ok := d.Expr.(*influxql.Call); ok {
			return true
		}
	}
	return false
}
