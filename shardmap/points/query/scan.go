package query

import (
	"slices"
	"strings"

	"github.com/influxdata/influxql"

	"muster/shardmap/points"
	"muster/shardmap/points/column"
)

// Scan carries out a request at one shard. An error is a [RequestError], a [LimitError], that of [Budget.Over], or one of the
// shard.
func Scan(s Shard, r *Request, b *Budget) (*Answer, error) {
	cond, err := parseCondition(r.Condition)
	if err != nil {
		return nil, &RequestError{"condition", err}
	}
	x := &scan{shard: s, request: r, budget: b, condition: cond, tagged: cond != nil || len(r.Dimensions) > 0}
	x.fixed = FixedTags(cond)
	for i := range r.Items {
		x.tagged = x.tagged || slices.ContainsFunc(r.Items[i].Aux, func(a Ref) bool { return a.Tag })
	}
	for _, m := range r.Measurements {
		if err := x.measurement(m); err != nil {
			return nil, err
		}
	}
	a := &Answer{}
	for _, g := range x.groups {
		if group, some := g.finish(r); some {
			a.Groups = append(a.Groups, group)
		}
	}
	slices.SortFunc(a.Groups, func(g, h Group) int { return compareGroups(&g, &h) })
	return a, nil
}

// scan is a request that is being carried out.
type scan struct {
	shard     Shard
	request   *Request
	budget    *Budget
	condition influxql.Expr
	tagged    bool         // the tags of series matter
	fixed     []points.Tag // that each series has which takes part
	groups    []*gathered
	tally     tally // of the series and the item that are looked at; its memory is used again

	// The measurement that is looked at.
	name   string
	fields []Field
	byTags map[string]*gathered

	// The series that is looked at.
	key    []byte
	tags   []points.Tag
	filter *filter
	loaded []loaded
	held   int64 // memory of the columns, which the next series gets
}

// loaded is a column of the series, which several items may need.
type loaded struct {
	ref      Ref
	from, to int64
	series   series
}

// gathered is what has come together for a group.
type gathered struct {
	measurement string
	tags        []string
	items       []gatheredItem
}

type gatheredItem struct {
	cells []cell // in order of their windows
	raw   Part
	held  int64 // what raw takes, of the budget
	cut   int64 // no later points can be among the first rows, or no earlier ones among the last
	full  bool  // cut counts
}

func (x *scan) measurement(name string) error {
	fields, err := x.shard.Fields(name)
	if err != nil {
		return err
	}
	x.name, x.fields, x.byTags = name, slices.Clone(fields), map[string]*gathered{}
	for key, err := range x.shard.Series(name, x.fixed...) {
		if err != nil {
			return err
		}
		if err := x.series(key); err != nil {
			return err
		}
	}
	return nil
}

func (x *scan) series(key []byte) error {
	if err := x.budget.series(1); err != nil {
		return err
	}
	if err := x.budget.work(64); err != nil {
		return err
	}
	x.key, x.tags, x.filter, x.loaded = key, nil, &takesAll, x.loaded[:0]
	if x.tagged {
		of, err := points.ParseKey(key)
		if err != nil {
			return err
		}
		x.tags = of.Tags
	}
	if x.condition != nil {
		f, none := newFilter(residual(x.condition, x.tags))
		if none {
			return nil
		}
		x.filter = f
	}
	x.budget.Memory += x.held
	x.held = 0
	var g *gathered
	for i := range x.request.Items {
		var err error
		if g, err = x.item(g, i); err != nil {
			return err
		}
	}
	return nil
}

// takesAll is the filter of a query without a condition.
var takesAll filter

// group returns the group of the series.
func (x *scan) group() (*gathered, error) {
	values := make([]string, len(x.request.Dimensions))
	size := int64(256)
	for i, d := range x.request.Dimensions {
		values[i] = tagValue(x.tags, d)
		size += int64(len(values[i])) + 16
	}
	id := strings.Join(values, "\x00") // no tag has a NUL
	g := x.byTags[id]
	if g != nil {
		return g, nil
	}
	if err := x.budget.memory(size + 256*int64(len(x.request.Items))); err != nil {
		return nil, err
	}
	g = &gathered{measurement: x.name, tags: values, items: make([]gatheredItem, len(x.request.Items))}
	x.byTags[id] = g
	x.groups = append(x.groups, g)
	return g, nil
}

// item takes what the series has for an item. g is its group, if it is known.
func (x *scan) item(g *gathered, i int) (*gathered, error) {
	it := &x.request.Items[i]
	if it.Field.Name != "" && !x.has(it.Field) || it.From > it.To {
		return g, nil
	}
	if g == nil {
		var err error
		if g, err = x.group(); err != nil {
			return nil, err
		}
	}
	to := &g.items[i]
	if it = to.narrowed(it); it.From > it.To {
		return g, nil
	}
	if it.Func != Raw && len(it.Aux) == 0 && x.filter.expr == nil {
		return g, x.stream(it, to)
	}
	main, err := x.points(it)
	if err != nil || len(main.times) == 0 {
		return g, err
	}
	if it.Func == Raw {
		return g, x.raw(it, to, main)
	}
	t := x.counting(it)
	t.add(Piece{main.times, main.values})
	return g, x.flush(t, to, func(c *cell, row int) error {
		return x.selected(it, c, main.times[row])
	})
}

// has reports whether the shard has the field of a reference, with values that can be had as it wants them.
func (x *scan) has(r Ref) bool {
	k := x.kind(r.Name)
	return k == r.Kind || numeric(k) && numeric(r.Kind)
}

// kind returns the kind of a field in this shard; 0 if it has none of this name.
func (x *scan) kind(name string) column.Kind {
	i, found := slices.BinarySearchFunc(x.fields, name, func(f Field, name string) int { return strings.Compare(f.Name, name) })
	if !found {
		return 0
	}
	return x.fields[i].Kind
}

func numeric(k column.Kind) bool {
	return k == column.Float || k == column.Integer || k == column.Unsigned
}

// stream folds the column of a field as it comes, without a copy of it.
func (x *scan) stream(it *Item, to *gatheredItem) error {
	t := x.counting(it)
	kind := x.kind(it.Field.Name)
	for p, err := range x.shard.Columns(x.key, it.Field.Name, it.From, it.To) {
		if err != nil {
			return err
		}
		if p.Values.Kind != kind || p.Values.Len() != len(p.Times) {
			return errKind
		}
		if err := x.budget.work(len(p.Times)); err != nil {
			return err
		}
		if kind != it.Field.Kind {
			p.Values = cast(&p.Values, it.Field.Kind)
		}
		t.add(p)
	}
	return x.flush(t, to, nil)
}

// counting returns an empty tally for an item.
func (x *scan) counting(it *Item) *tally {
	t := &x.tally
	*t = tally{item: it, windows: &x.request.Windows, cells: t.cells[:0], rows: t.rows[:0], scratch: t.scratch}
	return t
}

// flush moves what was folded to the group.
func (x *scan) flush(t *tally, to *gatheredItem, aux func(*cell, int) error) error {
	t.close()
	if err := x.budget.memory(int64(len(t.cells)) * cellBytes); err != nil {
		return err
	}
	if aux != nil && len(t.item.Aux) > 0 {
		for i := range t.cells {
			if err := aux(&t.cells[i], t.rows[i]); err != nil {
				return err
			}
		}
	}
	to.cells = mergeCells(t.item, to.cells, t.cells)
	return nil
}

// selected notes the further values of a point that was selected.
func (x *scan) selected(it *Item, c *cell, time int64) error {
	if err := x.budget.memory(48*int64(len(it.Aux)) + int64(len(x.key))); err != nil {
		return err
	}
	c.key = string(x.key)
	c.aux = make([]points.Value, len(it.Aux))
	for i, ref := range it.Aux {
		s, err := x.column(ref, it.From, it.To)
		if err != nil {
			return err
		}
		place := 0
		c.aux[i] = s.valueAt(&place, time)
	}
	return nil
}

// points returns the points of an item that the filter takes: with the values of its field, if it has one.
func (x *scan) points(it *Item) (series, error) {
	var main series
	var err error
	if it.Field.Name != "" {
		main, err = x.column(it.Field, it.From, it.To)
	} else {
		main.times, err = x.union(it)
	}
	if err != nil || len(main.times) == 0 || x.filter.expr == nil {
		return main, err
	}
	columns := make([]series, len(x.filter.refs))
	for i, r := range x.filter.refs {
		k := kindOf(r.Type)
		if k == 0 {
			k = column.String
		}
		if columns[i], err = x.column(Ref{r.Val, k, !isField(&r)}, it.From, it.To); err != nil {
			return main, err
		}
	}
	if err := x.budget.work(8 * len(main.times)); err != nil {
		return main, err
	}
	if err := x.hold(25 * int64(len(main.times))); err != nil {
		return main, err
	}
	return main.only(x.filter.keep(main.times, columns)), nil
}

// hold spends memory until the next series.
func (x *scan) hold(n int64) error {
	x.held += n
	return x.budget.memory(n)
}

// union returns the times at which any of the further fields of an item has a value.
func (x *scan) union(it *Item) ([]int64, error) {
	var all []int64
	parts := 0
	for _, ref := range it.Aux {
		if ref.Tag {
			continue
		}
		s, err := x.column(ref, it.From, it.To)
		if err != nil {
			return nil, err
		}
		switch {
		case len(s.times) == 0 || slices.Equal(all, s.times):
		case parts == 0:
			all, parts = s.times, 1
		default:
			if err := x.hold(8 * int64(len(s.times)+len(all))); err != nil {
				return nil, err
			}
			all = united(all, s.times)
		}
	}
	return all, nil
}

// united merges two lists of times.
func united(a, b []int64) []int64 {
	all := make([]int64, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		switch {
		case a[0] < b[0]:
			all, a = append(all, a[0]), a[1:]
		case a[0] > b[0]:
			all, b = append(all, b[0]), b[1:]
		default:
			all, a, b = append(all, a[0]), a[1:], b[1:]
		}
	}
	return append(append(all, a...), b...)
}

// column returns a field of the series as a kind, or a tag.
func (x *scan) column(ref Ref, from, to int64) (series, error) {
	if ref.Tag {
		return x.tag(ref.Name), nil
	}
	for i := range x.loaded {
		if l := &x.loaded[i]; l.ref == ref && l.from == from && l.to == to {
			return l.series, nil
		}
	}
	s, err := x.load(ref, from, to)
	if err != nil {
		return s, err
	}
	x.loaded = append(x.loaded, loaded{ref, from, to, s})
	return s, nil
}

// tag returns a tag of the series as a column. A tag that it has not is null.
func (x *scan) tag(name string) series {
	if v := tagValue(x.tags, name); v != "" {
		return series{constant: points.StringValue(v)}
	}
	return series{}
}

func (x *scan) load(ref Ref, from, to int64) (series, error) {
	var s series
	if n := len(x.loaded); n < cap(x.loaded) {
		// The memory of a column of the series before, of which nothing is kept.
		s = x.loaded[:n+1][n].series.empty()
	}
	s.values.Kind = ref.Kind
	if !x.has(ref) {
		return s, nil
	}
	kind := x.kind(ref.Name)
	for p, err := range x.shard.Columns(x.key, ref.Name, from, to) {
		if err != nil {
			return s, err
		}
		if p.Values.Kind != kind || p.Values.Len() != len(p.Times) {
			return s, errKind
		}
		if err := x.budget.work(len(p.Times)); err != nil {
			return s, err
		}
		if err := x.hold(int64(len(p.Times)) * 24); err != nil {
			return s, err
		}
		if kind != ref.Kind {
			p.Values = cast(&p.Values, ref.Kind)
		}
		s.times = append(s.times, p.Times...)
		appendValues(&s.values, &p.Values)
	}
	return s, nil
}

// raw appends the points of a series to those of its group.
func (x *scan) raw(it *Item, to *gatheredItem, main series) error {
	p := &to.raw
	if p.Times == nil && it.Field.Name != "" {
		p.Values.Kind = it.Field.Kind
	}
	if p.Aux == nil {
		for _, ref := range it.Aux {
			p.Aux = append(p.Aux, Vector{Values: column.Values{Kind: ref.Kind}})
		}
	}
	if it.Field.Name == "" && it.Rows > 0 && int64(len(main.times)) > it.Rows {
		// No more of one series can be among the first of its group, nor among the last.
		if it.Descending {
			main.times = main.times[int64(len(main.times))-it.Rows:]
		} else {
			main.times = main.times[:it.Rows]
		}
	}
	n := len(main.times)
	held := int64(n)*(24+24*int64(len(it.Aux))) + int64(len(x.key)) + 32
	if err := x.budget.memory(held); err != nil {
		return err
	}
	to.held += held
	p.Times = append(p.Times, main.times...)
	if it.Field.Name != "" {
		appendValues(&p.Values, &main.values)
	}
	for i, ref := range it.Aux {
		s, err := x.column(ref, it.From, it.To)
		if err != nil {
			return err
		}
		place := 0
		for _, t := range main.times {
			p.Aux[i].add(s.valueAt(&place, t))
		}
	}
	p.Series = append(p.Series, Stretch{string(x.key), n})
	if it.Field.Name == "" && it.Rows > 0 && (int64(len(p.Times))-firstMin)/2 > it.Rows { // twice the rows may be more than 63 bits hold
		x.budget.Memory += to.held
		to.first(it)
		to.held = int64(len(p.Times))*(24+24*int64(len(it.Aux))) + 64*int64(len(p.Series))
		if err := x.budget.memory(to.held); err != nil {
			return err
		}
	}
	return x.budget.work(n * (1 + len(it.Aux)))
}

// finish returns what a group gives; some reports whether that is anything.
func (g *gathered) finish(r *Request) (group Group, some bool) {
	group = Group{Measurement: g.measurement, Tags: g.tags, Parts: make([]Part, len(g.items))}
	for i := range g.items {
		it, p := &r.Items[i], &g.items[i]
		if it.Func == Raw {
			if it.Field.Name == "" && it.Rows > 0 && int64(len(p.raw.Times)) > it.Rows {
				p.first(it)
			}
			group.Parts[i] = p.raw
		} else {
			group.Parts[i] = cellsPart(p.cells, it)
		}
		some = some || len(group.Parts[i].Times) > 0
	}
	return group, some
}

// cellsPart returns cells as columns, in order of their windows.
func cellsPart(cells []cell, it *Item) Part {
	var p Part
	if len(cells) == 0 {
		return p
	}
	p.Values.Kind, p.Most.Kind = it.Field.Kind, it.Field.Kind
	for _, ref := range it.Aux {
		p.Aux = append(p.Aux, Vector{Values: column.Values{Kind: ref.Kind}})
	}
	for i := range cells {
		c := &cells[i]
		p.Times = append(p.Times, c.start)
		if it.Func == Count || it.Func == Mean {
			p.Counts = append(p.Counts, c.n)
		}
		if it.Func.selects() {
			p.At = append(p.At, c.at)
		}
		if it.Func != Count {
			addValue(&p.Values, c.value)
		}
		if it.Func == Spread {
			addValue(&p.Most, c.most)
		}
		if len(it.Aux) > 0 {
			p.Keys = append(p.Keys, c.key)
		}
		for k := range p.Aux {
			p.Aux[k].add(c.aux[k])
		}
	}
	return p
}
