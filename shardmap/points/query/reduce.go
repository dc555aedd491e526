package query

import (
	"cmp"
	"math"
	"slices"
	"sort"

	"github.com/influxdata/influxql"

	"muster/shardmap/points"
	"muster/shardmap/points/column"
)

// shown returns the time of a row that stands for a window. Without a begin that was asked for it is 0, as in InfluxDB.
func shown(start int64) int64 {
	if start == influxql.MinTime {
		return 0
	}
	return start
}

// reduced applies a function that needs all values of a window.
func (r *reader) reduced(c *call, parts []*Part, item *Item) ([]point, error) {
	t, err := r.gather(parts, item)
	if err != nil {
		return nil, err
	}
	w := &r.plan.query.windows
	var out []point
	for from := 0; from < len(t.times); {
		start, to := c.from, len(t.times)
		if !w.None() {
			var end int64
			start, end = w.of(t.times[from])
			// The window goes on as long as times are in it. They fall if rows are in descending order.
			to = from + 1
			for to < len(t.times) && t.times[to] >= start && t.times[to] < end {
				to++
			}
		}
		if err := r.budget.work(to - from); err != nil {
			return nil, err
		}
		if err := r.budget.memory(48 * int64(to-from)); err != nil {
			return nil, err
		}
		out = append(out, r.window(c, t, from, to, start)...)
		from = to
	}
	return out, nil
}

// window applies the function to the points of one window.
func (r *reader) window(c *call, t *table, from, to int, start int64) []point {
	values := cut(&t.values, from, to)
	one := func(v points.Value) []point { return []point{{time: shown(start), v: v}} }
	switch c.name {
	case "percentile":
		k := rankOf(to-from, c.number)
		if k < 0 {
			return nil
		}
		at := from + byValue(&values)[k]
		p := point{time: r.timeOf(start, t.times[at]), v: valueAt(&t.values, at)}
		if len(item(r, c).Aux) > 0 {
			p.aux = t.aux(at)
		}
		return []point{p}
	case "top", "bottom":
		return r.ranked(c, t, from, to)
	case "median":
		return one(median(&values))
	case "mode":
		return one(mode(&values, t.times[from:to]))
	case "stddev":
		return one(stddev(&values))
	case "distinct":
		var out []point
		for _, v := range distinct(&values, t.times[from:to], r.plan.query.descending) {
			out = append(out, point{time: shown(start), v: v})
		}
		return out
	case "count": // of distinct values
		return one(points.IntegerValue(int64(len(distinct(&values, t.times[from:to], false)))))
	}
	// A function of stage 1 of distinct values, which InfluxDB has for count alone.
	panic("query: no way to reduce by " + c.name)
}

func item(r *reader, c *call) *Item { return &r.plan.Request.Items[c.item] }

// rankOf returns the place of a percentile among n sorted values; -1 if there is none.
func rankOf(n int, percentile float64) int {
	k := math.Floor(float64(n)*percentile/100+0.5) - 1
	if !(k >= 0 && k < float64(n)) {
		return -1
	}
	return int(k)
}

// byValue returns the places of values in order of the values. Where values are equal the order is that of [sort.Sort],
// which InfluxDB uses: it decides which of equal values a percentile is, and between modes that are as frequent.
func byValue(v *column.Values) []int {
	at := make([]int, v.Len())
	for i := range at {
		at[i] = i
	}
	switch v.Kind {
	case column.Float:
		sort.Sort(ordered[float64]{at, v.Floats})
	case column.Integer:
		sort.Sort(ordered[int64]{at, v.Integers})
	case column.Unsigned:
		sort.Sort(ordered[uint64]{at, v.Unsigned})
	case column.String:
		sort.Sort(ordered[string]{at, v.Strings})
	}
	return at
}

// ordered are places of values, for sorting.
type ordered[T cmp.Ordered] struct {
	at     []int
	values []T
}

func (o ordered[T]) Len() int           { return len(o.at) }
func (o ordered[T]) Less(i, j int) bool { return o.values[o.at[i]] < o.values[o.at[j]] }
func (o ordered[T]) Swap(i, j int)      { o.at[i], o.at[j] = o.at[j], o.at[i] }

// median returns the value in the middle, or what is between the two that are there.
func median(v *column.Values) points.Value {
	at := byValue(v)
	n := len(at)
	hi := valueAt(v, at[n/2])
	if n%2 == 1 {
		return points.FloatValue(asFloat(hi))
	}
	lo := valueAt(v, at[n/2-1])
	return points.FloatValue(asFloat(lo) + asFloat(minus(hi, lo))/2)
}

// mode returns the value that is there most often; of several that are there as often, the one that began before the
// others had ended. If none is there twice it is the smallest. For booleans it is true, unless false is there more often.
// This is InfluxDB's rule, to the letter.
func mode(v *column.Values, times []int64) points.Value {
	if v.Kind == column.Boolean {
		n := 0
		for _, b := range v.Booleans {
			if b {
				n++
			}
		}
		return points.BooleanValue(2*n >= len(v.Booleans))
	}
	at := byValue(v)
	best, bestTime := valueAt(v, at[0]), times[at[0]]
	most := 1
	for i := 0; i < len(at); {
		x := valueAt(v, at[i])
		j := i + 1
		for j < len(at) && same(valueAt(v, at[j]), x) {
			j++
		}
		if n := j - i; n > most || n == most && n > 1 && times[at[i]] <= bestTime {
			most, best, bestTime = n, x, times[at[j-1]]
		}
		i = j
	}
	return best
}

func same(a, b points.Value) bool { return !less(a, b) && !less(b, a) }

// stddev returns the standard deviation of a sample; NaN if there is only one value. The mean moves from value to value,
// as InfluxDB's does, so that it rounds as there.
func stddev(v *column.Values) points.Value {
	n := v.Len()
	if n < 2 {
		return points.FloatValue(math.NaN())
	}
	mean := 0.0
	for i := range n {
		mean += (asFloat(valueAt(v, i)) - mean) / float64(i+1)
	}
	variance := 0.0
	for i := range n {
		d := asFloat(valueAt(v, i)) - mean
		variance += d * d
	}
	return points.FloatValue(math.Sqrt(variance / float64(n-1)))
}

// distinct returns each value once, in the order in which they come first; those of one time by their values.
func distinct(v *column.Values, times []int64, descending bool) []points.Value {
	type first struct {
		v    points.Value
		time int64
	}
	seen := map[points.Value]bool{}
	var all []first
	for i := range v.Len() {
		x := valueAt(v, i)
		if x.Kind == column.Float && x.Float() == 0 {
			x = points.FloatValue(0) // -0 is no other value
		}
		if !seen[x] {
			seen[x] = true
			all = append(all, first{x, times[i]})
		}
	}
	slices.SortStableFunc(all, func(a, b first) int {
		c := cmp.Compare(a.time, b.time)
		if descending {
			c = -c
		}
		switch {
		case c != 0:
			return c
		case less(a.v, b.v):
			return -1
		case less(b.v, a.v):
			return 1
		}
		return 0
	})
	out := make([]points.Value, len(all))
	for i := range all {
		out[i] = all[i].v
	}
	return out
}
