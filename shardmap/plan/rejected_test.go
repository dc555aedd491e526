package plan

import (
	"cmp"
	"slices"
	"testing"

	"muster/raft"
)

// Two simpler ways to place replicas were rejected for what they do to evenness and
// moves. Here they run beside the planner, so that the reason can be looked at again.
func TestRejectedWaysAreLessEven(t *testing.T) {
	const nodes, more, groups, voters = 100, 50, 1000, 3

	// A ring: each node has a place for each group by hash, and the first three hold it.
	// (Rendezvous hashing, which is as even as a ring with infinitely many points.)
	ring := func(n int) (on [][]int, held map[raft.NodeID]int) {
		held = map[raft.NodeID]int{}
		for g := range groups {
			var order []int
			rank := make([]uint64, n)
			for i := range n {
				order = append(order, i)
				rank[i] = seeded(g*1000 + i).Uint64()
			}
			slices.SortFunc(order, func(a, b int) int { return cmp.Compare(rank[a], rank[b]) })
			on = append(on, order[:voters])
			for _, i := range order[:voters] {
				held[raft.NodeID(i)]++
			}
		}
		return on, held
	}
	before, ringHeld := ring(nodes)
	after, _ := ring(nodes + more)
	ringMoves := 0
	for g := range after {
		for _, n := range after[g] {
			if !slices.Contains(before[g], n) {
				ringMoves++
			}
		}
	}

	// Of two random nodes the one with fewer replicas.
	r := seeded(1)
	choiceHeld := map[raft.NodeID]int{}
	for range groups {
		var on []raft.NodeID
		for len(on) < voters {
			a, b := raft.NodeID(r.IntN(nodes)), raft.NodeID(r.IntN(nodes))
			if choiceHeld[b] < choiceHeld[a] {
				a = b
			}
			if !slices.Contains(on, a) {
				on = append(on, a)
				choiceHeld[a]++
			}
		}
	}

	w := founded(nodes, groups, noZone)
	held, _ := w.loads()
	for range more {
		w.addNode("")
	}
	p := w.make(t, Defaults)
	t.Logf("replicas of two nodes differ by at most: planner %d, ring %d, two choices %d", gap(held), gap(ringHeld), gap(choiceHeld))
	t.Logf("moves for %d nodes more: planner %d, ring %d", more, p.Moves, ringMoves)
	if gap(held) > 1 || gap(ringHeld) < 10 || gap(choiceHeld) < 3 {
		t.Error("docs/decisions/0015-placement.md gives other reasons")
	}
}
