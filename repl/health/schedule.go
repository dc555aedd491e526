package health

import (
	"cmp"
	"container/heap"
)

// schedule has the checks that wait for their time, the next one first.
type schedule = queue[*checking]

// earlier orders checks by time, and else by what no two have in common: one seed has one
// outcome.
func (k *checking) earlier(o *checking) bool {
	return cmp.Or(cmp.Compare(k.next, o.next), cmp.Compare(k.held.group, o.held.group), cmp.Compare(k.number, o.number)) < 0
}

func (k *checking) moved(place int) { k.place = place }

// queue is a heap, the next one first. Each knows its place, so that one that is dropped
// leaves at once.
type queue[T queued[T]] []T

// queued is what a queue takes.
type queued[T any] interface {
	// earlier reports whether it comes before another one.
	earlier(T) bool
	// moved tells it its place.
	moved(place int)
}

func (q *queue[T]) add(x T) { heap.Push(q, x) }

// remove takes out the one at a place, and returns it. It does not compare it.
func (q *queue[T]) remove(place int) T { return heap.Remove(q, place).(T) }

// fix is called when the order of the one at a place has changed.
func (q *queue[T]) fix(place int) { heap.Fix(q, place) }

// Len implements [heap.Interface].
func (q queue[T]) Len() int { return len(q) }

// Less implements [heap.Interface].
func (q queue[T]) Less(i, j int) bool { return q[i].earlier(q[j]) }

// Swap implements [heap.Interface].
func (q queue[T]) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].moved(i)
	q[j].moved(j)
}

// Push implements [heap.Interface].
func (q *queue[T]) Push(x any) {
	k := x.(T)
	k.moved(len(*q))
	*q = append(*q, k)
}

// Pop implements [heap.Interface].
func (q *queue[T]) Pop() any {
	h, last := *q, len(*q)-1
	x := h[last]
	clear(h[last:])
	*q = h[:last]
	return x
}
