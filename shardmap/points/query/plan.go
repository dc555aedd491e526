package query

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/influxdata/influxql"

	"muster/shardmap/points/column"
)

// Plan is how a query is carried out: what each shard is asked for, and what is made of the answers.
type Plan struct {
	Request Request // the same for each shard

	query    *Query
	names    []string // of columns, time first
	fields   []output
	slots    []slot
	calls    []*call // that are not in other ones, each once
	plain    []int   // the slots of fields and tags outside of functions, in the order of the further fields of items
	unknown  []int   // the slots of names that no shard knows
	selector bool    // the only call selects points, which keep their times
	bare     int     // the item of a selection without calls; -1: there is none
}

// output is what a column after the time is made of.
type output struct {
	expr influxql.Expr // with a name like val3 for each slot
	slot int           // the slot that it is, and nothing else; -1: it must be evaluated
}

// slot is a value of a row from which outputs are made: that of a call, a field or a tag.
type slot struct {
	kind column.Kind // 0: nobody has values for it
}

// call is a function with what it needs.
type call struct {
	name     string
	inner    *call   // what it is of; nil: an item
	item     int     // -1: no shard has the field
	distinct bool    // of the item's values each one counts once
	number   float64 // of percentile
	length   int     // of moving_average, top and bottom
	each     []int   // of top and bottom: the tags, by their places among aux, of which each combination has one point
	ranks    bool    // top and bottom: their points keep their times
	grouped  bool    // of top and bottom: there are names behind the first one
	unit     int64   // of derivative and elapsed, in ns
	kind     column.Kind
	slot     int
	from, to int64 // of the points that it needs, both included
}

// KindError refuses a function of a field whose values it has no meaning for.
type KindError struct {
	Function, Field string
	Kind            column.Kind
}

func (e *KindError) Error() string {
	return fmt.Sprintf("%s() has no meaning for the %s field %q", e.Function, e.Kind, e.Field)
}

// Plan plans the query for shards that have this outline together.
func (q *Query) Plan(o Outline) (*Plan, error) {
	m := mapper{&o}
	stmt, err := q.stmt.RewriteFields(m)
	if err != nil {
		return nil, err
	}
	types := influxql.TypeValuerEval{TypeMapper: m}
	for _, f := range stmt.Fields {
		if _, err := types.EvalType(f.Expr); err != nil {
			return nil, err
		}
	}
	p := &planner{plan: &Plan{query: q, names: stmt.ColumnNames(), bare: -1}, types: &types, symbols: map[string]int{}}
	p.request(stmt, &o)
	for _, f := range stmt.Fields {
		expr, slot, err := p.symbolise(f.Expr)
		if err != nil {
			return nil, err
		}
		p.plan.fields = append(p.plan.fields, output{expr, slot})
		if err := p.ranked(f.Expr); err != nil {
			return nil, err
		}
	}
	if err := p.build(); err != nil {
		return nil, err
	}
	if n := len(p.plan.Request.Items); n > ItemsMax {
		return nil, &LimitError{"functions of fields", int64(n), ItemsMax, "select fewer"}
	}
	if n := len(p.aux); n > ItemsMax {
		return nil, &LimitError{"fields", int64(n), ItemsMax, "select fewer"}
	}
	return p.plan, nil
}

// planner makes a plan.
type planner struct {
	plan    *Plan
	types   *influxql.TypeValuerEval
	symbols map[string]int // the slot of a call or a name, by its text
	calls   []*influxql.Call
	slots   []int // of calls
	aux     []Ref
}

// request fills in what does not depend on the fields.
func (p *planner) request(stmt *influxql.SelectStatement, o *Outline) {
	r := &p.plan.Request
	for _, s := range stmt.Sources {
		for _, m := range o.find(s.(*influxql.Measurement)) {
			r.Measurements = append(r.Measurements, m.Name)
		}
	}
	slices.Sort(r.Measurements)
	r.Measurements = slices.Compact(r.Measurements)
	for _, d := range stmt.Dimensions {
		if ref, ok := d.Expr.(*influxql.VarRef); ok {
			r.Dimensions = append(r.Dimensions, ref.Val)
		}
	}
	slices.Sort(r.Dimensions)
	r.Dimensions = slices.Compact(r.Dimensions)
	if stmt.Condition != nil {
		r.Condition = stmt.Condition.String()
	}
	r.Windows = p.plan.query.windows
}

// symbolise gives each call and name of an expression a slot. slot is that of the whole, or -1.
func (p *planner) symbolise(e influxql.Expr) (influxql.Expr, int, error) {
	switch e := e.(type) {
	case *influxql.Call:
		typ, err := p.types.EvalType(e)
		if err != nil {
			return nil, -1, err
		}
		i, fresh := p.slot(e.String(), kindOf(typ))
		if fresh {
			p.calls, p.slots = append(p.calls, e), append(p.slots, i)
		}
		return symbol(i), i, nil
	case *influxql.VarRef:
		k := kindOf(e.Type)
		i, fresh := p.slot(e.String(), k)
		if fresh && k == 0 {
			p.plan.unknown = append(p.plan.unknown, i)
		}
		if fresh && k != 0 {
			p.aux = append(p.aux, Ref{e.Val, k, e.Type == influxql.Tag})
			p.plan.plain = append(p.plan.plain, i)
		}
		return symbol(i), i, nil
	case *influxql.ParenExpr:
		return p.symbolise(e.Expr)
	case *influxql.BinaryExpr:
		l, _, err := p.symbolise(e.LHS)
		if err != nil {
			return nil, -1, err
		}
		r, _, err := p.symbolise(e.RHS)
		if err != nil {
			return nil, -1, err
		}
		return &influxql.BinaryExpr{Op: e.Op, LHS: l, RHS: r}, -1, nil
	}
	return e, -1, nil
}

// ranked adds an output for each field or tag that top or bottom names behind the first one.
func (p *planner) ranked(e influxql.Expr) error {
	c, ok := e.(*influxql.Call)
	if !ok || c.Name != "top" && c.Name != "bottom" {
		return nil
	}
	for _, arg := range c.Args[1 : len(c.Args)-1] {
		expr, slot, err := p.symbolise(arg)
		if err != nil {
			return err
		}
		p.plan.fields = append(p.plan.fields, output{expr, slot})
	}
	return nil
}

func symbol(slot int) influxql.Expr { return &influxql.VarRef{Val: strconv.Itoa(slot)} }

// slot returns the slot of a text, and whether it is a new one.
func (p *planner) slot(text string, k column.Kind) (i int, fresh bool) {
	if i, found := p.symbols[text]; found {
		return i, false
	}
	i = len(p.plan.slots)
	p.symbols[text] = i
	p.plan.slots = append(p.plan.slots, slot{k})
	return i, true
}

// selectors are the functions that give a point's own value.
var selectors = set("first", "last", "min", "max", "percentile", "top", "bottom")

// build makes the items of the request, and the calls that read their answers.
func (p *planner) build() error {
	q := p.plan.query
	if len(p.calls) == 0 {
		if len(p.aux) > 0 {
			item := Item{Func: Raw, Aux: p.aux, From: q.from, To: q.to, Descending: q.descending}
			if rows := int64(q.stmt.Limit) + int64(q.stmt.Offset); q.stmt.Limit > 0 && rows > 0 {
				item.Rows = rows // a sum of more than 63 bits asks for all
			}
			p.plan.bare = p.item(item)
		}
		return nil
	}
	p.plan.selector = len(p.calls) == 1 && selectors[p.calls[0].Name]
	for i, c := range p.calls {
		built, err := p.call(c, q.from, q.to)
		if err != nil {
			return err
		}
		built.slot = p.slots[i]
		if built.some() {
			p.plan.slots[built.slot].kind = built.kind
		}
		// A call that has a kind though no shard has its field, as count has, is filled beside others.
		if p.plan.slots[built.slot].kind != 0 {
			p.plan.calls = append(p.plan.calls, built)
		}
	}
	return nil
}

// some reports whether any shard may have values for the call.
func (c *call) some() bool {
	if c.inner != nil {
		return c.inner.some()
	}
	return c.item >= 0
}

// item returns the number of an item, which is there once.
func (p *planner) item(x Item) int {
	r := &p.plan.Request
	for i := range r.Items {
		y := &r.Items[i]
		if y.Func == x.Func && y.Field == x.Field && y.From == x.From && y.To == x.To && slices.Equal(y.Aux, x.Aux) {
			return i
		}
	}
	r.Items = append(r.Items, x)
	return len(r.Items) - 1
}

// stage2 are the functions that make of each value, with those before it, another one.
var stage2 = set("derivative", "non_negative_derivative", "difference", "non_negative_difference", "moving_average", "cumulative_sum", "elapsed")

// functions are what is asked of shards for each function of stage 1; Raw is for those that need all values.
var functions = map[string]Func{"count": Count, "sum": Sum, "mean": Mean, "min": Min, "max": Max, "first": First, "last": Last, "spread": Spread}

// numbersOnly are the functions of numbers; min and max are of booleans too, and all others of every kind.
var numbersOnly = set("sum", "mean", "median", "stddev", "spread", "percentile", "top", "bottom", "derivative", "non_negative_derivative",
	"difference", "non_negative_difference", "moving_average", "cumulative_sum")

// call builds a function of the points of a time.
func (p *planner) call(e *influxql.Call, from, to int64) (*call, error) {
	c := &call{name: e.Name, item: -1, from: from, to: to}
	if n := len(e.Args); n > 1 {
		p.argument(c, e.Args[n-1])
	}
	if c.name == "top" || c.name == "bottom" {
		p.combinations(c, e.Args[1:len(e.Args)-1])
	}
	if stage2[e.Name] {
		return c, p.transform(c, e)
	}
	arg := e.Args[0]
	if inner, ok := arg.(*influxql.Call); ok && inner.Name == "distinct" {
		c.distinct = true
		arg = inner.Args[0]
	}
	if d, ok := arg.(*influxql.Distinct); ok {
		c.distinct = true
		arg = d.NewCall().Args[0]
	}
	ref, ok := arg.(*influxql.VarRef)
	if !ok {
		return nil, fmt.Errorf("expected field argument in %s()", e.Name)
	}
	return c, p.field(c, ref)
}

// combinations notes of which tags each combination has one point at most in a window. A field, or a name that is not
// known, is the same for all points.
func (p *planner) combinations(c *call, args []influxql.Expr) {
	c.ranks, c.grouped = true, len(args) > 0
	for _, arg := range args {
		ref := arg.(*influxql.VarRef) // Compile lets nothing else through
		for i, aux := range p.aux {
			if aux.Tag && aux.Name == ref.Val {
				c.each = append(c.each, i)
			}
		}
	}
}

// argument reads what stands behind the first argument.
func (p *planner) argument(c *call, e influxql.Expr) {
	switch x := e.(type) {
	case *influxql.IntegerLiteral:
		c.number, c.length = float64(x.Val), int(x.Val)
	case *influxql.NumberLiteral:
		c.number = x.Val
	case *influxql.DurationLiteral:
		c.unit = int64(x.Val)
	}
}

// transform builds a function of stage 2. It needs one window more than is asked for, to begin with.
func (p *planner) transform(c *call, e *influxql.Call) error {
	q := p.plan.query
	if c.unit == 0 {
		if c.unit = 1; c.name != "elapsed" {
			if c.unit = q.windows.Every; c.unit == 0 {
				c.unit = 1e9
			}
		}
	}
	if !q.windows.None() && c.name != "cumulative_sum" {
		if q.descending {
			c.to = q.windows.later(c.to)
		} else {
			c.from = q.windows.earlier(c.from)
		}
	}
	switch arg := e.Args[0].(type) {
	case *influxql.VarRef:
		// A transformation of points as they are.
		c.inner = &call{name: "", item: -1, from: c.from, to: c.to}
		if err := p.field(c.inner, arg); err != nil {
			return err
		}
	case *influxql.Call:
		inner, err := p.call(arg, c.from, c.to)
		if err != nil {
			return err
		}
		c.inner = inner
	default:
		return fmt.Errorf("expected field argument in %s()", e.Name)
	}
	if c.inner.some() && numbersOnly[c.name] && !numeric(c.inner.kind) {
		return &KindError{c.name, e.Args[0].String(), c.inner.kind}
	}
	switch c.name {
	case "elapsed":
		c.kind = column.Integer
	case "difference", "non_negative_difference", "cumulative_sum":
		c.kind = c.inner.kind
	default:
		c.kind = column.Float
	}
	return nil
}

// field builds a function of a field, or the field itself for a function of stage 2.
func (p *planner) field(c *call, ref *influxql.VarRef) error {
	k := kindOf(ref.Type)
	if k == 0 || ref.Type == influxql.Tag {
		return nil // no shard has such a field: there are no points
	}
	if numbersOnly[c.name] && !numeric(k) || (c.name == "min" || c.name == "max") && k == column.String {
		return &KindError{c.name, ref.Val, k}
	}
	fn, found := functions[c.name]
	if !found || c.distinct {
		fn = Raw
	}
	switch c.name {
	case "count":
		c.kind = column.Integer
	case "mean", "median", "stddev":
		c.kind = column.Float
	default:
		c.kind = k
	}
	x := Item{Func: fn, Field: Ref{Name: ref.Val, Kind: k}, From: c.from, To: c.to}
	if p.plan.selector && len(p.aux) > 0 {
		x.Aux, x.Descending = p.aux, p.plan.query.descending
	}
	c.item = p.item(x)
	return nil
}
