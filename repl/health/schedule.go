package health

import (
	"cmp"
	"container/heap"
)

// schedule has the checks that wait for their time: a heap, the next one first. Each knows
// its place, so that one that is dropped leaves at once.
type schedule []*checking

func (s *schedule) add(k *checking) { heap.Push(s, k) }

// remove takes out the check at a place, and returns it.
func (s *schedule) remove(i int) *checking { return heap.Remove(s, i).(*checking) }

// earlier orders checks by time, and else by what no two have in common: one seed has one
// outcome.
func earlier(a, b *checking) bool {
	return cmp.Or(cmp.Compare(a.next, b.next), cmp.Compare(a.held.group, b.held.group), cmp.Compare(a.number, b.number)) < 0
}

// Len implements [heap.Interface].
func (s schedule) Len() int { return len(s) }

// Less implements [heap.Interface].
func (s schedule) Less(i, j int) bool { return earlier(s[i], s[j]) }

// Swap implements [heap.Interface].
func (s schedule) Swap(i, j int) {
	s[i], s[j] = s[j], s[i]
	s[i].place, s[j].place = i, j
}

// Push implements [heap.Interface].
func (s *schedule) Push(x any) {
	k := x.(*checking)
	k.place = len(*s)
	*s = append(*s, k)
}

// Pop implements [heap.Interface].
func (s *schedule) Pop() any {
	h, last := *s, len(*s)-1
	k := h[last]
	h[last] = nil
	*s = h[:last]
	return k
}
