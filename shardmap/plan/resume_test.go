package plan

import (
	"flag"
	"fmt"
	"testing"

	"muster/raft"
	"muster/shardmap"
)

var resumed = flag.Int("resumed", 400, "carry plans out in so many random clusters, with a new plan after each step")

// resume carries a plan out as a mover does: of several groups at a time each one's first
// step, with learners that take their time, and with a plan that is made anew whenever
// something has changed. It returns how many replicas of data groups were added, and
// which learners were removed.
func (w *world) resume(t *testing.T, seed int, s Settings) (adds int, undone []string) {
	t.Helper()
	r := seeded(-seed - 1)
	const parallel = 4
	type key struct {
		group raft.GroupID
		id    raft.ReplicaID
	}
	var learning []key
	for turn := 0; ; turn++ {
		if turn > 10_000 {
			t.Fatalf("seed %d: no rest", seed)
		}
		if len(learning) > 0 && r.IntN(2) == 0 {
			i := r.IntN(len(learning))
			k := learning[i]
			learning = append(learning[:i:i], learning[i+1:]...)
			if w.state(k.group, k.id) == Learning {
				w.setState(k.group, k.id, Learned)
			}
			continue
		}
		p := w.make(t, s)
		if len(p.Steps) == 0 && len(learning) == 0 {
			return adds, undone
		}
		moving := map[raft.GroupID]bool{}
		for _, k := range learning {
			moving[k.group] = true
		}
		begun := map[raft.GroupID]bool{}
		for i := range p.Steps {
			st := &p.Steps[i]
			if begun[st.Group] {
				continue
			}
			begun[st.Group] = true
			if !moving[st.Group] && len(moving) >= parallel || r.IntN(3) == 0 {
				continue
			}
			again := *st
			if Recheck(&w.table, &w.known, &again) != nil {
				continue
			}
			if st.Group != 0 && st.Kind == Add {
				adds += len(st.In)
			}
			if st.Group != 0 {
				for _, o := range st.Out {
					if state := w.state(st.Group, o.Replica); state == Learning || state == Learned {
						undone = append(undone, fmt.Sprintf("turn %d: %s", turn, st))
					}
				}
			}
			if err := w.do(st); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			moving[st.Group] = true
			if st.Kind == Add && st.Group != 0 {
				for _, o := range st.In {
					for _, m := range w.group(st.Group).Replicas {
						if m.Node == o.Node {
							w.setState(st.Group, m.Replica, Learning)
							learning = append(learning, key{st.Group, m.Replica})
						}
					}
				}
			}
			if r.IntN(2) == 0 {
				break // what was done changes the plan for the others
			}
		}
	}
}

// changedWorld makes a cluster at rest in which something is to change.
func changedWorld(t *testing.T, seed int, change string) (*world, Settings) {
	r := seeded(seed)
	s := Defaults
	zones := 1
	if r.IntN(3) == 0 {
		zones = 3
	}
	zone := func(i int) string {
		if zones == 1 {
			return ""
		}
		return fmt.Sprint("z", i%zones)
	}
	nodes := 3 + r.IntN(5)
	w := founded(nodes, 1+r.IntN(24), zone)
	w.settle(t, s)
	switch change {
	case "grow":
		for range 1 + r.IntN(4) {
			id := w.addNode(zone(len(w.table.Nodes)))
			w.put(&w.table.Meta, id, shardmap.ReplicaLearner)
		}
	case "drain":
		for range 1 + r.IntN(2) {
			w.known.Nodes[raft.NodeID(1+r.IntN(nodes))] = Node{Draining: true}
		}
	case "replace":
		w.known.Nodes[raft.NodeID(1+r.IntN(nodes))] = Node{Health: Dead}
	case "shrink":
		s.Replicas = 1
	case "more":
		s.Replicas = 5
	case "both":
		w.known.Nodes[raft.NodeID(1+r.IntN(nodes))] = Node{Draining: true}
		for range 1 + r.IntN(3) {
			id := w.addNode(zone(len(w.table.Nodes)))
			w.put(&w.table.Meta, id, shardmap.ReplicaLearner)
		}
	}
	return w, s
}

// A plan is made anew after each step, with others half done. It goes on with what the
// one before began: no learner is taken back, and no more replicas are filled than the
// first plan said.
func TestPlansAreResumed(t *testing.T) {
	moves := 0
	for _, change := range []string{"grow", "drain", "replace", "shrink", "more", "both"} {
		for seed := range *resumed {
			w, s := changedWorld(t, seed, change)
			first := w.make(t, s)
			adds, undone := w.resume(t, seed, s)
			if len(undone) > 0 {
				t.Errorf("%s, seed %d: what was begun is taken back: %s", change, seed, undone[0])
			}
			if adds != first.Moves {
				t.Errorf("%s, seed %d: %d replicas added, where the first plan had %d", change, seed, adds, first.Moves)
			}
			if err := w.settled(s, w.make(t, s)); err != nil {
				t.Errorf("%s, seed %d: %v", change, seed, err)
			}
			moves += adds
		}
	}
	if moves < 10**resumed {
		t.Errorf("only %d replicas moved: the clusters are too tame", moves)
	}
}
