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

// empty returns a series without values, with the memory of s.
func (s *series) empty() series {
	v := &s.values
	return series{times: s.times[:0], values: column.Values{Floats: v.Floats[:0], Integers: v.Integers[:0],
		Unsigned: v.Unsigned[:0], Booleans: v.Booleans[:0], Strings: v.Strings[:0]}}
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
	n := 0
	for _, k := range keep {
		if k {
			n++
		}
	}
	r := series{values: column.Values{Kind: s.values.Kind}}
	if len(s.times) > 0 {
		r.times = kept(s.times, keep, n)
	}
	switch v := &s.values; v.Kind {
	case column.Float:
		r.values.Floats = kept(v.Floats, keep, n)
	case column.Integer:
		r.values.Integers = kept(v.Integers, keep, n)
	case column.Unsigned:
		r.values.Unsigned = kept(v.Unsigned, keep, n)
	case column.Boolean:
		r.values.Booleans = kept(v.Booleans, keep, n)
	case column.String:
		r.values.Strings = kept(v.Strings, keep, n)
	}
	return r
}

// kept returns those of all, n of them, that are to be kept.
func kept[T any](all []T, keep []bool, n int) []T {
	r := make([]T, 0, n)
	for i, k := range keep {
		if k {
			r = append(r, all[i])
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
