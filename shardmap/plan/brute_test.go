package plan

import (
	"flag"
	"fmt"
	"math/bits"
	"testing"

	"muster/raft"
)

var brute = flag.Int("brute", 300, "compare the plans of so many small clusters with all that is possible; the figures of docs/decisions/0015-placement.md are of 20000")

// best is the slow way: of all placements of all groups, first the best spread over
// zones, then the most even, then the one with the fewest new replicas.
func (w *world) best(replicas int) (pairs, squares, moves int) {
	var nodes, usable uint
	zones := make([]string, len(w.table.Nodes))
	for i, n := range w.table.Nodes {
		nodes |= 1 << i
		zones[i] = zoneOf(&n)
		if k := w.known.Nodes[n.ID]; k.Health == Alive && !k.Draining {
			usable |= 1 << i
		}
	}
	var sets []uint
	fewest := map[uint]int{}
	least := 1 << 30
	for set := uint(0); set <= nodes; set++ {
		if set&^usable != 0 || bits.OnesCount(set) != replicas {
			continue
		}
		count, k := map[string]int{}, 0
		for i := range zones {
			if set>>i&1 == 1 {
				k += count[zones[i]]
				count[zones[i]]++
			}
		}
		fewest[set] = k
		least = min(least, k)
		sets = append(sets, set)
	}
	var old []uint
	for _, g := range w.table.Groups {
		var set uint
		for _, r := range g.Replicas {
			set |= 1 << (r.Node - 1)
		}
		old = append(old, set)
	}
	load := make([]int, len(zones))
	squares, moves = 1<<30, 0
	var try func(g, moved int)
	try = func(g, moved int) {
		if g == len(old) {
			sum := 0
			for _, l := range load {
				sum += l * l
			}
			if sum < squares || sum == squares && moved < moves {
				squares, moves = sum, moved
			}
			return
		}
		for _, set := range sets {
			if fewest[set] != least {
				continue
			}
			for i := range load {
				load[i] += int(set >> i & 1)
			}
			try(g+1, moved+bits.OnesCount(set&^old[g]))
			for i := range load {
				load[i] -= int(set >> i & 1)
			}
		}
	}
	try(0, 0)
	return least * len(old), squares, moves
}

// bestLeads tries all choices of leaders among the replicas that there are.
func (w *world) bestLeads(led map[raft.NodeID]int) int {
	least := 1 << 30
	count := map[raft.NodeID]int{}
	var try func(g int)
	try = func(g int) {
		if g == len(w.table.Groups) {
			least = min(least, sumOfSquares(count))
			return
		}
		for _, r := range w.table.Groups[g].Replicas {
			if _, may := led[r.Node]; may {
				count[r.Node]++
				try(g + 1)
				count[r.Node]--
			}
		}
	}
	try(0)
	return least
}

func sumOfSquares(count map[raft.NodeID]int) (sum int) {
	for _, n := range count {
		sum += n * n
	}
	return sum
}

// The planner looks for good placements; here all of them are tried. Its result must
// be spread and even as well as any, and cost at most one new replica more than the
// cheapest of those. With a dead node it may be two: what is broken is mended where it
// can be at once, and only then do healthy groups move.
func TestMovesAreMinimal(t *testing.T) {
	more := map[int]int{}
	for seed := range *brute {
		r := seeded(seed)
		nodes := 2 + r.IntN(5)
		replicas := 1
		if nodes > 3 && r.IntN(3) > 0 {
			replicas = 3
		}
		zones := 1 + r.IntN(4)
		w := newWorld(nodes, func(int) string { return fmt.Sprint("z", r.IntN(zones)) })
		for range 1 + r.IntN(4) {
			var on []int
			for _, n := range r.Perm(nodes)[:replicas] {
				on = append(on, n+1)
			}
			w.addGroup(on...)
		}
		gone := raft.NodeID(1 + r.IntN(nodes))
		most := 1
		switch {
		case nodes <= replicas:
		case r.IntN(3) == 0:
			w.known.Nodes[gone] = Node{Draining: true}
		case r.IntN(2) == 0 && replicas > 1:
			most = 2
			w.known.Nodes[gone] = Node{Health: Dead}
		}
		pairs, squares, moves := w.best(replicas)
		// Two plans: the groups of a dead node are not moved for evenness' sake before
		// they are mended.
		s := Settings{Replicas: replicas, MetaVoters: 1}
		got := 0
		for range 2 {
			p := w.make(t, s)
			if err := w.carryOut(p); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			got += p.Moves
		}
		if p := w.make(t, s); len(p.Steps) > 0 {
			t.Fatalf("seed %d: a third plan: %s", seed, &p.Steps[0])
		}
		gotPairs, gotSquares := 0, 0
		for i := range w.table.Groups {
			gotPairs += w.pairs(&w.table.Groups[i])
		}
		held, _ := w.loads()
		for _, h := range held {
			gotSquares += h * h
		}
		if _, led := w.loads(); sumOfSquares(led) != w.bestLeads(led) {
			t.Errorf("seed %d: nodes lead %v; it could be more even", seed, led)
		}
		if gotPairs != pairs || gotSquares != squares || got > moves+most {
			t.Errorf("seed %d: %d pairs in a zone, squares %d, %d moves; possible are %d, %d, %d", seed, gotPairs, gotSquares, got, pairs, squares, moves)
		}
		more[got-moves]++
	}
	t.Logf("of %d clusters, %d with the fewest moves possible, %d with one more, %d with two", *brute, more[0], more[1], more[2])
}
