package watch

import (
	"bytes"
	"cmp"
	"slices"
)

// reach is a range of keys.
type reach struct {
	from, to []byte // to is the first key behind it; nil: it has no end
}

func (r reach) has(key []byte) bool {
	return bytes.Compare(r.from, key) <= 0 && !endsBy(r.to, key)
}

// endsBy reports whether a range up to to ends before it comes to key.
func endsBy(to, key []byte) bool { return to != nil && bytes.Compare(to, key) <= 0 }

// later returns the later of two ends.
func later(a, b []byte) []byte {
	if a == nil || b == nil {
		return nil
	}
	if bytes.Compare(a, b) < 0 {
		return b
	}
	return a
}

// ranges are subjects of ranges. Finding those that have a key takes time logarithmic in
// how many there are, plus some for each that has it.
//
// The list is a search tree: the middle of a part of it is the root of that part, and ends
// has, at the same place, the latest end in the part. It is rebuilt when a key is looked
// for after a change. So where watches come and go between any two events, an event costs as
// much as a comparison with each range.
type ranges struct {
	list []*subject // by the beginning of the range
	ends [][]byte   // as long as list; else it is to be made
}

func (x *ranges) add(s *subject) {
	i, _ := slices.BinarySearchFunc(x.list, s, order)
	x.list = slices.Insert(x.list, i, s)
	x.ends = x.ends[:0]
}

func (x *ranges) remove(s *subject) {
	i, ok := slices.BinarySearchFunc(x.list, s, order)
	if !ok {
		panic("watch: a subject that is not there is removed")
	}
	x.list = slices.Delete(x.list, i, i+1)
	x.ends = x.ends[:0]
}

// order is that of the list; no two subjects are alike in it.
func order(a, b *subject) int { return cmp.Or(bytes.Compare(a.from, b.from), cmp.Compare(a.id, b.id)) }

// find calls f for each subject whose range has the key.
func (x *ranges) find(key []byte, f func(*subject)) {
	if len(x.ends) != len(x.list) {
		x.ends = slices.Grow(x.ends[:0], len(x.list))[:len(x.list)]
		x.latest(0, len(x.list))
	}
	x.search(0, len(x.list), key, f)
}

// latest fills in the ends of a part, which is not empty, and returns the latest.
func (x *ranges) latest(from, to int) []byte {
	mid := (from + to) / 2
	end := x.list[mid].to
	if from < mid {
		end = later(end, x.latest(from, mid))
	}
	if mid+1 < to {
		end = later(end, x.latest(mid+1, to))
	}
	x.ends[mid] = end
	return end
}

func (x *ranges) search(from, to int, key []byte, f func(*subject)) {
	for from < to {
		mid := (from + to) / 2
		if endsBy(x.ends[mid], key) {
			return
		}
		x.search(from, mid, key, f)
		s := x.list[mid]
		if bytes.Compare(s.from, key) > 0 {
			return // so do all behind it
		}
		if !endsBy(s.to, key) {
			f(s)
		}
		from = mid + 1
	}
}
