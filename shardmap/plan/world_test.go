package plan

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"muster/raft"
	"muster/shardmap"
)

// world is a cluster on which steps are carried out as replicas would, with counts of
// its own: nothing here asks the planner what a quorum is.
type world struct {
	table shardmap.Table
	known Known
	next  map[raft.GroupID]raft.ReplicaID
}

func newWorld(nodes int, zone func(i int) string) *world {
	w := &world{known: Known{map[raft.NodeID]Node{}, map[raft.GroupID]Group{}}, next: map[raft.GroupID]raft.ReplicaID{}}
	w.table.ClusterID = 1
	for i := range nodes {
		w.addNode(zone(i))
	}
	return w
}

func noZone(int) string { return "" }

func (w *world) addNode(zone string) raft.NodeID {
	id := raft.NodeID(len(w.table.Nodes) + 1)
	n := shardmap.TableNode{ID: id, Name: fmt.Sprintf("n%d", id), Role: shardmap.NodeServer}
	if zone != "" {
		n.Labels = []shardmap.Label{{Key: ZoneLabel, Value: zone}}
	}
	w.table.Nodes = append(w.table.Nodes, n)
	return id
}

// addGroup makes a data group with voters on the nodes; the first is preferred.
func (w *world) addGroup(nodes ...int) *shardmap.TableGroup {
	g := shardmap.TableGroup{ID: raft.GroupID(len(w.table.Groups) + 1), Incarnation: 1, Preferred: raft.NodeID(nodes[0])}
	for _, n := range nodes {
		w.put(&g, raft.NodeID(n), shardmap.ReplicaVoter)
	}
	g.Founders = slices.Clone(g.Replicas)
	w.table.Groups = append(w.table.Groups, g)
	w.known.Groups[g.ID] = Group{}
	return &w.table.Groups[len(w.table.Groups)-1]
}

// addMeta gives each node a copy of the meta group, the first of them as voters.
func (w *world) addMeta(voters int) {
	g := &w.table.Meta
	g.Preferred = w.table.Nodes[0].ID
	w.known.Groups[0] = Group{}
	for i, n := range w.table.Nodes {
		role := shardmap.ReplicaLearner
		if i < voters {
			role = shardmap.ReplicaVoter
		}
		w.put(g, n.ID, role)
	}
}

func (w *world) put(g *shardmap.TableGroup, n raft.NodeID, role shardmap.ReplicaRole) raft.ReplicaID {
	w.next[g.ID]++
	g.Replicas = append(g.Replicas, shardmap.TableReplica{Replica: w.next[g.ID], Node: n, Role: role})
	return w.next[g.ID]
}

func (w *world) group(id raft.GroupID) *shardmap.TableGroup {
	if id == 0 {
		return &w.table.Meta
	}
	return &w.table.Groups[id-1]
}

func (w *world) state(g raft.GroupID, r raft.ReplicaID) ReplicaState {
	return w.known.Groups[g].Replicas[r]
}

func (w *world) setState(g raft.GroupID, r raft.ReplicaID, s ReplicaState) {
	k := w.known.Groups[g]
	k.Replicas = maps.Clone(k.Replicas)
	if k.Replicas == nil {
		k.Replicas = map[raft.ReplicaID]ReplicaState{}
	}
	k.Replicas[r] = s
	if s == Intact {
		delete(k.Replicas, r)
	}
	w.known.Groups[g] = k
}

func (w *world) voters(g *shardmap.TableGroup) (voters, live int) {
	for _, r := range g.Replicas {
		s := w.state(g.ID, r.Replica)
		if r.Role != shardmap.ReplicaVoter || s == Learning || s == Learned {
			continue
		}
		voters++
		if _, there := w.table.Node(r.Node); there && s == Intact && w.known.Nodes[r.Node].Health == Alive {
			live++
		}
	}
	return voters, live
}

// do carries a step out, and reports an error where a real group would refuse it.
func (w *world) do(s *Step) error {
	g := w.group(s.Group)
	find := func(p Place) int {
		return slices.IndexFunc(g.Replicas, func(r shardmap.TableReplica) bool {
			return r.Node == p.Node && (p.Replica == 0 || p.Replica == r.Replica)
		})
	}
	for _, p := range s.Out {
		i := find(p)
		if i < 0 || p.Replica == 0 {
			return fmt.Errorf("%s: no replica %d on %s", s, p.Replica, p.Name)
		}
		if voted := g.Replicas[i].Role == shardmap.ReplicaVoter; s.Group == 0 && voted && Stays(&w.table, &w.known, p) {
			g.Replicas[i].Role = shardmap.ReplicaLearner
			continue
		}
		w.setState(s.Group, g.Replicas[i].Replica, Intact)
		g.Replicas = slices.Delete(g.Replicas, i, i+1)
	}
	for _, p := range s.In {
		i := find(p)
		switch s.Kind {
		case Add:
			if slices.ContainsFunc(g.Replicas, func(r shardmap.TableReplica) bool { return r.Node == p.Node }) {
				return fmt.Errorf("%s: %s holds a replica already", s, p.Name)
			}
			if s.Group == 0 {
				w.put(g, p.Node, shardmap.ReplicaLearner)
			} else {
				w.setState(s.Group, w.put(g, p.Node, shardmap.ReplicaVoter), Learned)
			}
		case Promote:
			if i < 0 {
				return fmt.Errorf("%s: no learner on %s", s, p.Name)
			}
			g.Replicas[i].Role = shardmap.ReplicaVoter
			w.setState(s.Group, g.Replicas[i].Replica, Intact)
		case Prefer:
			if i < 0 {
				return fmt.Errorf("%s: no replica there", s)
			}
			g.Preferred = p.Node
		}
	}
	return nil
}

// renews reports whether a replica of g lost its promises: then, without a spare node,
// the number of voters is even for a while.
func (w *world) renews(g raft.GroupID) bool {
	for _, s := range w.known.Groups[g].Replicas {
		if s == Lost {
			return true
		}
	}
	return false
}

// carryOut does all steps of a plan, and holds each to what must be true before and
// after it.
func (w *world) carryOut(p *Plan) error {
	renews := map[raft.GroupID]bool{}
	for i := range p.Steps {
		s := &p.Steps[i]
		renews[s.Group] = renews[s.Group] || w.renews(s.Group)
		g := w.group(s.Group)
		voters, live := w.voters(g)
		if s.Before != (Quorum{voters, live}) {
			return fmt.Errorf("step %d, %s: before it %+v, and it says %+v", i, s, Quorum{voters, live}, s.Before)
		}
		again := *s
		if err := Recheck(&w.table, &w.known, &again); err != nil {
			return fmt.Errorf("step %d, %s: %w", i, s, err)
		}
		if again.Before != s.Before || again.After != s.After || again.Joint != s.Joint {
			return fmt.Errorf("step %d, %s: looked at again, its quorums are %+v", i, s, again)
		}
		odd := voters%2 == 1
		if live < voters/2+1 {
			return fmt.Errorf("step %d, %s: the group has stopped", i, s)
		}
		if err := w.do(s); err != nil {
			return err
		}
		voters, live = w.voters(g)
		switch {
		case s.After != (Quorum{voters, live}):
			return fmt.Errorf("step %d, %s: after it %+v, and it says %+v", i, s, Quorum{voters, live}, s.After)
		case live < voters/2+1:
			return fmt.Errorf("step %d, %s: %d of %d voters live after it", i, s, live, voters)
		case odd && voters%2 == 0 && !renews[s.Group] && !w.givesUp(s):
			return fmt.Errorf("step %d, %s: %d voters", i, s, voters)
		case s.Why == "":
			return fmt.Errorf("step %d, %s: no reason", i, s)
		}
		nodes := map[raft.NodeID]bool{}
		for _, r := range g.Replicas {
			if nodes[r.Node] {
				return fmt.Errorf("step %d, %s: two replicas on %s", i, s, r.Node)
			}
			nodes[r.Node] = true
		}
	}
	return nil
}

// loads counts data replicas and preferred leaders of the nodes that take replicas.
func (w *world) loads() (held, led map[raft.NodeID]int) {
	held, led = map[raft.NodeID]int{}, map[raft.NodeID]int{}
	for _, n := range w.table.Nodes {
		if k := w.known.Nodes[n.ID]; k.Health == Alive && !k.Draining && n.Role == shardmap.NodeServer {
			held[n.ID], led[n.ID] = 0, 0
		}
	}
	for _, g := range w.table.Groups {
		for _, r := range g.Replicas {
			if _, ok := held[r.Node]; ok && r.Role == shardmap.ReplicaVoter {
				held[r.Node]++
			}
		}
		if _, ok := led[g.Preferred]; ok {
			led[g.Preferred]++
		}
	}
	return held, led
}

// gap is the difference between the most and the fewest.
func gap(count map[raft.NodeID]int) int {
	lo, hi := 1<<30, 0
	for _, n := range count {
		lo, hi = min(lo, n), max(hi, n)
	}
	return max(hi-lo, 0)
}

// pairs counts how often two voters of a group are in one zone.
func (w *world) pairs(g *shardmap.TableGroup) (k int) {
	zone := func(r shardmap.TableReplica) string {
		n, _ := w.table.Node(r.Node)
		return zoneOf(&n)
	}
	for i, a := range g.Replicas {
		for _, b := range g.Replicas[:i] {
			if a.Role == shardmap.ReplicaVoter && b.Role == shardmap.ReplicaVoter && zone(a) == zone(b) {
				k++
			}
		}
	}
	return k
}

func (w *world) clone() *world {
	c := &world{table: w.table, next: maps.Clone(w.next)}
	c.table.Nodes = slices.Clone(w.table.Nodes)
	c.table.Groups = slices.Clone(w.table.Groups)
	for i := range c.table.Groups {
		c.table.Groups[i].Replicas = slices.Clone(c.table.Groups[i].Replicas)
	}
	c.table.Meta.Replicas = slices.Clone(c.table.Meta.Replicas)
	c.known = Known{maps.Clone(w.known.Nodes), maps.Clone(w.known.Groups)}
	return c
}

// make plans, and fails the test on an error.
func (w *world) make(t *testing.T, s Settings) *Plan {
	t.Helper()
	p, err := Make(&w.table, &w.known, s)
	if err != nil {
		t.Fatal(err)
	}
	return &p
}

// settle plans and carries out, and wants the next plan to be empty.
func (w *world) settle(t *testing.T, s Settings) *Plan {
	t.Helper()
	p := w.make(t, s)
	if err := w.carryOut(p); err != nil {
		t.Fatal(err)
	}
	if next := w.make(t, s); len(next.Steps) > 0 {
		t.Fatalf("after the plan another: %s (of %d steps)", &next.Steps[0], len(next.Steps))
	}
	return p
}

func seeded(seed int) *rand.Rand { return rand.New(rand.NewPCG(uint64(seed), 12)) }

// givesUp reports whether a step takes a voter off a node that is gone for good.
func (w *world) givesUp(s *Step) bool {
	return s.Kind == Remove && slices.ContainsFunc(s.Out, func(p Place) bool { return w.known.Nodes[p.Node].Health == Gone })
}
