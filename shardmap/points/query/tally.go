package query

import (
	"slices"

	"muster/shardmap/points"
	"muster/shardmap/points/column"
)

// tally folds the values of one series, window by window. Floats are added one after the other in order of time, however
// many pieces they come in.
type tally struct {
	item    *Item
	windows *Windows

	some       bool // there is a window
	start, end int64
	floats     fold[float64]
	integers   fold[int64]
	unsigned   fold[uint64] // booleans too: 0 and 1
	text       string
	rows       []int // of each cell, the place of the point that was selected
	cells      []cell
	row        int // how many points came before
	scratch    []uint64
}

// add takes further values of the series.
func (t *tally) add(p Piece) {
	for from := 0; from < len(p.Times); {
		if !t.some || p.Times[from] >= t.end {
			t.close()
			t.open(p.Times[from])
		}
		to := len(p.Times)
		if p.Times[to-1] >= t.end {
			to, _ = slices.BinarySearch(p.Times[from:], t.end)
			to += from
		}
		t.take(p.Times[from:to], &p.Values, from, to)
		from = to
	}
	t.row += len(p.Times)
}

// open begins the window of a time.
func (t *tally) open(at int64) {
	t.some, t.start, t.end = true, t.item.From, t.item.To
	if t.windows.None() {
		// Nothing lies behind the end that was asked for, and it belongs to the window.
		if t.end++; t.end < t.start {
			t.end = t.item.To
		}
	} else {
		t.start, t.end = t.windows.of(at)
	}
	if t.end <= at {
		// A change of the clock has left a window without an end of its own: it has this point at least.
		t.end = at + 1
	}
	t.floats, t.integers, t.unsigned, t.text = fold[float64]{}, fold[int64]{}, fold[uint64]{}, ""
}

// take folds values of the window.
func (t *tally) take(times []int64, v *column.Values, from, to int) {
	fn, row := t.item.Func, t.row+from
	switch v.Kind {
	case column.Float:
		t.floats.add(fn, times, v.Floats[from:to], row)
	case column.Integer:
		t.integers.add(fn, times, v.Integers[from:to], row)
	case column.Unsigned:
		t.unsigned.add(fn, times, v.Unsigned[from:to], row)
	case column.Boolean:
		t.scratch = t.scratch[:0]
		for _, b := range v.Booleans[from:to] {
			n := uint64(0)
			if b {
				n = 1
			}
			t.scratch = append(t.scratch, n)
		}
		t.unsigned.add(fn, times, t.scratch, row)
	case column.String:
		// The only functions of strings are count, first and last.
		if f := &t.unsigned; fn == Last || f.n == 0 {
			k := 0
			if fn == Last {
				k = to - from - 1
			}
			t.text, f.at, f.row = v.Strings[from+k], times[k], row+k
		}
		t.unsigned.n += int64(to - from)
	}
}

// close ends the window.
func (t *tally) close() {
	if !t.some {
		return
	}
	t.some = false
	c := cell{start: t.start}
	row := 0
	switch f, i, u := &t.floats, &t.integers, &t.unsigned; t.item.Field.Kind {
	case column.Float:
		c.n, c.at, row = f.n, f.at, f.row
		c.value, c.most = points.FloatValue(f.v), points.FloatValue(f.most)
	case column.Integer:
		c.n, c.at, row = i.n, i.at, i.row
		c.value, c.most = points.IntegerValue(i.v), points.IntegerValue(i.most)
	case column.Unsigned:
		c.n, c.at, row = u.n, u.at, u.row
		c.value, c.most = points.UnsignedValue(u.v), points.UnsignedValue(u.most)
	case column.Boolean:
		c.n, c.at, row = u.n, u.at, u.row
		c.value = points.BooleanValue(u.v != 0)
	case column.String:
		c.n, c.at, row = u.n, u.at, u.row
		c.value = points.StringValue(t.text)
	}
	n := len(t.cells) - 1
	if n < 0 || t.cells[n].start != c.start {
		t.cells, t.rows = append(t.cells, c), append(t.rows, row)
		return
	}
	// Where a clock goes back two stretches of time may be one window.
	if t.item.Func.selects() && before(t.item.Func, &c, &t.cells[n]) {
		t.rows[n] = row
	}
	t.cells[n].merge(t.item, &c)
}
