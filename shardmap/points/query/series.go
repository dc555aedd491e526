package query

import (
	"muster/shardmap/points"
	"muster/shardmap/points/column"
)

// series is a column of one series: values at times, or one value at all times.
type series struct {
	times    []int64
	values   column.Values
	constant points.Value // of a tag
}

// seek returns the first place from k on whose time is not before t.
func (s *series) seek(k int, t int64) int {
	for k < len(s.times) && s.times[k] < t {
		k++
	}
	return k
}

// valueAt returns the value at a time; null if there is none. place is where the last one was found: times are asked
// for in order.
func (s *series) valueAt(place *int, t int64) points.Value {
	if s.constant.Kind != 0 {
		return s.constant
	}
	*place = s.seek(*place, t)
	if *place == len(s.times) || s.times[*place] != t {
		return points.Value{}
	}
	return valueAt(&s.values, *place)
}

// only returns the points that are kept.
func (s *series) only(keep []bool) series {
	r := series{values: column.Values{Kind: s.values.Kind}}
	for i, k := range keep {
		if !k {
			continue
		}
		r.times = append(r.times, s.times[i])
		if s.values.Kind != 0 {
			addValue(&r.values, valueAt(&s.values, i))
		}
	}
	return r
}

// appendValues appends values of one kind to others.
func appendValues(to, v *column.Values) {
	switch to.Kind {
	case column.Float:
		to.Floats = append(to.Floats, v.Floats...)
	case column.Integer:
		to.Integers = append(to.Integers, v.Integers...)
	case column.Unsigned:
		to.Unsigned = append(to.Unsigned, v.Unsigned...)
	case column.Boolean:
		to.Booleans = append(to.Booleans, v.Booleans...)
	case column.String:
		to.Strings = append(to.Strings, v.Strings...)
	}
}

// cut returns the values from one place to before another.
func cut(v *column.Values, from, to int) column.Values {
	c := column.Values{Kind: v.Kind}
	switch v.Kind {
	case column.Float:
		c.Floats = v.Floats[from:to]
	case column.Integer:
		c.Integers = v.Integers[from:to]
	case column.Unsigned:
		c.Unsigned = v.Unsigned[from:to]
	case column.Boolean:
		c.Booleans = v.Booleans[from:to]
	case column.String:
		c.Strings = v.Strings[from:to]
	}
	return c
}

// cast returns numbers as another kind of numbers. Fractions are cut off.
func cast(v *column.Values, k column.Kind) column.Values {
	c := column.Values{Kind: k}
	for i := range v.Len() {
		addValue(&c, castValue(valueAt(v, i), k))
	}
	return c
}

// castValue returns a value as another kind; null if it can't be had.
func castValue(v points.Value, k column.Kind) points.Value {
	if v.Kind == k {
		return v
	}
	if !numeric(v.Kind) || !numeric(k) {
		return points.Value{}
	}
	switch {
	case k == column.Float && v.Kind == column.Integer:
		return points.FloatValue(float64(v.Integer()))
	case k == column.Float:
		return points.FloatValue(float64(v.Unsigned()))
	case k == column.Integer && v.Kind == column.Float:
		return points.IntegerValue(int64(v.Float()))
	case k == column.Integer:
		return points.IntegerValue(int64(v.Unsigned()))
	case v.Kind == column.Float:
		return points.UnsignedValue(uint64(v.Float()))
	}
	return points.UnsignedValue(uint64(v.Integer()))
}
