package quorum

import (
	"math/rand/v2"
	"testing"
)

// Sorting and picking an index is easily off by one, for even numbers above
// all. The slow way asks of each value whether more than half have it.
func TestReached(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	slow := func(values []uint64) uint64 {
		if len(values) == 0 {
			return Everything
		}
		best := uint64(0)
		for _, v := range values {
			n := 0
			for _, w := range values {
				if w >= v {
					n++
				}
			}
			if 2*n > len(values) {
				best = max(best, v)
			}
		}
		return best
	}
	draw := func() []uint64 {
		values := make([]uint64, r.IntN(8))
		for i := range values {
			values[i] = r.Uint64N(6)
		}
		return values
	}
	for range 20000 {
		a, b := draw(), draw()
		wantA, want := slow(a), min(slow(a), slow(b))
		if got := Reached(append([]uint64(nil), a...)); got != wantA {
			t.Fatalf("Reached(%v) = %d, want %d", a, got, wantA)
		}
		if got := ReachedJoint(append([]uint64(nil), a...), append([]uint64(nil), b...)); got != want {
			t.Fatalf("ReachedJoint(%v, %v) = %d, want %d", a, b, got, want)
		}
	}
}

// An election is won or lost exactly when the answers that are missing can't
// change it. The slow way tries all of them.
func TestElection(t *testing.T) {
	for n := range 8 {
		for yes := range n + 1 {
			for no := range n - yes + 1 {
				win, lose := false, false
				for more := range n - yes - no + 1 {
					if 2*(yes+more) > n || n == 0 {
						win = true
					} else {
						lose = true
					}
				}
				want := Open
				if win && !lose {
					want = Won
				} else if lose && !win {
					want = Lost
				}
				if got := Election(n, yes, no); got != want {
					t.Errorf("Election(%d, %d, %d) = %v, want %v", n, yes, no, got, want)
				}
			}
		}
	}
	for _, c := range []struct{ a, b, want Verdict }{
		{Won, Won, Won}, {Won, Open, Open}, {Open, Won, Open}, {Won, Lost, Lost}, {Lost, Won, Lost},
		{Open, Lost, Lost}, {Lost, Open, Lost}, {Open, Open, Open}, {Lost, Lost, Lost},
	} {
		if got := ElectionJoint(c.a, c.b); got != c.want {
			t.Errorf("ElectionJoint(%v, %v) = %v, want %v", c.a, c.b, got, c.want)
		}
	}
}

// Two majorities of one list share a voter, for any number of voters.
func TestMajority(t *testing.T) {
	for n := 1; n < 100; n++ {
		if m := Majority(n); 2*m <= n || 2*(m-1) > n {
			t.Errorf("Majority(%d) = %d", n, m)
		}
	}
}
