package query

import (
	"math"
	"slices"
	"strconv"

	"github.com/influxdata/influxql"

	"muster/shardmap/points"
	"muster/shardmap/points/column"
	"muster/shardmap/points/rows"
)

// Rows makes the answer of the query from those of all shards, in an order that is the same each time: floats are added
// in it.
func (p *Plan) Rows(answers []*Answer, b *Budget) ([]rows.Series, error) {
	var all []rows.Series
	err := p.Each(answers, b, func(s rows.Series) error {
		all = append(all, s)
		return b.memory(valueBytes * int64(len(s.Values)))
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// Each makes the answer as [Plan.Rows] does, and gives each series to emit before it makes the next one, so that memory
// holds the rows of one group. An error of emit ends it.
func (p *Plan) Each(answers []*Answer, b *Budget, emit func(rows.Series) error) error {
	groups := p.limited(p.join(answers))
	if p.query.descending {
		slices.Reverse(groups)
	}
	for _, g := range groups {
		left := b.Memory
		s, err := p.series(g, b)
		if err != nil {
			return err
		}
		// Nothing of a group stays here.
		b.Memory = left
		if s.Len() == 0 {
			continue
		}
		if err := emit(s); err != nil {
			return err
		}
	}
	return nil
}

// valueBytes is what a value of a row is counted as.
const valueBytes = 48

// limited applies SLIMIT and SOFFSET, which count the groups of each measurement.
func (p *Plan) limited(groups []*joined) []*joined {
	most, skip := p.query.stmt.SLimit, p.query.stmt.SOffset
	if most == 0 && skip == 0 {
		return groups
	}
	var kept []*joined
	n := 0
	for i, g := range groups {
		if i == 0 || groups[i-1].measurement != g.measurement {
			n = 0
		}
		if n++; n > skip && (most == 0 || n-skip <= most) {
			kept = append(kept, g)
		}
	}
	return kept
}

// series makes the rows of one group.
func (p *Plan) series(g *joined, b *Budget) (rows.Series, error) {
	s := rows.Series{Name: g.measurement, Columns: p.names, Timed: true, Location: p.query.stmt.Location}
	for i, d := range p.Request.Dimensions {
		s.Tags = append(s.Tags, points.Tag{Name: d, Value: g.tags[i]})
	}
	r := &reader{p, g, b}
	streams, err := r.streams()
	if err != nil {
		return s, err
	}
	m := &merger{plan: p, budget: b, streams: streams, now: make([]points.Value, len(p.slots))}
	m.defaults()
	m.eval = influxql.ValuerEval{Valuer: m, IntegerFloatDivision: true}
	err = m.run(&s)
	return s, err
}

// stream is the points of a call on their way to rows.
type stream struct {
	points []point
	slot   int // of their values; -1: they have none
}

// streams returns the points of each call of the plan, or those of the selection without calls.
func (r *reader) streams() ([]stream, error) {
	p := r.plan
	var all []stream
	if p.bare >= 0 {
		parts := r.group.parts[p.bare]
		if len(parts) == 0 {
			return nil, nil
		}
		t, err := r.gather(parts, &p.Request.Items[p.bare])
		if err != nil {
			return nil, err
		}
		t.times, t.from = p.cut(t)
		out, err := r.plainPoints(t)
		if err != nil {
			return nil, err
		}
		return append(all, stream{out, -1}), nil
	}
	for _, c := range p.calls {
		out, err := r.values(c)
		if err != nil {
			return nil, err
		}
		all = append(all, stream{limit(out, p.query.stmt), c.slot})
	}
	return all, nil
}

// cut applies LIMIT and OFFSET to a table.
func (p *Plan) cut(t *table) ([]int64, []place) {
	from := t.from
	if from == nil {
		from = make([]place, len(t.times))
		for i := range from {
			from[i].row = int32(i)
		}
	}
	return limit(t.times, p.query.stmt), limit(from, p.query.stmt)
}

// limit applies LIMIT and OFFSET.
func limit[T any](all []T, stmt *influxql.SelectStatement) []T {
	all = all[min(stmt.Offset, len(all)):]
	if stmt.Limit > 0 {
		all = all[:min(stmt.Limit, len(all))]
	}
	return all
}

// merger makes rows of the points of several calls: one for each time at which any of them has one.
type merger struct {
	plan    *Plan
	budget  *Budget
	streams []stream
	eval    influxql.ValuerEval

	now  []points.Value // the value of each slot
	keep bool           // a slot without a value keeps the one before: fill(previous)
	none []points.Value
}

// defaults sets what a slot is without a value: null, or the number of fill(…).
func (m *merger) defaults() {
	stmt := m.plan.query.stmt
	m.keep = stmt.Fill == influxql.PreviousFill
	m.none = make([]points.Value, len(m.now))
	if stmt.Fill != influxql.NumberFill {
		return
	}
	n := fillNumber(stmt.FillValue)
	for _, i := range m.plan.unknown {
		m.now[i] = n
	}
	for i, s := range m.plan.slots {
		if m.none[i] = castValue(n, s.kind); m.none[i].Kind == 0 {
			m.none[i] = n
		}
	}
}

func (m *merger) run(s *rows.Series) error {
	width := len(m.plan.fields) + 1
	for {
		time, some := m.next()
		if !some {
			return nil
		}
		if err := m.budget.rows(1); err != nil {
			return err
		}
		if err := m.budget.memory(valueBytes * int64(width)); err != nil {
			return err
		}
		if err := m.budget.work(width); err != nil {
			return err
		}
		for i := range m.streams {
			m.take(&m.streams[i], time)
		}
		s.Values = append(s.Values, points.IntegerValue(time))
		for _, f := range m.plan.fields {
			s.Values = append(s.Values, m.value(f))
		}
	}
}

// next returns the time of the next row.
func (m *merger) next() (time int64, some bool) {
	for i := range m.streams {
		if p := m.streams[i].points; len(p) > 0 {
			t := p[0].time
			if !some || (t < time) != m.plan.query.descending && t != time {
				time, some = t, true
			}
		}
	}
	return time, some
}

// take sets the slots of a stream to its values at a time.
func (m *merger) take(s *stream, time int64) {
	if len(s.points) == 0 || s.points[0].time != time {
		if s.slot >= 0 {
			m.set(s.slot, points.Value{})
		}
		for _, slot := range m.plan.plain {
			m.set(slot, points.Value{})
		}
		return
	}
	p := &s.points[0]
	s.points = s.points[1:]
	if s.slot >= 0 {
		m.set(s.slot, p.v)
	}
	for i, slot := range m.plan.plain {
		var v points.Value
		if p.aux != nil {
			v = p.aux[i]
		}
		m.set(slot, v)
	}
}

// set sets a slot; a null is filled.
func (m *merger) set(slot int, v points.Value) {
	switch {
	case v.Kind != 0:
		m.now[slot] = v
	case !m.keep:
		m.now[slot] = m.none[slot]
	}
}

// value returns what an output is now.
func (m *merger) value(f output) points.Value {
	var v points.Value
	if f.slot >= 0 {
		v = m.now[f.slot]
	} else {
		v = unboxed(m.eval.Eval(f.expr))
	}
	if v.Kind == column.Float && math.IsNaN(v.Float()) {
		return points.Value{}
	}
	return v
}

// Value returns the value of a slot, for the parser's evaluation.
func (m *merger) Value(name string) (any, bool) {
	i, err := strconv.Atoi(name)
	if err != nil || i < 0 || i >= len(m.now) {
		return nil, false
	}
	return boxed(m.now[i]), true
}
