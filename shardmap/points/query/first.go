package query

import (
	"cmp"
	"slices"
)

// A selection of fields with a LIMIT needs the first points of a group, or the last ones. A shard gives no more of them,
// however many series the group has: it drops the others as soon as it has many, and reads no further in time than the
// ones that it keeps.

// firstMin is how many points beyond those that are needed twice are kept before others are dropped.
const firstMin = 4096

// narrowed returns the item without the times at which no point can be needed any more.
func (g *gatheredItem) narrowed(it *Item) *Item {
	if !g.full {
		return it
	}
	n := *it
	if it.Descending {
		// A series that is read later has a larger key, and at equal times the larger key comes first: a point at the cut may
		// still be needed.
		n.From = max(n.From, g.cut)
	} else {
		n.To = min(n.To, g.cut-1)
	}
	return &n
}

// first drops all but the points that may be needed: those that are first in the order of rows.
func (g *gatheredItem) first(it *Item) {
	p := &g.raw
	at := make([]int, len(p.Times))
	for i := range at {
		at[i] = i
	}
	// Points stand in the order of the keys of their series.
	slices.SortFunc(at, func(i, j int) int {
		if it.Descending {
			i, j = j, i
		}
		return cmp.Or(cmp.Compare(p.Times[i], p.Times[j]), cmp.Compare(i, j))
	})
	n := int(it.Rows)
	g.cut, g.full = p.Times[at[n-1]], true
	keep := make([]bool, len(p.Times))
	for _, i := range at[:n] {
		keep[i] = true
	}
	var of []Stretch
	from := 0
	for _, s := range p.Series {
		left := 0
		for _, k := range keep[from : from+s.Points] {
			if k {
				left++
			}
		}
		from += s.Points
		if left > 0 {
			of = append(of, Stretch{s.Key, left})
		}
	}
	p.Series = of
	p.Times = kept(p.Times, keep, n)
	for i := range p.Aux {
		v := &p.Aux[i]
		s := series{values: v.Values}
		v.Values = s.only(keep).values
		if v.Null != nil {
			if v.Null = kept(v.Null, keep, n); !slices.Contains(v.Null, true) {
				v.Null = nil
			}
		}
	}
}
