package query

import (
	"regexp"
	"slices"
	"strings"

	"github.com/influxdata/influxql"

	"muster/shardmap/points"
	"muster/shardmap/points/column"
)

// parseCondition reads the condition of a request.
func parseCondition(text string) (influxql.Expr, error) {
	if text == "" {
		return nil, nil
	}
	l := lexer{text: text, regex: true}
	if err := l.check(); err != nil {
		return nil, err
	}
	return influxql.ParseExpr(text)
}

// literal returns a boolean as an expression.
func literal(v bool) influxql.Expr { return &influxql.BooleanLiteral{Val: v} }

// residual returns what a condition demands of the points of a series with these tags: what it says of tags is
// replaced by whether it holds. A name that is neither a field nor a tag is a tag that no series has.
func residual(e influxql.Expr, tags []points.Tag) influxql.Expr {
	switch e := e.(type) {
	case *influxql.ParenExpr:
		return residual(e.Expr, tags)
	case *influxql.BooleanLiteral:
		return e
	case *influxql.BinaryExpr:
		if e.Op == influxql.AND || e.Op == influxql.OR {
			return both(e.Op, residual(e.LHS, tags), residual(e.RHS, tags))
		}
		if holds, known := ofTag(e, tags); known {
			return literal(holds)
		}
		return e
	}
	// InfluxDB finds no series by a condition like that.
	return literal(false)
}

// both joins two conditions, and leaves out what is known.
func both(op influxql.Token, l, r influxql.Expr) influxql.Expr {
	if b, ok := l.(*influxql.BooleanLiteral); ok {
		if b.Val == (op == influxql.AND) {
			return r
		}
		return l
	}
	if b, ok := r.(*influxql.BooleanLiteral); ok {
		if b.Val == (op == influxql.AND) {
			return l
		}
		return r
	}
	return &influxql.BinaryExpr{Op: op, LHS: l, RHS: r}
}

// ofTag reports whether a comparison of a tag holds, if it is one that a series decides.
func ofTag(e *influxql.BinaryExpr, tags []points.Tag) (holds, known bool) {
	ref, ok := e.LHS.(*influxql.VarRef)
	other := e.RHS
	if !ok {
		if ref, ok = e.RHS.(*influxql.VarRef); !ok {
			return false, false
		}
		other = e.LHS
	}
	if isField(ref) {
		return false, false
	}
	value := tagValue(tags, ref.Val)
	switch other := other.(type) {
	case *influxql.StringLiteral:
		// Any operator but = asks for another value, as in InfluxDB.
		return (value == other.Val) == (e.Op == influxql.EQ), true
	case *influxql.RegexLiteral:
		return other.Val.MatchString(value) == (e.Op == influxql.EQREGEX), true
	case *influxql.VarRef:
		if isField(other) {
			return false, false
		}
		return (value == tagValue(tags, other.Val)) == (e.Op == influxql.EQ), true
	}
	return false, false
}

// FixedTags returns tags that a series must have for a condition to hold: those of tag = 'text' that nothing but AND joins
// with the rest.
func FixedTags(e influxql.Expr) []points.Tag {
	switch e := e.(type) {
	case *influxql.ParenExpr:
		return FixedTags(e.Expr)
	case *influxql.BinaryExpr:
		if e.Op == influxql.AND {
			return append(FixedTags(e.LHS), FixedTags(e.RHS)...)
		}
		ref, name := e.LHS.(*influxql.VarRef)
		text, value := e.RHS.(*influxql.StringLiteral)
		// An empty text is that of a series which lacks the tag.
		if e.Op == influxql.EQ && name && value && text.Val != "" && !isField(ref) {
			return []points.Tag{{Name: ref.Val, Value: text.Val}}
		}
	}
	return nil
}

func isField(r *influxql.VarRef) bool {
	return r.Type != influxql.Tag && r.Type != influxql.Unknown
}

// tagValue returns the value of a tag; "" if the series has none.
func tagValue(tags []points.Tag, name string) string {
	i, found := slices.BinarySearchFunc(tags, name, func(t points.Tag, name string) int { return strings.Compare(t.Name, name) })
	if !found {
		return ""
	}
	return tags[i].Value
}

// filter decides which points of a series are taken.
type filter struct {
	expr influxql.Expr // nil: all of them
	refs []influxql.VarRef
	eval influxql.ValuerEval
	now  []any // the value of each of refs

	// A comparison of one field of numbers with a number is done without the general evaluation.
	op     influxql.Token
	kind   column.Kind
	limit  float64
	number int64
}

// newFilter returns the filter of a residual; none reports that it takes nothing.
func newFilter(e influxql.Expr) (f *filter, none bool) {
	if b, ok := e.(*influxql.BooleanLiteral); ok {
		return &filter{}, !b.Val
	}
	if e == nil {
		return &filter{}, false
	}
	f = &filter{expr: e}
	seen := map[string]bool{}
	for _, r := range influxql.ExprNames(e) {
		if !seen[r.Val] {
			seen[r.Val] = true
			f.refs = append(f.refs, r)
		}
	}
	f.now = make([]any, len(f.refs))
	f.eval = influxql.ValuerEval{Valuer: f}
	if b, ok := e.(*influxql.BinaryExpr); ok && len(f.refs) == 1 {
		if r, ok := b.LHS.(*influxql.VarRef); ok && comparison(b.Op) {
			f.simple(r, b)
		}
	}
	return f, false
}

// simple notes a comparison of a field of numbers with a number.
func (f *filter) simple(r *influxql.VarRef, b *influxql.BinaryExpr) {
	switch n := b.RHS.(type) {
	case *influxql.NumberLiteral:
		if r.Type == influxql.Float {
			f.op, f.kind, f.limit = b.Op, column.Float, n.Val
		}
	case *influxql.IntegerLiteral:
		switch r.Type {
		case influxql.Float:
			f.op, f.kind, f.limit = b.Op, column.Float, float64(n.Val)
		case influxql.Integer:
			f.op, f.kind, f.number = b.Op, column.Integer, n.Val
		}
	}
}

func comparison(op influxql.Token) bool {
	return op == influxql.EQ || op == influxql.NEQ || op >= influxql.LT && op <= influxql.GTE
}

// Value returns the value of a name at the point that is looked at, for the parser's evaluation.
func (f *filter) Value(name string) (any, bool) {
	for i := range f.refs {
		if f.refs[i].Val == name {
			return f.now[i], true
		}
	}
	return nil, false
}

// compare applies a comparison of numbers.
func compare[T number](op influxql.Token, v, limit T) bool {
	switch op {
	case influxql.EQ:
		return v == limit
	case influxql.NEQ:
		return v != limit
	case influxql.LT:
		return v < limit
	case influxql.LTE:
		return v <= limit
	case influxql.GT:
		return v > limit
	}
	return v >= limit
}

// compareAll compares the values of a column at some times; a time at which there is none is not kept.
func compareAll[T number](op influxql.Token, c *series, values []T, limit T, times []int64, kept []bool) {
	k := 0
	for i, t := range times {
		if k = c.seek(k, t); k < len(c.times) && c.times[k] == t {
			kept[i] = compare(op, values[k], limit)
		}
	}
}

// null is what a point has that lacks a field, for the parser's evaluation. It compares with nothing; a nil would be false
// where it is compared with a boolean, so that points without the field were found by field = false.
var null any = (*bool)(nil)

// keep returns which of the points at these times are taken; columns are those of refs.
func (f *filter) keep(times []int64, columns []series) []bool {
	kept := make([]bool, len(times))
	if c := &columns[0]; f.op != 0 && c.constant.Kind == 0 && c.values.Kind == f.kind {
		if f.kind == column.Float {
			compareAll(f.op, c, c.values.Floats, f.limit, times, kept)
		} else {
			compareAll(f.op, c, c.values.Integers, f.number, times, kept)
		}
		return kept
	}
	places := make([]int, len(columns))
	for i, t := range times {
		for j := range columns {
			if f.now[j] = boxed(columns[j].valueAt(&places[j], t)); f.now[j] == nil {
				f.now[j] = null
			}
		}
		kept[i] = f.eval.EvalBool(f.expr)
	}
	return kept
}

// boxed returns a value as the parser's evaluation takes it; nil if it is null.
func boxed(v points.Value) any {
	switch v.Kind {
	case column.Float:
		return v.Float()
	case column.Integer:
		return v.Integer()
	case column.Unsigned:
		return v.Unsigned()
	case column.Boolean:
		return v.Boolean()
	case column.String:
		return v.Text()
	}
	return nil
}

// unboxed is the reverse of boxed. Anything else, such as a regular expression, is null.
func unboxed(v any) points.Value {
	switch v := v.(type) {
	case float64:
		return points.FloatValue(v)
	case int64:
		return points.IntegerValue(v)
	case uint64:
		return points.UnsignedValue(v)
	case bool:
		return points.BooleanValue(v)
	case string:
		return points.StringValue(v)
	case *regexp.Regexp:
	}
	return points.Value{}
}
