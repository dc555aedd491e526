package query

import (
	"github.com/influxdata/influxql"

	"muster/shardmap/points"
	"muster/shardmap/points/column"
)

// filled puts points where windows have none, as fill(…) says.
func (r *reader) filled(c *call, in []point) ([]point, error) {
	q := r.plan.query
	// InfluxDB fills nothing for distinct(), top() and bottom(), which have rows for values alone.
	if q.windows.None() || q.stmt.Fill == influxql.NoFill || len(in) == 0 || c.name == "distinct" || c.ranks {
		return in, nil
	}
	f := filler{call: c, query: q, in: in, budget: r.budget, fill: q.stmt.Fill}
	if f.fill == influxql.NullFill && c.name == "count" {
		f.fill, f.number = influxql.NumberFill, points.IntegerValue(0)
	} else if f.fill == influxql.NumberFill {
		f.number = castFill(q.stmt.FillValue, c.kind)
	}
	return f.run()
}

// castFill returns the number of fill(…) as a kind; what it can't be is the zero of that kind.
func castFill(number any, k column.Kind) points.Value {
	v := castValue(fillNumber(number), k)
	if v.Kind != 0 {
		return v
	}
	switch k {
	case column.String:
		return points.StringValue("")
	case column.Boolean:
		return points.BooleanValue(false)
	}
	return fillNumber(number)
}

// fillNumber returns the number of fill(…); null if there is none.
func fillNumber(number any) points.Value {
	switch n := number.(type) {
	case int64:
		return points.IntegerValue(n)
	case int:
		return points.IntegerValue(int64(n))
	case float64:
		return points.FloatValue(n)
	}
	return points.Value{}
}

// filler fills the windows of one group.
type filler struct {
	call   *call
	query  *Query
	budget *Budget
	fill   influxql.FillOption
	number points.Value
	in     []point
	out    []point
	prev   *point // that was there before; nil: none yet
}

func (f *filler) run() ([]point, error) {
	q := f.query
	w := &q.windows
	begin, last := f.call.from, f.call.to
	if q.descending {
		begin, last = last, begin
	}
	start, _ := w.of(begin)
	if begin == influxql.MinTime {
		// Without a begin that was asked for, it is the first point's.
		start, _ = w.of(f.in[0].time)
	}
	end, _ := w.of(last)
	for i := 0; ; {
		behind := start > end
		if q.descending {
			behind = start < end || last == influxql.MinTime
		}
		if i == len(f.in) && behind {
			return f.out, nil
		}
		if i < len(f.in) && (!q.descending && f.in[i].time <= start || q.descending && f.in[i].time >= start) {
			f.prev = &f.in[i]
			f.out = append(f.out, f.in[i])
			i++
		} else {
			if err := f.add(start, i); err != nil {
				return nil, err
			}
		}
		if err := f.budget.memory(pointBytes); err != nil {
			return nil, err
		}
		was := start
		if start = w.next(start, q.descending); start == was || start >= influxql.MaxTime {
			return append(f.out, f.in[i:]...), nil // at the end of all times
		}
	}
}

// add puts a point into an empty window; the next one of in is the i-th.
func (f *filler) add(start int64, i int) error {
	if err := f.budget.rows(1); err != nil {
		return err
	}
	p := point{time: start}
	switch f.fill {
	case influxql.NumberFill:
		p.v = f.number
	case influxql.PreviousFill:
		if f.prev != nil {
			p.v = f.prev.v
		}
	case influxql.LinearFill:
		if f.prev != nil && i < len(f.in) && numeric(f.prev.v.Kind) && numeric(f.in[i].v.Kind) {
			p.v = linear(f.place(start), f.place(f.prev.time), f.place(f.in[i].time), f.prev.v, f.in[i].v)
		}
	}
	f.out = append(f.out, p)
	return nil
}

// place counts a time in windows. By the calendar they have no one length, and nanoseconds are counted.
func (f *filler) place(t int64) int64 {
	if every := f.query.windows.Every; every > 0 {
		return t / every
	}
	return t
}
