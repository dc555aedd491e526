package influx

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"muster/shardmap/points"
	"muster/shardmap/points/rows"
)

// Kind is a known way in which answers differ from those of InfluxDB.
type Kind struct {
	Name   string
	Reason string // as docs/coming-from.md has it
	// holds reports whether the difference is of this kind, and nothing else. Most kinds compare all
	// but one column, or have one answer that they let pass. Two let any pass: points of one time, if the
	// answers are equal without such points; and stage 2 from the beginning, filled with a number or of modes.
	holds func(o *Oracle, q Query, want, got Answer) bool
}

// kinds are all that are known.
func kinds() []Kind {
	return []Kind{
		{
			Name:   "limits of shards",
			Reason: "InfluxDB applies SLIMIT and SOFFSET, and OFFSET without LIMIT, in each of its shards, so that more series and fewer rows are left than the answer should have. Here they apply to the answer",
			holds: func(o *Oracle, q Query, _, got Answer) bool {
				if q.Limits == (Limits{}) {
					return false
				}
				all := o.answer(o.Windows, q.Plain)
				if Difference(q, all.cut(q.Limits), got) == "" || Difference(q, all.reversed().cut(q.Limits).reversed(), got) == "" {
					return true
				}
				// Groups that have no rows in the end count among the series.
				rows := all.cut(Limits{Rows: q.Limits.Rows, SkippedRows: q.Limits.SkippedRows})
				few := Limits{Series: q.Limits.Series}
				return q.Limits.Series > 0 && Difference(q, rows.like(got), got) == "" && len(got.Series) == len(got.cut(few).Series)
			},
		},
		{
			Name:   "points of one time",
			Reason: "of points of several series of a group that have one time InfluxDB takes one or the other first, by the shards that they are in and the points before them; where that decides, so does the answer. Here it is the order of the keys of the series",
			holds: func(o *Oracle, q Query, want, got Answer) bool {
				if !o.data.Shared {
					return false
				}
				if q.Has("raw fields") && Difference(q, want.sorted(), got.sorted()) == "" {
					return true
				}
				return o.tied(q)
			},
		},
		{
			Name:   "stage 2 from the beginning",
			Reason: "derivative, difference, moving_average and elapsed of an aggregate by time, without a lower bound of time, have no rows in InfluxDB: it asks for the window before the first of all times, and the number overflows. Here they have rows from the first point on",
			holds: func(o *Oracle, q Query, want, got Answer) bool {
				// With a bound it has these rows, and others before them. A fill with a number begins before the first point
				// then, and modes that tie follow from the order of series.
				return q.Has("stage 2 of an aggregate") && q.Bounded != "" && want.Err == nil && len(want.Series) == 0 &&
					(q.Has("fill a number", "mode") || o.answer(o.Windows, q.Bounded).contains(q, got))
			},
		},
		{
			Name:   "refused, whatever is stored",
			Reason: "a function of a field whose kind it can't take is refused where the field is known: here to shards of the time that is asked for, in InfluxDB to series with points in it. Else there are no rows",
			holds: func(_ *Oracle, _ Query, want, got Answer) bool {
				if got.Err == nil {
					return want.Err != nil && len(got.Series) == 0 && strings.Contains(want.Err.Error(), "iterator type")
				}
				return want.Err == nil && len(want.Series) == 0 && strings.Contains(got.Err.Error(), "has no meaning for")
			},
		},
		{
			Name:   "values that end early",
			Reason: "InfluxDB takes the first window or group in which a function selects nothing for the last one of all, and has no more values of that column, no more rows, or a row twice. That is so for percentiles of too few values, as the fifth of eight; and for count(distinct(…)) if times before 1970 are asked for without GROUP BY time, or windows across a change of clocks. Here there is a value for each window that has one",
			holds: func(o *Oracle, q Query, want, got Answer) bool {
				counted := q.Has("count(distinct)") && o.data.Begin < 0 && !q.Has("by time")
				if want.Err != nil || got.Err != nil || !counted && !q.Has("percentile") {
					return false
				}
				if counted {
					want, got = want.without("count"), got.without("count")
				}
				if !q.Has("percentile") {
					return Difference(q, want, got.like(want)) == ""
				}
				got = got.like(want) // a group whose first window selects nothing has no series
				want, got = want.without("percentile").once(), got.without("percentile").once()
				both := want.at(got)
				return both.len() == want.len() && Difference(q, both, got.at(want)) == ""
			},
		},
		{
			Name:   "windows across a change of clocks",
			Reason: "with tz(), and where clocks change within a window of GROUP BY time(…), InfluxDB gives the row of that window a time that empty ones don't have, and windows that are filled behind the change may begin elsewhere than those with points. Here a window begins where those of the new offset do",
			holds: func(o *Oracle, q Query, want, got Answer) bool {
				if !q.Has("zone") || !q.Has("by time") || want.Err != nil || got.Err != nil {
					return false
				}
				if q.Has("stage 2 of an aggregate") { // a row follows from the window before it, and that from the one before
					want, got = want.before(changes), got.before(changes)
				}
				if q.Has("count(distinct)") { // it ends there
					want, got = want.without("count"), got.without("count")
				}
				want, got = want.outside(changes, q.Every), got.outside(changes, q.Every)
				both := want.at(got)
				return 3*both.len() >= want.len() && Difference(q, both, got.at(want)) == ""
			},
		},
	}
}

// Oracle is InfluxDB with some data, as its server stores it, and in two other layouts that should make no difference.
type Oracle struct {
	Windows *Engine // a shard for each window, as the server has it
	Spread  *Engine // three of them
	Whole   *Engine // one shard for all windows, without the measurement mix

	data *Data
	dir  func() string
	// untied is an oracle of the data without points of one time, and apart is muster with it; nil until they are asked for.
	untied *Oracle
	apart  *Muster
}

// NewOracle makes an oracle that keeps its files in the directories that dir gives.
func NewOracle(d *Data, dir func() string) (o *Oracle, err error) {
	o = &Oracle{data: d, dir: dir}
	if o.Windows, err = o.open(dir(), Window, 1); err != nil {
		return o, err
	}
	if o.Spread, err = o.open(dir(), Window, 3); err != nil {
		return o, err
	}
	o.Whole, err = o.open(dir(), 24*365*time.Hour, 1)
	return o, err
}

// tied reports whether a difference comes from points of several series that have one time: muster and InfluxDB have to
// answer alike, or differ in another known way, where these points are left out of the data.
func (o *Oracle) tied(q Query) bool {
	if o.untied == nil {
		var err error
		d := o.data.untied()
		if o.untied, err = NewOracle(d, o.dir); err != nil {
			panic(err) // the same data, less of it, was loaded before
		}
		if o.apart, err = Load(d); err != nil {
			panic(err)
		}
	}
	return o.untied.Judge(q, o.apart).Difference == ""
}

// open opens an engine with the data.
func (o *Oracle) open(dir string, window time.Duration, shards uint32) (*Engine, error) {
	e, err := Open(dir, window, shards)
	if err != nil {
		return nil, err
	}
	if err := e.load(o.data); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

// Close closes what there is.
func (o *Oracle) Close() (err error) {
	for _, e := range []*Engine{o.Windows, o.Spread, o.Whole} {
		if e != nil {
			err = errors.Join(err, e.Close())
		}
	}
	if o.untied != nil {
		err = errors.Join(err, o.untied.Close())
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
	for _, k := range kinds() {
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

// once returns the answer without rows in which all but the time is null, and without a second row of one time.
func (a Answer) once() Answer {
	left := Answer{Err: a.Err}
	for _, s := range a.Series {
		seen := map[points.Value]bool{}
		left.Series = append(left.Series, Answer{Series: []rows.Series{s}}.rows(func(row, _ []points.Value) bool {
			again := seen[row[0]]
			seen[row[0]] = true
			return !again && slices.ContainsFunc(row[1:], func(v points.Value) bool { return v.Kind != 0 })
		}).Series...)
	}
	return left
}

// changes is when clocks change in the time of the data.
var changes = []time.Time{time.Date(2026, 3, 29, 1, 0, 0, 0, time.UTC), time.Date(2026, 10, 25, 1, 0, 0, 0, time.UTC)}

// outside returns the answer without the rows of windows that have one of some moments, or are within an hour of it.
func (a Answer) outside(moments []time.Time, every time.Duration) Answer {
	return a.rows(func(row, _ []points.Value) bool {
		return !slices.ContainsFunc(moments, func(m time.Time) bool {
			begin := time.Unix(0, row[0].Integer())
			return begin.Sub(m) <= time.Hour && m.Sub(begin.Add(every)) <= time.Hour
		})
	})
}

// before returns the answer with the rows before all of some moments that are within a month of them.
func (a Answer) before(moments []time.Time) Answer {
	return a.rows(func(row, _ []points.Value) bool {
		return !slices.ContainsFunc(moments, func(m time.Time) bool {
			behind := time.Unix(0, row[0].Integer()).Sub(m)
			return behind >= 0 && behind < 30*24*time.Hour
		})
	})
}

// rows returns the answer with those rows alone that keep leaves; it gets a row, and the last one that it left.
func (a Answer) rows(keep func(row, last []points.Value) bool) Answer {
	left := Answer{Err: a.Err}
	for _, s := range a.Series {
		of := s
		of.Values = nil
		var last []points.Value
		for i := range s.Len() {
			if row := s.Row(i); keep(row, last) {
				of.Values = append(of.Values, row...)
				last = row
			}
		}
		left.Series = append(left.Series, of)
	}
	return left
}

// contains reports whether each row of b is in a.
func (a Answer) contains(q Query, b Answer) bool {
	if a.Err != nil || b.Err != nil {
		return a.Err != nil && b.Err != nil
	}
	for _, s := range b.Series {
		i := slices.IndexFunc(a.Series, func(x rows.Series) bool { return x.Name == s.Name && slices.Equal(x.Tags, s.Tags) })
		if i < 0 {
			return false
		}
		times := map[points.Value]bool{}
		for n := range s.Len() {
			times[s.Row(n)[0]] = true
		}
		same := Answer{Series: a.Series[i : i+1]}.rows(func(row, _ []points.Value) bool { return times[row[0]] })
		// A column whose field comes later than others begins later.
		for n, v := range s.Values {
			if v.Kind == 0 && len(same.Series[0].Values) == len(s.Values) {
				same.Series[0].Values[n] = v
			}
		}
		if Difference(q, same, Answer{Series: []rows.Series{s}}) != "" {
			return false
		}
	}
	return true
}

// at returns the answer with those rows alone whose times b has, too, in the same series.
func (a Answer) at(b Answer) Answer {
	left := Answer{Err: a.Err}
	for _, s := range a.Series {
		times := map[points.Value]bool{}
		for _, o := range b.Series {
			if o.Name == s.Name && slices.Equal(o.Tags, s.Tags) {
				for n := range o.Len() {
					times[o.Row(n)[0]] = true
				}
			}
		}
		one := Answer{Series: []rows.Series{s}}.rows(func(row, _ []points.Value) bool { return times[row[0]] })
		if one.len() > 0 {
			left.Series = append(left.Series, one.Series...)
		}
	}
	return left
}

// len returns how many rows there are.
func (a Answer) len() (n int) {
	for i := range a.Series {
		n += a.Series[i].Len()
	}
	return n
}

// like returns those series of the answer that b has, too.
func (a Answer) like(b Answer) Answer {
	left := Answer{Err: a.Err}
	for _, s := range a.Series {
		if slices.ContainsFunc(b.Series, func(x rows.Series) bool { return x.Name == s.Name && slices.Equal(x.Tags, s.Tags) }) {
			left.Series = append(left.Series, s)
		}
	}
	return left
}

// sorted returns the answer with rows of one time in the order of their texts.
func (a Answer) sorted() Answer {
	left := Answer{Err: a.Err}
	for _, s := range a.Series {
		var all [][]points.Value
		for i := range s.Len() {
			all = append(all, s.Row(i))
		}
		slices.SortStableFunc(all, func(x, y []points.Value) int {
			return cmp.Or(cmp.Compare(x[0].Integer(), y[0].Integer()), cmp.Compare(fmt.Sprint(x), fmt.Sprint(y)))
		})
		s.Values = slices.Concat(all...)
		left.Series = append(left.Series, s)
	}
	return left
}
