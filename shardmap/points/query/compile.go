package query

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/influxdata/influxql"
)

// Query is a SELECT statement that was found to make sense. The texts of errors are InfluxDB's.
type Query struct {
	stmt       *influxql.SelectStatement
	from, to   int64 // of the points that are asked for, both included
	bounded    bool  // from was named
	windows    Windows
	descending bool

	// The parts of the fields, as far as they decide what may stand beside what.
	calls     int
	aggregate bool // there is a function that does not select points
	distinct  bool
	ranked    string // top or bottom, if one of them is there
	plain     bool   // there is a field, a tag or a wildcard outside of functions
	extra     int64  // intervals before the first one, of which functions need the values
}

// Compile checks a statement. now, in nanoseconds since 1970 UTC, stands for now(), and is the end of what is asked for
// if there is a GROUP BY time(…) and no end is named.
func Compile(stmt *influxql.SelectStatement, now int64) (*Query, error) {
	q := &Query{stmt: stmt.Clone(), descending: !stmt.TimeAscending()}
	if err := q.supported(); err != nil {
		return nil, err
	}
	at := time.Unix(0, now).UTC()
	valuer := influxql.NowValuer{Now: at, Location: stmt.Location}
	cond, span, err := influxql.ConditionExpr(q.stmt.Condition, &valuer)
	if err != nil {
		return nil, err
	}
	if err := checkCondition(cond); err != nil {
		return nil, err
	}
	q.stmt.Condition = cond
	if err := q.dimensions(at); err != nil {
		return nil, err
	}
	q.bounded = !span.Min.IsZero()
	q.from, q.to = span.MinTimeNano(), span.MaxTimeNano()
	if span.Max.IsZero() && !q.windows.None() {
		q.to = now
	}
	if err := q.fields(); err != nil {
		return nil, err
	}
	q.stmt.RewriteDistinct()
	q.stmt.RewriteTimeFields()
	return q, nil
}

// supported refuses what is left out.
func (q *Query) supported() error {
	if q.stmt.Target != nil {
		return &UnsupportedError{"SELECT … INTO"}
	}
	for i, s := range q.stmt.Sources {
		switch s := s.(type) {
		case *influxql.Measurement:
			// A request has names of measurements alone: those of one policy could not be told from those of another.
			database, policy := Target(q.stmt.Sources[0])
			if i > 0 && (s.Database != database || s.RetentionPolicy != policy) {
				return &UnsupportedError{"more than one database or retention policy in FROM"}
			}
			if s.SystemIterator != "" || strings.HasPrefix(s.Name, "_") && q.stmt.StripName {
				return &UnsupportedError{"the measurement " + s.Name}
			}
		default:
			return &UnsupportedError{"a sub-query in FROM"}
		}
	}
	return nil
}

// Sources returns the measurements of which [Query.Plan] must know the outlines.
func (q *Query) Sources() Sources {
	var src Sources
	for _, s := range q.stmt.Sources {
		m := s.(*influxql.Measurement) // supported lets nothing else through
		if m.Regex != nil {
			src.Expressions = append(src.Expressions, m.Regex.Val.String())
		} else {
			src.Names = append(src.Names, m.Name)
		}
	}
	return src
}

// Span returns the times of the points that the query may need, both included: those that are asked for, and those
// before them that functions like derivative need.
func (q *Query) Span() (from, to int64) {
	from, to = q.from, q.to
	w := q.windows
	for range q.extra {
		if w.None() {
			break
		}
		if q.descending {
			to = w.later(to)
		} else {
			from = w.earlier(from)
		}
	}
	return from, to
}

// Target returns the database and the retention policy that a source names; they are empty if it names none. All sources
// of a [Query] name the same ones.
func Target(s influxql.Source) (database, policy string) {
	if m, ok := s.(*influxql.Measurement); ok {
		return m.Database, m.RetentionPolicy
	}
	return "", ""
}

// dimensions reads GROUP BY.
func (q *Query) dimensions(now time.Time) error {
	for _, d := range q.stmt.Dimensions {
		_, literal := d.Expr.(*influxql.Call)
		if c, ok := d.Expr.(*influxql.Call); ok && len(c.Args) > 0 {
			_, literal = c.Args[0].(*influxql.DurationLiteral)
		}
		switch expr := influxql.Reduce(d.Expr, nil).(type) {
		case *influxql.VarRef:
			if strings.EqualFold(expr.Val, "time") {
				return errors.New("time() is a function and expects at least one argument")
			}
			d.Expr = expr
		case *influxql.Call:
			if err := q.interval(expr, now, literal); err != nil {
				return err
			}
			d.Expr = expr
		case *influxql.Wildcard:
			d.Expr = expr
		case *influxql.RegexLiteral:
			d.Expr = expr
		default:
			return errors.New("only time and tag dimensions allowed")
		}
	}
	return nil
}

// interval reads time(…). literal reports whether its length stands there as such, as months must.
func (q *Query) interval(c *influxql.Call, now time.Time, literal bool) error {
	if c.Name != "time" {
		return errors.New("only time() calls allowed in dimensions")
	}
	if len(c.Args) < 1 || len(c.Args) > 2 {
		return errors.New("time dimension expected 1 or 2 arguments")
	}
	length, ok := c.Args[0].(*influxql.DurationLiteral)
	if !ok {
		return errors.New("time dimension must have duration argument")
	}
	if !q.windows.None() {
		return errors.New("multiple time dimensions not allowed")
	}
	q.windows.Zone = ZoneOf(q.stmt.Location)
	every := length.Val
	switch {
	case every > calendarBase && literal:
		q.windows.Months = int64(every - calendarBase)
		every = 0
	case every >= calendarBase:
		return fmt.Errorf("time dimension is longer than %dd", calendarBase/(24*time.Hour))
	default:
		// A negative interval is none, as in InfluxDB; so is one of 0.
		q.windows.Every = max(0, int64(every))
	}
	if len(c.Args) == 1 || q.windows.None() {
		return nil
	}
	return q.offset(c.Args[1], now, every)
}

// offset reads the second argument of time(…).
func (q *Query) offset(arg influxql.Expr, now time.Time, every time.Duration) error {
	from := func(t time.Time) error {
		if every == 0 {
			return errors.New("time dimension by months takes a duration as offset")
		}
		q.windows.Offset = int64(t.Sub(t.Truncate(every)))
		return nil
	}
	switch x := arg.(type) {
	case *influxql.DurationLiteral:
		if q.windows.Offset = int64(x.Val); every > 0 {
			q.windows.Offset = int64(x.Val % every)
		}
		return nil
	case *influxql.TimeLiteral:
		return from(x.Val)
	case *influxql.Call:
		if x.Name != "now" {
			return errors.New("time dimension offset function must be now()")
		}
		if len(x.Args) != 0 {
			return errors.New("time dimension offset now() function requires no arguments")
		}
		return from(now)
	case *influxql.StringLiteral:
		if x.IsTimeLiteral() {
			t, err := x.ToTimeLiteral(q.stmt.Location)
			if err != nil {
				return err
			}
			return from(t.Val)
		}
	}
	return errors.New("time dimension offset must be duration or now()")
}

// fields checks what is selected, and takes time out of it.
func (q *Query) fields() error {
	for i := 0; i < len(q.stmt.Fields); i++ {
		f := q.stmt.Fields[i]
		if ref, ok := f.Expr.(*influxql.VarRef); ok && ref.Val == "time" {
			if f.Alias != "" {
				q.stmt.TimeAlias = f.Alias
			}
			continue
		}
		f.Expr = influxql.Reduce(f.Expr, nil)
		if err := (&fieldCheck{q: q, wildcard: true}).expr(f.Expr); err != nil {
			return err
		}
	}
	return q.together()
}

// together checks whether what is selected may stand beside each other.
func (q *Query) together() error {
	some := false
	for _, f := range q.stmt.Fields {
		ref, ok := f.Expr.(*influxql.VarRef)
		some = some || !ok || ref.Val != "time"
	}
	switch {
	case !some:
		return errors.New("at least 1 non-time field must be queried")
	case q.calls == 0 && q.stmt.Fill == influxql.NoFill:
		return errors.New("fill(none) must be used with a function")
	case q.calls == 0 && q.stmt.Fill == influxql.LinearFill:
		return errors.New("fill(linear) must be used with a function")
	case q.calls == 0 && !q.windows.None():
		return errors.New("GROUP BY requires at least one aggregate function")
	case q.ranked != "" && q.calls > 1:
		return fmt.Errorf("selector function %s() cannot be combined with other functions", q.ranked)
	case q.distinct && (q.calls != 1 || q.plain):
		return errors.New("aggregate function distinct() cannot be combined with other functions or fields")
	case q.plain && q.aggregate:
		return errors.New("mixing aggregate and non-aggregate queries is not supported")
	case q.plain && q.calls > 1:
		return errors.New("mixing multiple selector functions with tags or fields is not supported")
	}
	return nil
}

// checkCondition refuses calls in WHERE.
func checkCondition(e influxql.Expr) error {
	switch e := e.(type) {
	case *influxql.BinaryExpr:
		if err := checkCondition(e.LHS); err != nil {
			return err
		}
		return checkCondition(e.RHS)
	case *influxql.ParenExpr:
		return checkCondition(e.Expr)
	case *influxql.Call:
		if mathFunctions[e.Name] {
			return &UnsupportedError{"the function " + e.Name + "()"}
		}
		return fmt.Errorf("invalid function call in condition: %s", e)
	}
	return nil
}

// mathFunctions and otherFunctions are InfluxDB's that this package has not.
var mathFunctions = set("abs", "sin", "cos", "tan", "asin", "acos", "atan", "atan2", "exp", "log", "ln", "log2", "log10", "sqrt", "pow", "floor", "ceil", "round")

var otherFunctions = set("sample", "integral", "holt_winters", "holt_winters_with_fit", "exponential_moving_average",
	"double_exponential_moving_average", "triple_exponential_moving_average", "relative_strength_index", "triple_exponential_derivative",
	"kaufmans_efficiency_ratio", "kaufmans_adaptive_moving_average", "chande_momentum_oscillator", "histogram")

func set(names ...string) map[string]bool {
	m := map[string]bool{}
	for _, n := range names {
		m[n] = true
	}
	return m
}

// fieldCheck checks one field of the selection.
type fieldCheck struct {
	q        *Query
	wildcard bool // one may stand here
}

func (c *fieldCheck) expr(e influxql.Expr) error {
	switch e := e.(type) {
	case *influxql.VarRef:
		c.q.plain = true
		return nil
	case *influxql.Wildcard:
		c.q.plain = true
		if !c.wildcard {
			return errors.New("unable to use wildcard in a binary expression")
		}
		return nil
	case *influxql.RegexLiteral:
		c.q.plain = true
		if !c.wildcard {
			return errors.New("unable to use regex in a binary expression")
		}
		return nil
	case *influxql.Call:
		if mathFunctions[e.Name] || otherFunctions[e.Name] {
			return &UnsupportedError{"the function " + e.Name + "()"}
		}
		c.q.calls++
		return c.call(e)
	case *influxql.Distinct:
		c.q.calls++
		return c.distinct(e.NewCall().Args, true)
	case *influxql.BinaryExpr:
		return c.binary(e)
	case *influxql.ParenExpr:
		return c.expr(e.Expr)
	case influxql.Literal:
		return errors.New("field must contain at least one variable")
	}
	return &UnsupportedError{"a field like " + e.String()}
}

func (c *fieldCheck) binary(e *influxql.BinaryExpr) error {
	c.wildcard = false
	_, left := e.LHS.(influxql.Literal)
	_, right := e.RHS.(influxql.Literal)
	switch {
	case left && right:
		return errors.New("cannot perform a binary expression on two literals")
	case left:
		return c.expr(e.RHS)
	case right:
		return c.expr(e.LHS)
	}
	if err := c.expr(e.LHS); err != nil {
		return err
	}
	return c.expr(e.RHS)
}

// call checks a function that was counted.
func (c *fieldCheck) call(e *influxql.Call) error {
	switch e.Name {
	case "percentile":
		if len(e.Args) != 2 {
			return fmt.Errorf("invalid number of arguments for percentile, expected 2, got %d", len(e.Args))
		}
		switch e.Args[1].(type) {
		case *influxql.IntegerLiteral, *influxql.NumberLiteral:
			return c.symbol(e.Name, e.Args[0])
		}
		return errors.New("expected float argument in percentile()")
	case "distinct":
		return c.distinct(e.Args, true)
	case "derivative", "non_negative_derivative", "elapsed":
		return c.unit(e)
	case "difference", "non_negative_difference", "cumulative_sum":
		if len(e.Args) != 1 {
			return fmt.Errorf("invalid number of arguments for %s, expected 1, got %d", e.Name, len(e.Args))
		}
		c.q.extra = max(c.q.extra, 1)
		return c.transformed(e)
	case "moving_average":
		return c.movingAverage(e)
	case "top", "bottom":
		return c.rank(e)
	case "max", "min", "first", "last":
	case "count", "sum", "mean", "median", "mode", "stddev", "spread":
		c.q.aggregate = true
	default:
		return fmt.Errorf("undefined function %s()", e.Name)
	}
	if len(e.Args) != 1 {
		return fmt.Errorf("invalid number of arguments for %s, expected 1, got %d", e.Name, len(e.Args))
	}
	if e.Name == "count" {
		if of := distinctArgs(e.Args[0]); of != nil {
			return c.distinct(of, false)
		}
	}
	return c.symbol(e.Name, e.Args[0])
}

// distinctArgs returns the arguments of distinct, if e is a call of it.
func distinctArgs(e influxql.Expr) []influxql.Expr {
	switch e := e.(type) {
	case *influxql.Call:
		if e.Name == "distinct" {
			return append([]influxql.Expr{}, e.Args...)
		}
	case *influxql.Distinct:
		return e.NewCall().Args
	}
	return nil
}

// distinct checks distinct(). alone reports whether it is the field itself.
func (c *fieldCheck) distinct(args []influxql.Expr, alone bool) error {
	if len(args) == 0 {
		return errors.New("distinct function requires at least one argument")
	}
	if len(args) != 1 {
		return errors.New("distinct function can only have one argument")
	}
	if _, ok := args[0].(*influxql.VarRef); !ok {
		return errors.New("expected field argument in distinct()")
	}
	c.q.distinct = c.q.distinct || alone
	c.q.aggregate = true
	return nil
}

// rank checks top and bottom: a field, further fields or tags, and how many points.
func (c *fieldCheck) rank(e *influxql.Call) error {
	if c.q.ranked != "" {
		return fmt.Errorf("selector function %s() cannot be combined with other functions", c.q.ranked)
	}
	c.q.ranked = e.Name
	if len(e.Args) < 2 {
		return fmt.Errorf("invalid number of arguments for %s, expected at least 2, got %d", e.Name, len(e.Args))
	}
	last := e.Args[len(e.Args)-1]
	n, ok := last.(*influxql.IntegerLiteral)
	switch most := int64(c.q.stmt.Limit); {
	case !ok:
		return fmt.Errorf("expected integer as last argument in %s(), found %s", e.Name, last)
	case n.Val <= 0:
		return fmt.Errorf("limit (%d) in %s function must be at least 1", n.Val, e.Name)
	case most > 0 && n.Val > most:
		return fmt.Errorf("limit (%d) in %s function can not be larger than the LIMIT (%d) in the select statement", n.Val, e.Name, most)
	}
	if _, ok := e.Args[0].(*influxql.VarRef); !ok {
		return fmt.Errorf("expected first argument to be a field in %s(), found %s", e.Name, e.Args[0])
	}
	for _, arg := range e.Args[1 : len(e.Args)-1] {
		if _, ok := arg.(*influxql.VarRef); !ok {
			return fmt.Errorf("only fields or tags are allowed in %s(), found %s", e.Name, arg)
		}
		c.q.plain = true
	}
	return nil
}

// symbol checks that a function is of a field, or of several by a wildcard.
func (c *fieldCheck) symbol(name string, e influxql.Expr) error {
	switch e.(type) {
	case *influxql.VarRef:
		return nil
	case *influxql.Wildcard:
		if !c.wildcard {
			return fmt.Errorf("unsupported expression with wildcard: %s()", name)
		}
		c.q.aggregate = true
		return nil
	case *influxql.RegexLiteral:
		if !c.wildcard {
			return fmt.Errorf("unsupported expression with regex field: %s()", name)
		}
		c.q.aggregate = true
		return nil
	}
	return fmt.Errorf("expected field argument in %s()", name)
}

// unit checks a function that may have a duration behind the field.
func (c *fieldCheck) unit(e *influxql.Call) error {
	if len(e.Args) < 1 || len(e.Args) > 2 {
		return fmt.Errorf("invalid number of arguments for %s, expected at least 1 but no more than 2, got %d", e.Name, len(e.Args))
	}
	if len(e.Args) == 2 {
		d, ok := e.Args[1].(*influxql.DurationLiteral)
		if !ok {
			return fmt.Errorf("second argument to %s must be a duration, got %T", e.Name, e.Args[1])
		}
		if d.Val <= 0 {
			return fmt.Errorf("duration argument must be positive, got %s", influxql.FormatDuration(d.Val))
		}
	}
	c.q.extra = max(c.q.extra, 1)
	return c.transformed(e)
}

// movingAverageMax bounds the values of which one average is made, which are kept for each group.
const movingAverageMax = 1 << 16

func (c *fieldCheck) movingAverage(e *influxql.Call) error {
	if len(e.Args) != 2 {
		return fmt.Errorf("invalid number of arguments for moving_average, expected 2, got %d", len(e.Args))
	}
	n, ok := e.Args[1].(*influxql.IntegerLiteral)
	if !ok {
		return fmt.Errorf("second argument for moving_average must be an integer, got %T", e.Args[1])
	}
	if n.Val <= 1 {
		return fmt.Errorf("moving_average window must be greater than 1, got %d", n.Val)
	}
	if n.Val > movingAverageMax {
		return &LimitError{"values in the window of moving_average", n.Val, movingAverageMax, "use GROUP BY time(…) with a longer interval"}
	}
	c.q.extra = max(c.q.extra, 1)
	return c.transformed(e)
}

// transformed checks what a function of stage 2 is of: of a function if there are intervals, else of a field.
func (c *fieldCheck) transformed(e *influxql.Call) error {
	c.q.aggregate = true
	none := c.q.windows.None()
	arg, ok := e.Args[0].(*influxql.Call)
	if d, is := e.Args[0].(*influxql.Distinct); is {
		arg, ok = d.NewCall(), true
	}
	switch {
	case ok && none:
		return fmt.Errorf("%s aggregate requires a GROUP BY interval", e.Name)
	case !ok && !none:
		return fmt.Errorf("aggregate function required inside the call to %s", e.Name)
	case !ok:
		return c.symbol(e.Name, e.Args[0])
	case arg.Name == "distinct":
		return c.distinct(arg.Args, false)
	case mathFunctions[arg.Name] || otherFunctions[arg.Name]:
		return &UnsupportedError{"the function " + arg.Name + "()"}
	case arg.Name == "top" || arg.Name == "bottom":
		return &UnsupportedError{arg.Name + "() in another function"}
	}
	// InfluxDB counts the inner call too, which matters to nothing that is allowed beside it.
	c.q.calls++
	return c.call(arg)
}

// earlier returns a time one window before t.
func (w *Windows) earlier(t int64) int64 {
	if w.Months > 0 {
		start, _ := w.of(t)
		before, _ := w.of(max(start-1, influxql.MinTime))
		return max(before, influxql.MinTime)
	}
	if t < influxql.MinTime+w.Every {
		return influxql.MinTime
	}
	return t - w.Every
}

// later returns a time one window after t.
func (w *Windows) later(t int64) int64 {
	if w.Months > 0 {
		_, end := w.of(t)
		_, after := w.of(min(end, math.MaxInt64-1))
		return min(after, influxql.MaxTime)
	}
	if t > influxql.MaxTime-w.Every {
		return influxql.MaxTime
	}
	return t + w.Every
}
