package statement

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"

	"github.com/influxdata/influxql"

	"muster/shardmap/points"
	"muster/shardmap/points/query"
)

// tagKey stands for the name of a tag in [Request.Keys].
const tagKey = "_tagKey"

// Pair is one thing of a list: the key of a series, the name of a tag, a tag with its value, or a field with its kind.
type Pair struct{ A, B string }

// Group is what a measurement has. Pairs, or for [SeriesHashes] hashes, grow, and none is there twice.
type Group struct {
	Measurement string
	Pairs       []Pair
	Hashes      []uint64
}

// Answer is what a shard has of what a [Request] asks for, by measurement.
type Answer struct{ Groups []Group }

func (g *Group) len() int { return len(g.Pairs) + len(g.Hashes) }

// names returns how many different things there are; a field of two kinds is one.
func (g *Group) names(w What) int {
	if w != FieldKeys {
		return g.len()
	}
	n := 0
	for i, p := range g.Pairs {
		if i == 0 || p.A != g.Pairs[i-1].A {
			n++
		}
	}
	return n
}

// settle brings what the group has in order, each thing once.
func (g *Group) settle() {
	slices.SortFunc(g.Pairs, Pair.compare)
	g.Pairs = slices.Compact(g.Pairs)
	slices.Sort(g.Hashes)
	g.Hashes = slices.Compact(g.Hashes)
}

func (p Pair) compare(o Pair) int { return cmp.Or(cmp.Compare(p.A, o.A), cmp.Compare(p.B, o.B)) }

// checkCondition refuses what is no condition on tags.
func checkCondition(e influxql.Expr) error {
	switch e := e.(type) {
	case *influxql.ParenExpr:
		return checkCondition(e.Expr)
	case *influxql.BinaryExpr:
		if e.Op == influxql.AND || e.Op == influxql.OR {
			if err := checkCondition(e.LHS); err != nil {
				return err
			}
			return checkCondition(e.RHS)
		}
		_, name := e.LHS.(*influxql.VarRef)
		_, str := e.RHS.(*influxql.StringLiteral)
		_, re := e.RHS.(*influxql.RegexLiteral)
		switch e.Op {
		case influxql.EQ, influxql.NEQ:
			if name && str {
				return nil
			}
		case influxql.EQREGEX, influxql.NEQREGEX:
			if name && re {
				return nil
			}
		}
	}
	return &RefusedError{fmt.Sprintf("the condition %s", e), "series are told apart by tags alone; want tag = 'text', tag != 'text', tag =~ /…/ or tag !~ /…/, joined by AND and OR"}
}

// condition is an expression that checkCondition lets pass, or none, which holds always.
type condition struct{ expr influxql.Expr }

func parseCondition(text string) (condition, error) {
	if text == "" {
		return condition{}, nil
	}
	expr, err := influxql.ParseExpr(text)
	if err != nil {
		return condition{}, err
	}
	if s := expr.String(); s != text {
		return condition{}, fmt.Errorf("the condition is %q, and is written %q", text, s)
	}
	return condition{expr}, checkCondition(expr)
}

func (c condition) holds(v influxql.Valuer) bool {
	if c.expr == nil {
		return true
	}
	eval := influxql.ValuerEval{Valuer: v}
	return eval.EvalBool(c.expr)
}

// tags are those of a series; one that it does not have is "".
type tags []points.Tag

// Value implements [influxql.Valuer].
func (t tags) Value(name string) (any, bool) {
	for _, tag := range t {
		if tag.Name == name {
			return tag.Value, true
		}
	}
	return "", true
}

// key is the name of a tag.
type key string

// Value implements [influxql.Valuer].
func (k key) Value(string) (any, bool) { return string(k), true }

// scan is a request that is carried out at a shard.
type scan struct {
	r          *Request
	res        []*regexp.Regexp
	cond, keys condition
	budget     *query.Budget
	seen       map[string]bool // names and values of tags that the group has
}

// Scan returns what a shard has. It spends of the budget: a series for each that it looks at, and memory for what it
// returns. An error is one of the shard's, of the budget's, or a [query.LimitError].
func Scan(s query.Shard, r *Request, b *query.Budget) (*Answer, error) {
	c := scan{r: r, budget: b}
	for _, e := range r.Expressions {
		re, err := regexp.Compile(e)
		if err != nil {
			return nil, &query.RequestError{Field: "expressions", Err: err}
		}
		c.res = append(c.res, re)
	}
	var err error
	if c.cond, err = parseCondition(r.Condition); err != nil {
		return nil, err
	}
	if c.keys, err = parseCondition(r.Keys); err != nil {
		return nil, err
	}
	names, err := s.Measurements()
	if err != nil {
		return nil, err
	}
	a := &Answer{}
	for _, name := range names {
		if !c.named(name) {
			continue
		}
		g := Group{Measurement: name}
		found, err := c.group(s, &g)
		if err != nil {
			return nil, err
		}
		if found {
			if err := c.spend(len(name)); err != nil {
				return nil, err
			}
			g.settle()
			a.Groups = append(a.Groups, g)
		}
	}
	return a, nil
}

// named reports whether the request is about a measurement.
func (c *scan) named(name string) bool {
	if len(c.r.Measurements) == 0 && len(c.res) == 0 {
		return true
	}
	_, found := slices.BinarySearch(c.r.Measurements, name)
	return found || slices.ContainsFunc(c.res, func(re *regexp.Regexp) bool { return re.MatchString(name) })
}

// pairBytes is what a pair takes in memory beside its text, and in the list of what was seen.
const pairBytes = 96

// seriesSteps is how many values it takes as long to work over as a series.
const seriesSteps = 64

// spend takes memory for one thing of so many bytes of text.
func (c *scan) spend(n int) error {
	if c.budget.Memory -= int64(n) + pairBytes; c.budget.Memory < 0 {
		return &query.LimitError{What: "bytes of memory than it was given", Remedy: "name measurements, or a condition on tags"}
	}
	return nil
}

// group fills in what a measurement has; false: it has nothing that is asked for.
func (c *scan) group(s query.Shard, g *Group) (found bool, err error) {
	switch {
	case c.r.What == FieldKeys:
		fields, err := s.Fields(g.Measurement)
		if err != nil {
			return false, err
		}
		for _, f := range fields {
			if err := c.spend(len(f.Name)); err != nil {
				return false, err
			}
			g.Pairs = append(g.Pairs, Pair{f.Name, f.Kind.String()})
		}
		return len(fields) > 0, nil
	case c.r.What == Measurements && c.cond.expr == nil:
		return true, nil
	}
	c.seen = map[string]bool{}
	for key, err := range s.Series(g.Measurement, query.FixedTags(c.cond.expr)...) {
		if err != nil {
			return false, err
		}
		more, err := c.series(g, key)
		if err != nil {
			return false, err
		}
		if found = found || more; found && c.r.What == Measurements {
			return true, nil
		}
	}
	return found, nil
}

// series adds what a series has to the group; false: it has nothing that is asked for.
func (c *scan) series(g *Group, key []byte) (bool, error) {
	if c.budget.Series--; c.budget.Series < 0 {
		return false, &query.LimitError{What: "series than it was given", Remedy: "name measurements"}
	}
	if err := c.budget.Step(seriesSteps); err != nil {
		return false, err
	}
	of, err := points.ParseKey(key)
	if err != nil {
		return false, err
	}
	if !c.cond.holds(tags(of.Tags)) {
		return false, nil
	}
	switch c.r.What {
	case SeriesKeys:
		g.Pairs = append(g.Pairs, Pair{A: string(key)})
		return true, c.spend(len(key))
	case SeriesHashes:
		g.Hashes = append(g.Hashes, uint64(points.HashOf(key)))
		return true, c.spend(0)
	case TagKeys, TagValues:
		for _, t := range of.Tags {
			value := t.Value
			if c.r.What == TagKeys {
				value = ""
			}
			if err := c.tag(g, t.Name, value); err != nil {
				return false, err
			}
		}
		return len(g.Pairs) > 0, nil
	}
	return true, nil
}

// tag adds a tag to the group, once, if it is asked for.
func (c *scan) tag(g *Group, name, value string) error {
	if !c.keys.holds(key(name)) {
		return nil
	}
	if c.seen != nil {
		id := name + "\x00" + value
		if c.seen[id] {
			return nil
		}
		c.seen[id] = true
	}
	g.Pairs = append(g.Pairs, Pair{name, value})
	return c.spend(2 * (len(name) + len(value)))
}
