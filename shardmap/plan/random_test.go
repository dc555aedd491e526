package plan

import (
	"flag"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"muster/raft"
	"muster/shardmap"
)

var clusters = flag.Int("clusters", 1000, "plan for so many random clusters")

// Whatever a cluster has come to, each prefix of the plan must keep each group's
// majority, and following plans must lead to rest. Random clusters get there by ways
// that nobody would write down.
func TestRandomClusters(t *testing.T) {
	kinds := map[Kind]int{}
	for seed := range *clusters {
		w, s := randomWorld(seed)
		untouched := w.clone()
		p := w.make(t, s)
		if q := untouched.make(t, s); !reflect.DeepEqual(p, q) {
			t.Fatalf("seed %d: two plans for one cluster", seed)
		}
		if !reflect.DeepEqual(untouched.table, w.table) {
			t.Fatalf("seed %d: the table was changed", seed)
		}
		for _, step := range p.Steps {
			kinds[step.Kind]++
		}
		// Plans that are given up on the way, one after the other, lead to rest as well.
		cut, r := w.clone(), seeded(-seed-1)
		for plans := 0; ; plans++ {
			q := cut.make(t, s)
			if len(q.Steps) == 0 {
				break
			}
			if plans == 40 {
				t.Fatalf("seed %d: no rest after %d plans that were given up: %s", seed, plans, &q.Steps[0])
			}
			q.Steps = q.Steps[:1+r.IntN(len(q.Steps))]
			if err := cut.carryOut(q); err != nil {
				t.Fatalf("seed %d: given up: %v", seed, err)
			}
		}
		if err := cut.settled(s, cut.make(t, s)); err != nil {
			t.Fatalf("seed %d: given up: %v", seed, err)
		}
		if err := w.carryOut(p); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		// A group that was not whole has become so, and what was begun in it is finished. Then
		// what was begun may have been begun at the wrong place.
		for range 2 {
			if err := w.carryOut(w.make(t, s)); err != nil {
				t.Fatalf("seed %d: a later plan: %v", seed, err)
			}
		}
		last := w.make(t, s)
		if len(last.Steps) > 0 {
			t.Fatalf("seed %d: no rest after three plans: %s", seed, &last.Steps[0])
		}
		if err := w.settled(s, last); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
	for _, k := range []Kind{Add, Promote, Remove, Prefer} {
		if kinds[k] < *clusters/30 {
			t.Errorf("only %d steps of kind %s: the clusters are too tame", kinds[k], k)
		}
	}
}

// settled says what is wrong with a cluster at rest.
func (w *world) settled(s Settings, last *Plan) error {
	said := map[raft.GroupID]bool{}
	for _, p := range last.Problems {
		said[p.Group] = true
	}
	groups := []*shardmap.TableGroup{&w.table.Meta}
	for i := range w.table.Groups {
		groups = append(groups, &w.table.Groups[i])
	}
	for _, g := range groups {
		if said[g.ID] {
			continue // it is known to fall short
		}
		want := s.Replicas
		if g.ID == 0 {
			want = s.MetaVoters
		}
		voters, live := w.voters(g)
		if voters != want && live == voters {
			return fmt.Errorf("group %d has %d voters, want %d, and nothing is said", g.ID, voters, want)
		}
		prefers := false
		for _, r := range g.Replicas {
			n, there := w.table.Node(r.Node)
			k := w.known.Nodes[r.Node]
			if r.Role != shardmap.ReplicaVoter {
				continue
			}
			if !there || k.Health == Dead || k.Health == Gone || k.Draining || n.Role != shardmap.NodeServer || w.state(g.ID, r.Replica) == Lost {
				return fmt.Errorf("group %d still has a voter on %s, and nothing is said", g.ID, r.Node)
			}
			prefers = prefers || r.Node == g.Preferred
		}
		if !prefers && live == voters {
			return fmt.Errorf("group %d prefers %s, which has no voter of it", g.ID, g.Preferred)
		}
	}
	return nil
}

// randomWorld makes a cluster with something of everything wrong.
func randomWorld(seed int) (*world, Settings) {
	r := seeded(seed)
	s := Settings{Replicas: 1 + 2*r.IntN(3), MetaVoters: 1 + 2*r.IntN(3), Balance: Balance(r.IntN(4) / 3)}
	nodes := 1 + r.IntN(10)
	zones := 1 + r.IntN(5)
	w := newWorld(nodes, func(int) string {
		if zones == 1 {
			return ""
		}
		return fmt.Sprint("z", r.IntN(zones))
	})
	voters := func() int { return min(nodes, []int{1, 2, 3, 3, 3, 3, 4, 5}[r.IntN(8)]) }
	w.addMeta(voters())
	for range r.IntN(14) {
		var on []int
		for _, n := range r.Perm(nodes)[:voters()] {
			on = append(on, n+1)
		}
		g := w.addGroup(on...)
		k := Group{Bytes: uint64(r.IntN(1000)), Pinned: r.IntN(6) == 0}
		w.known.Groups[g.ID] = k
		// A replacement that somebody began.
		if free := r.IntN(nodes) + 1; r.IntN(5) == 0 && !strings.Contains(fmt.Sprint(on, " "), fmt.Sprint(free)) {
			w.setState(g.ID, w.put(g, raft.NodeID(free), shardmap.ReplicaVoter), Learned)
		}
		if r.IntN(8) == 0 {
			w.setState(g.ID, g.Replicas[r.IntN(len(g.Replicas))].Replica, []ReplicaState{Damaged, Doubtful, Lost, Lost}[r.IntN(4)])
		}
	}
	for range r.IntN(4) {
		n := raft.NodeID(1 + r.IntN(nodes))
		w.known.Nodes[n] = []Node{{Health: Dead}, {Health: Dead}, {Health: Silent}, {Health: Joining}, {Draining: true}, {Draining: true}, {Health: Silent, Draining: true}}[r.IntN(7)]
	}
	if r.IntN(4) == 0 {
		for _, id := range slices.Sorted(maps.Keys(w.known.Nodes)) {
			if w.known.Nodes[id].Health == Dead {
				w.known.Nodes[id] = Node{Health: Gone}
				break
			}
		}
	}
	if r.IntN(6) == 0 {
		w.table.Nodes[r.IntN(nodes)].Role = shardmap.NodeClient
	}
	for range r.IntN(4) {
		w.addNode(fmt.Sprint("z", r.IntN(zones)))
	}
	if r.IntN(8) == 0 && len(w.table.Nodes) > 1 { // removed by force
		i := r.IntN(len(w.table.Nodes))
		w.table.Nodes = append(w.table.Nodes[:i:i], w.table.Nodes[i+1:]...)
	}
	return w, s
}
