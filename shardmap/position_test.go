package shardmap

import (
	"testing"

	"muster/raft"
)

// A person keeps a position as text and gives it back: it must come back the same, and
// what was cut short must not pass for another one.
func TestPositionText(t *testing.T) {
	id := raft.LogID{Term: 2, Index: 17}
	for _, c := range []struct {
		p    Position
		text string
	}{
		{After(id), "g1/2.17"},
		{Position{ID: id, N: 3}, "g1/2.17+3"},
		{Position{ID: id}, "g1/2.17+0"},
	} {
		if got := FormatPosition(1, c.p); got != c.text {
			t.Errorf("%+v: %q, want %q", c.p, got, c.text)
		}
		if g, got, err := ParsePosition(c.text); err != nil || g != 1 || got != c.p {
			t.Errorf("%q is read as %+v of group %d, %v", c.text, got, g, err)
		}
	}
	for _, bad := range []string{"", "g1", "g1/2", "g1/2.17+", "g1/2.17+x", "g1/2.17+-1", "g1/2.17+4294967295", "g1/2.17+4294967296", "2.17", "g10000/2.17"} {
		if g, p, err := ParsePosition(bad); err == nil {
			t.Errorf("%q is read as %s", bad, FormatPosition(g, p))
		}
	}
}

// Positions of a group are in the order of its entries, and within one of its events.
func TestPositionsInOrder(t *testing.T) {
	at := func(index uint64, n uint32) Position { return Position{ID: raft.LogID{Term: 2, Index: index}, N: n} }
	inOrder := []Position{{}, at(16, 0), at(16, AllEvents), at(17, 0), at(17, 1), at(17, AllEvents), at(18, 0)}
	for i, p := range inOrder {
		for j, q := range inOrder {
			if p.Before(q) != (i < j) {
				t.Errorf("%+v before %+v: %t", p, q, p.Before(q))
			}
		}
	}
}
