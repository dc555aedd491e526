package repl

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// Whatever is added, dropped and removed, in whatever order, the queue of waiters
// is the slow one's, and its array stays small. One would doubt it where what was
// dropped makes room for what is added.
func TestWaiters(t *testing.T) {
	for seed := range uint64(200) {
		chance := rand.New(rand.NewPCG(seed, 1))
		var q waiters
		var slow []waiter
		next, most := uint64(1), 0
		for range 2000 {
			switch n := chance.IntN(20); {
			case n < 10:
				w := waiter{index: next, deadline: time.Duration(chance.IntN(50))}
				next++
				q.add(w)
				slow = append(slow, w)
			case n < 19 && len(slow) > 0:
				q.drop()
				slow = slow[1:]
			case n == 19 && chance.IntN(10) == 0:
				odd := func(w waiter) bool { return w.index%2 == 1 }
				q.remove(odd)
				slow = slices.DeleteFunc(slices.Clone(slow), odd)
			}
			most = max(most, len(slow))
			if !slices.EqualFunc(q.all(), slow, func(a, b waiter) bool { return a.index == b.index }) {
				t.Fatalf("seed %d: got %v, want %v", seed, q.all(), slow)
			}
			if first := q.first(); (first == nil) != (len(slow) == 0) || first != nil && first.index != slow[0].index {
				t.Fatalf("seed %d: got first %v of %v", seed, first, slow)
			}
			for _, w := range slow { // a scan that is not due costs little, one that is missed is a caller that waits in vain
				if w.deadline != 0 && (q.soonest == 0 || q.soonest > w.deadline) {
					t.Fatalf("seed %d: soonest is %d, one is due at %d", seed, q.soonest, w.deadline)
				}
			}
			for _, w := range slow { // one that is missed is a caller that waits in vain
				if w.deadline != 0 && (q.soonest == 0 || q.soonest > w.deadline) {
					t.Fatalf("seed %d: soonest is %d, one is due at %d", seed, q.soonest, w.deadline)
				}
			}
			if len(slow) == 0 && cap(q.list) > waitersKept {
				t.Fatalf("seed %d: an empty queue keeps room for %d", seed, cap(q.list))
			}
		}
		if cap(q.list) > 4*most+8 {
			t.Fatalf("seed %d: room for %d, never more than %d waited", seed, cap(q.list), most)
		}
	}
}

// A burst gives its memory back; what is usual is kept and takes no allocation.
func TestWaitersKeepTheirArray(t *testing.T) {
	var q waiters
	turn := func(n int) {
		for range n {
			q.add(waiter{})
		}
		for range n {
			q.drop()
		}
	}
	turn(waitersKept)
	if n := testing.AllocsPerRun(100, func() { turn(waitersKept / 2) }); n > 0 {
		t.Errorf("a usual turn allocates %v times", n)
	}
	if turn(10 * waitersKept); cap(q.list) > 0 {
		t.Errorf("after a burst there is room for %d", cap(q.list))
	}
}
