package query

import (
	"slices"

	"muster/shardmap/points"
	"muster/shardmap/points/column"
)

// number is what can be added and compared.
type number interface{ ~float64 | ~int64 | ~uint64 }

// fold is what a function has made of the values of one series in one window so far, in order of time.
type fold[T number] struct {
	n    int64
	v    T     // sum, smallest, largest, first or last
	most T     // of Spread: the largest
	at   int64 // the time of v, if it is that of a point
	row  int   // which of the points that were handed in; of a function that selects
}

// add takes further values, behind those before in time. row is the place of the first one. The loops are apart for each
// function so that each does nothing but its own work: this is where a query over many values spends its time.
func (f *fold[T]) add(fn Func, times []int64, values []T, row int) {
	switch fn {
	case Sum, Mean:
		s := f.v
		for _, v := range values {
			s += v
		}
		f.v = s
	case Min:
		f.least(times, values, row)
	case Max:
		f.largest(times, values, row)
	case First:
		if f.n == 0 {
			f.v, f.at, f.row = values[0], times[0], row
		}
	case Last:
		k := len(values) - 1
		f.v, f.at, f.row = values[k], times[k], row+k
	case Spread:
		if f.n == 0 {
			f.v, f.most = values[0], values[0]
		}
		lo, hi := f.v, f.most
		for _, v := range values {
			lo, hi = min(lo, v), max(hi, v)
		}
		f.v, f.most = lo, hi
	}
	f.n += int64(len(values))
}

// least keeps the smallest value; of equal ones the first.
func (f *fold[T]) least(times []int64, values []T, row int) {
	v, k := f.v, -1
	if f.n == 0 {
		v, k = values[0], 0
	}
	for i, x := range values {
		if x < v {
			v, k = x, i
		}
	}
	if k >= 0 {
		f.v, f.at, f.row = v, times[k], row+k
	}
}

// largest keeps the largest value; of equal ones the first.
func (f *fold[T]) largest(times []int64, values []T, row int) {
	v, k := f.v, -1
	if f.n == 0 {
		v, k = values[0], 0
	}
	for i, x := range values {
		if x > v {
			v, k = x, i
		}
	}
	if k >= 0 {
		f.v, f.at, f.row = v, times[k], row+k
	}
}

// cell is what a function made of a window: of one series, or of several.
type cell struct {
	start int64 // of the window
	n     int64
	value points.Value
	most  points.Value
	at    int64
	key   string // of the series of the point that was selected, if there are aux
	aux   []points.Value
}

// cellBytes is what a cell is counted as, its aux apart.
const cellBytes = 128

// merge takes a cell of other series, or of the same at other times, into c.
func (c *cell) merge(x *Item, o *cell) {
	c.n += o.n
	switch x.Func {
	case Count:
	case Sum, Mean:
		c.value = plus(c.value, o.value)
	case Spread:
		if less(o.value, c.value) {
			c.value = o.value
		}
		if less(c.most, o.most) {
			c.most = o.most
		}
	default:
		if before(x.Func, o, c) && !bug(bugTieLost) || c.key != o.key && !before(x.Func, c, o) && (o.key < c.key) != x.Descending {
			c.value, c.at, c.key, c.aux = o.value, o.at, o.key, o.aux
		}
	}
}

// mergeCells takes more cells into those that are there. Both are in order of their windows, and so is what comes out.
// Mostly the windows are the same ones, and nothing has to move.
func mergeCells(x *Item, there, more []cell) []cell {
	if len(there) == 0 {
		return slices.Clone(more)
	}
	fresh := 0
	for i, k := 0, 0; k < len(more); k++ {
		for i < len(there) && there[i].start < more[k].start {
			i++
		}
		if i == len(there) || there[i].start != more[k].start {
			fresh++
		}
	}
	all := there
	if fresh > 0 {
		all = make([]cell, 0, len(there)+fresh)
	}
	i := 0
	for k := range more {
		from := i
		for i < len(there) && there[i].start < more[k].start {
			i++
		}
		if fresh > 0 {
			all = append(all, there[from:i]...)
		}
		switch {
		case i == len(there) || there[i].start != more[k].start:
			all = append(all, more[k])
		default:
			there[i].merge(x, &more[k])
		}
	}
	if fresh > 0 {
		all = append(all, there[i:]...)
	}
	return all
}

// before reports whether a function that selects takes the point of a before that of b: the earlier one of equal values,
// and the larger value of equal times, where false is the first of booleans. Where both are equal the order of the keys of
// their series decides, which is that of the rows.
func before(fn Func, a, b *cell) bool {
	switch fn {
	case Min:
		return less(a.value, b.value) || !less(b.value, a.value) && a.at < b.at
	case Max:
		return less(b.value, a.value) || !less(a.value, b.value) && a.at < b.at
	case First:
		if a.at == b.at && a.value.Kind == column.Boolean {
			return less(a.value, b.value)
		}
		return a.at < b.at || a.at == b.at && less(b.value, a.value)
	}
	return a.at > b.at || a.at == b.at && less(b.value, a.value)
}

// plus adds numbers of one kind. Integers wrap around, as InfluxDB's do.
func plus(a, b points.Value) points.Value {
	switch a.Kind {
	case column.Float:
		return points.FloatValue(a.Float() + b.Float())
	case column.Integer:
		return points.IntegerValue(a.Integer() + b.Integer())
	}
	return points.UnsignedValue(a.Unsigned() + b.Unsigned())
}

// less compares values of one kind; false is less than true.
func less(a, b points.Value) bool {
	switch a.Kind {
	case column.Float:
		return a.Float() < b.Float()
	case column.Integer:
		return a.Integer() < b.Integer()
	case column.Unsigned:
		return a.Unsigned() < b.Unsigned()
	case column.Boolean:
		return !a.Boolean() && b.Boolean()
	}
	return a.Text() < b.Text()
}
