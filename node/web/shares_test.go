package web

import (
	"fmt"
	"testing"
)

// A user who may read one key can open many connections, and have many requests wait. None of it must keep an
// administrator out.
func TestNobodyTakesAllPlaces(t *testing.T) {
	if wrong := greedyUser(); wrong != "" {
		t.Error(wrong)
	}
}

func greedyUser() string {
	for _, n := range []int{2, 256, 1024} {
		s := NewShares(n)
		taken := 0
		for taken <= n && s.Take("eve") {
			taken++
		}
		if !s.Take("ann") {
			return fmt.Sprintf("one user has %d of %d places, and another gets none", taken, n)
		}
		if taken < n/2 {
			return fmt.Sprintf("a user who is alone has %d of %d places, want half", taken, n)
		}
		if s.Taken() != taken+1 {
			return fmt.Sprintf("%d places are taken, it says %d", taken+1, s.Taken())
		}
		s.GiveBack("ann")
		for range taken {
			s.GiveBack("eve")
		}
		if len(s.of) > 0 || s.free != n {
			return fmt.Sprintf("places are lost: %d are free of %d, %v has some", s.free, n, s.of)
		}
		for i := range n {
			if !s.Take("") {
				return fmt.Sprintf("where nobody is asked who he is there are %d places, want %d", i, n)
			}
		}
	}
	return ""
}
