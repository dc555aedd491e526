package query

import (
	"math"

	"muster/shardmap/points"
	"muster/shardmap/points/column"
)

// point is a value of a group on its way to a row.
type point struct {
	time int64
	v    points.Value   // the zero value is null
	aux  []points.Value // of the plain slots; nil: all null
}

// pointBytes is what a point is counted as.
const pointBytes = 72

// transformed applies a function of stage 2 to points in the order in which rows go. Nulls are passed over.
func (c *call) transformed(in []point, descending bool) []point {
	switch c.name {
	case "derivative", "non_negative_derivative", "difference", "non_negative_difference":
		return c.differences(in, descending)
	case "moving_average":
		return c.averages(in)
	case "cumulative_sum":
		return sums(in)
	}
	return c.elapsed(in)
}

// differences makes of each point its difference to the one before. Only the first of several points at one time counts.
func (c *call) differences(in []point, descending bool) []point {
	var out []point
	var last *point
	for i := range in {
		p := &in[i]
		if p.v.Kind == 0 || last != nil && last.time == p.time {
			continue
		}
		if last != nil {
			if v, some := c.difference(last, p, descending); some {
				out = append(out, point{time: p.time, v: v})
			}
		}
		last = p
	}
	return out
}

// difference returns what the function gives for two points.
func (c *call) difference(last, p *point, descending bool) (v points.Value, some bool) {
	nonNegative := c.name == "non_negative_difference" || c.name == "non_negative_derivative"
	if c.name == "difference" || c.name == "non_negative_difference" {
		if nonNegative && less(p.v, last.v) {
			return v, false
		}
		v = minus(p.v, last.v)
		// A difference of integers that wraps around may be negative though the second one is larger.
		return v, !nonNegative || v.Kind != column.Integer || v.Integer() >= 0
	}
	diff := difference(p.v, last.v)
	if nonNegative && diff < 0 {
		return v, false
	}
	elapsed := p.time - last.time
	if descending {
		elapsed = -elapsed
	}
	return points.FloatValue(diff / (float64(elapsed) / float64(c.unit))), true
}

// minus subtracts numbers of one kind; integers wrap around.
func minus(a, b points.Value) points.Value {
	switch a.Kind {
	case column.Float:
		return points.FloatValue(a.Float() - b.Float())
	case column.Integer:
		return points.IntegerValue(a.Integer() - b.Integer())
	}
	return points.UnsignedValue(a.Unsigned() - b.Unsigned())
}

// difference returns a difference as a float.
func difference(a, b points.Value) float64 {
	switch a.Kind {
	case column.Float:
		return a.Float() - b.Float()
	case column.Integer:
		return float64(a.Integer() - b.Integer())
	}
	if a.Unsigned() > b.Unsigned() {
		return float64(a.Unsigned() - b.Unsigned())
	}
	return -float64(b.Unsigned() - a.Unsigned())
}

// averages makes averages of as many values as the function says. The sum goes along: what enters is added, what leaves
// is taken away, in this order of InfluxDB, so that it rounds as there.
func (c *call) averages(in []point) []point {
	var out []point
	window := make([]points.Value, 0, min(c.length, len(in)))
	var sum points.Value
	at := 0
	for i := range in {
		p := &in[i]
		if p.v.Kind == 0 {
			continue
		}
		if len(window) < c.length {
			window = append(window, p.v)
		} else {
			sum = minus(sum, window[at])
			window[at] = p.v
		}
		if sum.Kind == 0 {
			sum = minus(p.v, p.v)
		}
		sum = plus(sum, p.v)
		at = (at + 1) % c.length
		if len(window) == c.length {
			out = append(out, point{time: p.time, v: points.FloatValue(asFloat(sum) / float64(c.length))})
		}
	}
	return out
}

func asFloat(v points.Value) float64 { return castValue(v, column.Float).Float() }

// sums makes of each value its sum with all before it.
func sums(in []point) []point {
	var out []point
	var sum points.Value
	for i := range in {
		p := &in[i]
		switch {
		case p.v.Kind == 0:
			continue
		case sum.Kind == 0:
			sum = p.v
		default:
			sum = plus(sum, p.v)
		}
		out = append(out, point{time: p.time, v: sum})
	}
	return out
}

// elapsed makes of each point the time since the one before, in whole units.
func (c *call) elapsed(in []point) []point {
	var out []point
	var last *point
	for i := range in {
		p := &in[i]
		if p.v.Kind == 0 {
			continue
		}
		if last != nil {
			out = append(out, point{time: p.time, v: points.IntegerValue((p.time - last.time) / c.unit)})
		}
		last = p
	}
	return out
}

// linear returns the value at a time between two points, on the line through them. Times are counted in windows.
func linear(at, from, to int64, a, b points.Value) points.Value {
	slope := difference(b, a) / float64(to-from)
	if a.Kind == column.Unsigned {
		// InfluxDB lets the difference wrap around.
		slope = float64(b.Unsigned()-a.Unsigned()) / float64(to-from)
	}
	y := slope*float64(at-from) + asFloat(a)
	switch a.Kind {
	case column.Float:
		return points.FloatValue(y)
	case column.Integer:
		return points.IntegerValue(int64(y))
	}
	if math.IsNaN(y) || y < 0 {
		return points.UnsignedValue(uint64(int64(y)))
	}
	return points.UnsignedValue(uint64(y))
}
