package query

import (
	"cmp"
	"slices"
	"strings"
)

// ranked returns the points of a window with the largest or the smallest values, in the order of rows. Where
// values are equal, those with earlier times are taken.
func (r *reader) ranked(c *call, t *table, from, to int) []point {
	at := make([]int, 0, to-from)
	for i := from; i < to; i++ {
		at = append(at, i)
	}
	better := func(i, j int) int {
		a, b := valueAt(&t.values, i), valueAt(&t.values, j)
		if c.name == "bottom" {
			a, b = b, a
		}
		switch {
		case less(b, a):
			return -1
		case less(a, b):
			return 1
		}
		return cmp.Compare(t.times[i], t.times[j])
	}
	slices.SortStableFunc(at, better)
	if c.grouped {
		at = r.firstOfEach(c, t, at)
	}
	at = at[:min(len(at), c.length)]
	// At one time the better one comes first, whichever way rows go.
	slices.SortStableFunc(at, func(i, j int) int {
		if r.plan.query.descending {
			i, j = j, i
		}
		return cmp.Compare(t.times[i], t.times[j])
	})
	out := make([]point, len(at))
	for k, i := range at {
		out[k] = point{time: t.times[i], v: valueAt(&t.values, i), aux: t.aux(i)}
	}
	return out
}

// firstOfEach returns the first of the points of each combination of tags.
func (r *reader) firstOfEach(c *call, t *table, at []int) []int {
	seen := map[string]bool{}
	var first []int
	for _, i := range at {
		aux := t.aux(i)
		var id strings.Builder
		for _, k := range c.each {
			id.WriteString(aux[k].Text())
			id.WriteByte(0) // no tag has a NUL
		}
		if !seen[id.String()] {
			seen[id.String()] = true
			first = append(first, i)
		}
	}
	return first
}
