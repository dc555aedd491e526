package influx

import (
	"slices"
	"strings"
	"time"
)

// Kind is a known way in which answers differ from those of InfluxDB.
type Kind struct {
	Name   string
	Reason string // as docs/coming-from.md has it
	// holds reports whether the difference is of this kind, and nothing else. What it calls for is compared whole: a
	// kind lets pass one answer, or one column, and never any.
	holds func(o *Oracle, q Query, want, got Answer) bool
}

// Kinds are all that are known.
var Kinds = []Kind{
	{
		Name:   "limits of shards",
		Reason: "InfluxDB applies SLIMIT and SOFFSET, and OFFSET without LIMIT, in each of its shards, so that more series and fewer rows are left than the answer should have. Here they apply to the answer",
		holds: func(o *Oracle, q Query, _, got Answer) bool {
			if q.Limits == (Limits{}) {
				return false
			}
			all := o.answer(o.Windows, q.Plain)
			return Difference(q, all.cut(q.Limits), got) == "" || Difference(q, all.reversed().cut(q.Limits).reversed(), got) == ""
		},
	},
	{
		Name:   "points of one time",
		Reason: "of points of several series of a group that have one time InfluxDB takes one or the other first, by the shards that they are in; where that decides, so does the answer. Here it is the order of the keys of the series",
		holds: func(o *Oracle, q Query, want, got Answer) bool {
			if !o.data.Shared {
				return false
			}
			// InfluxDB itself has another answer if the same points are in other shards.
			return slices.ContainsFunc([]*Engine{o.Spread, o.Whole}, func(e *Engine) bool {
				other := o.answer(e, q.Text)
				return Difference(q, want, other) != "" || Difference(q, other, got) == ""
			})
		},
	},
	{
		Name:   "stage 2 from the beginning",
		Reason: "derivative, difference, moving_average and elapsed of an aggregate by time, without a lower bound of time, have no rows in InfluxDB: it asks for the window before the first of all times, and the number overflows. Here they have rows from the first point on",
		holds: func(o *Oracle, q Query, want, got Answer) bool {
			return q.Has("stage 2 of an aggregate") && !q.Has("time from", "time between", "time at") && want.Err == nil && len(want.Series) == 0
		},
	},
	{
		Name:   "refused, whatever is stored",
		Reason: "a function of a field whose kind it can't take is refused here; in InfluxDB it has no rows as long as no series has points of the field in the time asked for",
		holds: func(_ *Oracle, _ Query, want, got Answer) bool {
			return want.Err == nil && len(want.Series) == 0 && got.Err != nil && strings.Contains(got.Err.Error(), "has no meaning for")
		},
	},
	{
		Name:   "modes that tie",
		Reason: "of values that come equally often in several series of a group InfluxDB takes one by the order in which shards give them. Here it is the order of time",
		holds: func(_ *Oracle, q Query, want, got Answer) bool {
			return q.Has("mode") && Difference(q, want.without("mode"), got.without("mode")) == ""
		},
	},
}

// Oracle is InfluxDB with some data, as its server stores it, and in two other layouts that should make no difference.
type Oracle struct {
	Windows *Engine // a shard for each window, as the server has it
	Spread  *Engine // three of them
	Whole   *Engine // one shard for all windows, without the measurement mix

	data *Data
}

// NewOracle makes an oracle that keeps its files in the directories that dir gives.
func NewOracle(d *Data, dir func() string) (o *Oracle, err error) {
	o = &Oracle{data: d}
	for _, e := range []struct {
		engine **Engine
		window time.Duration
		shards uint32
	}{{&o.Windows, Window, 1}, {&o.Spread, Window, 3}, {&o.Whole, 24 * 365 * time.Hour, 1}} {
		if *e.engine, err = Open(dir(), e.window, e.shards); err != nil {
			return o, err
		}
		if err := (*e.engine).load(d); err != nil {
			return o, err
		}
	}
	return o, nil
}

// Close closes what there is.
func (o *Oracle) Close() (err error) {
	for _, e := range []*Engine{o.Windows, o.Spread, o.Whole} {
		if e != nil {
			if failed := e.Close(); err == nil {
				err = failed
			}
		}
	}
	return err
}

func (o *Oracle) answer(e *Engine, text string) (a Answer) {
	a.Series, a.Err = e.Query(text, o.data.Now)
	return a
}

// Verdict is what became of a query.
type Verdict struct {
	Want, Got  Answer
	Kind       string // of a known difference
	Difference string // of one that is not known; both are empty if the answers are equal
}

// Judge puts a query to InfluxDB and to another engine.
func (o *Oracle) Judge(q Query, other Answerer) Verdict {
	v := Verdict{Want: o.answer(o.Windows, q.Text)}
	v.Got.Series, v.Got.Err = other.Query(q.Text, o.data.Now)
	found := Difference(q, v.Want, v.Got)
	if found == "" {
		return v
	}
	for _, k := range Kinds {
		if k.holds(o, q, v.Want, v.Got) {
			v.Kind = k.Name
			return v
		}
	}
	v.Difference = found
	return v
}

// reversed returns the answer with its series in the other order.
func (a Answer) reversed() Answer {
	series := slices.Clone(a.Series)
	slices.Reverse(series)
	return Answer{series, a.Err}
}

// without returns the answer without the columns that come from a function: those that have its name, and those with
// a name of their own.
func (a Answer) without(function string) Answer {
	left := Answer{Err: a.Err}
	for _, s := range a.Series {
		free := make([]bool, len(s.Columns))
		for i, c := range s.Columns {
			free[i] = strings.Contains(c, function) || len(c) == 2 && c[0] == 'a' || slices.Contains(Functions[transformations:], c)
		}
		of := s
		of.Columns, of.Values = nil, nil
		for i, c := range s.Columns {
			if !free[i] {
				of.Columns = append(of.Columns, c)
			}
		}
		for i, v := range s.Values {
			if !free[i%len(free)] {
				of.Values = append(of.Values, v)
			}
		}
		left.Series = append(left.Series, of)
	}
	return left
}
