package query

import (
	"cmp"
	"slices"

	"muster/shardmap/points"
	"muster/shardmap/points/column"
)

// joined is a group with what all shards have for it.
type joined struct {
	measurement string
	tags        []string
	parts       [][]*Part // of each item, those that have something
}

// join brings the groups of all answers together, in order.
func (p *Plan) join(answers []*Answer) []*joined {
	var all []*Group
	for _, a := range answers {
		for i := range a.Groups {
			all = append(all, &a.Groups[i])
		}
	}
	// Stable: the parts of a group stay in the order of the answers, in which floats are added.
	slices.SortStableFunc(all, compareGroups)
	var groups []*joined
	for i, g := range all {
		if i == 0 || compareGroups(all[i-1], g) != 0 {
			groups = append(groups, &joined{g.Measurement, g.Tags, make([][]*Part, len(p.Request.Items))})
		}
		last := groups[len(groups)-1]
		for k := range g.Parts {
			if part := &g.Parts[k]; len(part.Times) > 0 {
				last.parts[k] = append(last.parts[k], part)
			}
		}
	}
	return groups
}

// reader reads the points of one group.
type reader struct {
	plan   *Plan
	group  *joined
	budget *Budget
}

// values returns the points of a call in the order of rows.
func (r *reader) values(c *call) ([]point, error) {
	if c.inner != nil {
		in, err := r.values(c.inner)
		if err != nil {
			return nil, err
		}
		if err := r.budget.memory(pointBytes * int64(len(in))); err != nil {
			return nil, err
		}
		return c.transformed(in, r.plan.query.descending), nil
	}
	if !c.some() {
		return nil, nil
	}
	parts := r.group.parts[c.item]
	if len(parts) == 0 {
		return nil, nil
	}
	item := &r.plan.Request.Items[c.item]
	if c.name == "" {
		t, err := r.gather(parts, item)
		if err != nil {
			return nil, err
		}
		return r.plainPoints(t)
	}
	var out []point
	var err error
	if item.Func == Raw {
		out, err = r.reduced(c, parts, item)
	} else {
		out, err = r.merged(c, parts, item)
	}
	if err != nil {
		return nil, err
	}
	return r.filled(c, out)
}

// merged puts together what shards have made of windows.
func (r *reader) merged(c *call, parts []*Part, item *Item) ([]point, error) {
	var cells []cell
	for _, part := range parts {
		if err := r.budget.memory((cellBytes + 48*int64(len(part.Aux))) * int64(len(part.Times))); err != nil {
			return nil, err
		}
		more := make([]cell, len(part.Times))
		for i := range more {
			more[i] = part.cell(i, item)
			if bug(bugMeanOfMeans) && item.Func == Mean {
				more[i].value, more[i].n = points.FloatValue(asFloat(more[i].value)/float64(more[i].n)), 1
			}
		}
		if bug(bugWindowCut) {
			cells = append(cells, more...)
			continue
		}
		cells = mergeCells(item, cells, more)
	}
	if r.plan.query.descending {
		slices.Reverse(cells)
	}
	out := make([]point, len(cells))
	for i := range cells {
		c := &cells[i]
		out[i] = point{time: r.timeOf(c.start, c.at), v: c.result(item.Func), aux: c.aux}
	}
	return out, r.budget.memory(pointBytes * int64(len(out)))
}

// timeOf returns the time of a row: that of the window, or that of the selected point if there are no windows.
func (r *reader) timeOf(start, at int64) int64 {
	if r.plan.selector && r.plan.query.windows.None() {
		return at
	}
	return shown(start)
}

// cell returns what a part has of its i-th window.
func (p *Part) cell(i int, item *Item) cell {
	c := cell{start: p.Times[i]}
	if item.Func == Count || item.Func == Mean {
		c.n = p.Counts[i]
	}
	if item.Func.selects() {
		c.at = p.At[i]
	}
	if item.Func != Count {
		c.value = valueAt(&p.Values, i)
	}
	if item.Func == Spread {
		c.most = valueAt(&p.Most, i)
	}
	if item.keyed() {
		c.key = p.Keys[i]
	}
	for k := range p.Aux {
		c.aux = append(c.aux, p.Aux[k].at(i))
	}
	return c
}

// result returns what a function gives for a window.
func (c *cell) result(fn Func) points.Value {
	switch fn {
	case Count:
		return points.IntegerValue(c.n)
	case Mean:
		return points.FloatValue(asFloat(c.value) / float64(c.n))
	case Spread:
		return minus(c.most, c.value)
	}
	return c.value
}

// table is the points of a group, in the order of rows.
type table struct {
	times  []int64
	values column.Values // of the field of the item, if it has one
	from   []place       // where each point stands in the parts; nil: they are those of the only part, in its order
	parts  []*Part
}

// place is where a point stands.
type place struct {
	part, row int32
}

// aux returns the further values of a point.
func (t *table) aux(i int) []points.Value {
	at := place{0, int32(i)}
	if t.from != nil {
		at = t.from[i]
	}
	p := t.parts[at.part]
	if len(p.Aux) == 0 {
		return nil
	}
	all := make([]points.Value, len(p.Aux))
	for k := range p.Aux {
		all[k] = p.Aux[k].at(int(at.row))
	}
	return all
}

// gather brings the points of a group into the order of rows: by time, and at one time by the keys of their series.
func (r *reader) gather(parts []*Part, item *Item) (*table, error) {
	t := &table{parts: parts}
	if len(parts) == 1 && len(parts[0].Series) == 1 && !r.plan.query.descending {
		t.times, t.values = parts[0].Times, parts[0].Values
		return t, nil
	}
	n := 0
	for _, p := range parts {
		n += len(p.Times)
	}
	if err := r.budget.memory(int64(n) * 64); err != nil {
		return nil, err
	}
	if err := r.budget.work(8 * n); err != nil {
		return nil, err
	}
	type row struct {
		time int64
		rank int32 // of the key of the series
		place
	}
	ranks := rankKeys(parts)
	all := make([]row, 0, n)
	for i, p := range parts {
		at := 0
		for _, s := range p.Series {
			rank := ranks[s.Key]
			for range s.Points {
				all = append(all, row{p.Times[at], rank, place{int32(i), int32(at)}})
				at++
			}
		}
	}
	slices.SortFunc(all, func(a, b row) int { return cmp.Or(cmp.Compare(a.time, b.time), cmp.Compare(a.rank, b.rank)) })
	if r.plan.query.descending {
		slices.Reverse(all)
	}
	t.times, t.from = make([]int64, n), make([]place, n)
	t.values.Kind = item.Field.Kind
	for i, o := range all {
		t.times[i], t.from[i] = o.time, o.place
		if item.Field.Name != "" {
			addValue(&t.values, valueAt(&parts[o.part].Values, int(o.row)))
		}
	}
	return t, nil
}

// rankKeys numbers the keys of series by their order.
func rankKeys(parts []*Part) map[string]int32 {
	ranks := map[string]int32{}
	var keys []string
	for _, p := range parts {
		for _, s := range p.Series {
			if _, found := ranks[s.Key]; !found {
				ranks[s.Key] = 0
				keys = append(keys, s.Key)
			}
		}
	}
	slices.Sort(keys)
	for i, k := range keys {
		ranks[k] = int32(i)
	}
	return ranks
}

// plainPoints returns the points of a table as they are.
func (r *reader) plainPoints(t *table) ([]point, error) {
	size := int64(pointBytes)
	if len(t.parts) > 0 {
		size += 48 * int64(len(t.parts[0].Aux))
	}
	if err := r.budget.memory(size * int64(len(t.times))); err != nil {
		return nil, err
	}
	out := make([]point, len(t.times))
	for i, at := range t.times {
		out[i] = point{time: at, aux: t.aux(i)}
		if t.values.Kind != 0 {
			out[i].v = valueAt(&t.values, i)
		}
	}
	return out, nil
}
