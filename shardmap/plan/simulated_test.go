package plan

import (
	"container/heap"
	"flag"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"muster/raft"
	"muster/shardmap"
)

var hosts = flag.Int("hosts", 100, "simulate clusters of 10, 100, … hosts up to so many; the figures of docs/performance.md are of 1000")

// What the simulation takes a host to do. Time is virtual, and nothing else is
// simulated: no disk, no network, no load of clients.
const (
	hostRate      = 32 << 20               // bytes of replicas that a host sends or receives in a second
	hostTransfers = 2                      // at a time, at hostRate/hostTransfers each
	changeTime    = 100 * time.Millisecond // of a change of membership or leader
	groupBytes    = 64 << 20               // on average; by chance from half to one and a half of it
	groupsPerHost = 10
)

// founded is a cluster as the founding lays it out.
func founded(nodes, groups int, zone func(int) string) *world {
	w := newWorld(nodes, zone)
	var servers []raft.NodeID
	for _, n := range w.table.Nodes {
		servers = append(servers, n.ID)
	}
	w.table.Groups, w.table.Slots = shardmap.Plan(servers, groups)
	w.table.Meta = shardmap.PlanMeta(w.table.Nodes)
	r := seeded(groups)
	for _, g := range w.table.Groups {
		w.next[g.ID] = raft.ReplicaID(len(g.Replicas))
		w.known.Groups[g.ID] = Group{Bytes: groupBytes/2 + uint64(r.IntN(groupBytes))}
	}
	w.next[0] = raft.ReplicaID(nodes)
	w.known.Groups[0] = Group{}
	return w
}

// runner carries out a plan in virtual time, several groups at a time.
type runner struct {
	w       *world
	now     time.Duration
	queue   [][]Step // by group, in the order of the plan
	busy    map[raft.NodeID]int
	running running
	done    int
}

// job is a step under way. Its end is when it is done.
type job struct {
	end   time.Duration
	steps []Step // of its group, this one first
	on    []raft.NodeID
}

type running []job

func (r running) Len() int           { return len(r) }
func (r running) Less(i, j int) bool { return r[i].end < r[j].end }
func (r running) Swap(i, j int)      { r[i], r[j] = r[j], r[i] }
func (r *running) Push(j any)        { *r = append(*r, j.(job)) }
func (r *running) Pop() any {
	j := (*r)[len(*r)-1]
	*r = (*r)[:len(*r)-1]
	return j
}

func newRunner(w *world, p *Plan) *runner {
	r := &runner{w: w, busy: map[raft.NodeID]int{}}
	at := map[raft.GroupID]int{}
	for _, s := range p.Steps {
		i, ok := at[s.Group]
		if !ok {
			i = len(r.queue)
			at[s.Group] = i
			r.queue = append(r.queue, nil)
		}
		r.queue[i] = append(r.queue[i], s)
	}
	return r
}

// start begins what may begin: a transfer needs room at its source, the leader or
// another live voter, and at its targets.
func (r *runner) start() {
	r.queue = slices.DeleteFunc(r.queue, func(steps []Step) bool {
		s := &steps[0]
		j := job{end: r.now + changeTime, steps: steps}
		if s.Kind == Add && s.Bytes > 0 {
			j.on = append(j.on, r.source(s))
			for _, p := range s.In {
				j.on = append(j.on, p.Node)
			}
			for _, n := range j.on {
				if r.busy[n] >= hostTransfers {
					return false
				}
			}
			for _, n := range j.on {
				r.busy[n]++
			}
			j.end += time.Duration(float64(s.Bytes) * hostTransfers / hostRate * float64(time.Second))
		}
		heap.Push(&r.running, j)
		return true
	})
}

func (r *runner) source(s *Step) raft.NodeID {
	g := r.w.group(s.Group)
	if r.w.known.Nodes[g.Preferred].Health == Alive {
		return g.Preferred
	}
	i := slices.IndexFunc(g.Replicas, func(m shardmap.TableReplica) bool {
		return r.w.known.Nodes[m.Node].Health == Alive && r.w.state(s.Group, m.Replica) == Intact
	})
	return g.Replicas[i].Node
}

// run carries out steps until all are done, or so many.
func (r *runner) run(most int) error {
	for r.start(); len(r.running) > 0 && r.done < most; r.start() {
		j := heap.Pop(&r.running).(job)
		r.now = j.end
		for _, n := range j.on {
			r.busy[n]--
		}
		if err := r.w.carryOut(&Plan{Steps: j.steps[:1]}); err != nil {
			return err
		}
		r.done++
		if len(j.steps) > 1 {
			r.queue = append(r.queue, j.steps[1:])
		}
	}
	return nil
}

// row is a line of the table in docs/performance.md.
type row struct {
	moves    int
	bytes    uint64
	balanced time.Duration // virtual
	planned  time.Duration // of this machine, the longest
	steps    int
}

// play plans and carries out until nothing is left to do. After a third of the steps of the
// first plan another takes over, as when the meta group gets another leader: what
// is under way then is given up, and learners that have caught up are found.
func (w *world) play(t *testing.T) (r row) {
	t.Helper()
	for round := 0; ; round++ {
		begin := time.Now()
		p := w.make(t, Defaults)
		r.planned = max(r.planned, time.Since(begin))
		if len(p.Steps) == 0 {
			return r
		}
		if round == 4 {
			t.Fatalf("no rest after %d plans: %s", round, &p.Steps[0])
		}
		run := newRunner(w, p)
		most := len(p.Steps)
		if round == 0 {
			most = (most + 2) / 3
		}
		before := w.held()
		if err := run.run(most); err != nil {
			t.Fatal(err)
		}
		for key := range w.held() {
			if !before[key] {
				r.moves++
				r.bytes += w.known.Groups[key.group].Bytes
			}
		}
		r.steps += run.done
		r.balanced += run.now
	}
}

type replicaKey struct {
	group   raft.GroupID
	replica raft.ReplicaID
}

// held lists the data replicas that there are.
func (w *world) held() map[replicaKey]bool {
	keys := map[replicaKey]bool{}
	for _, g := range w.table.Groups {
		for _, m := range g.Replicas {
			keys[replicaKey{g.ID, m.Replica}] = true
		}
	}
	return keys
}

// Clusters that no machine here could hold are founded, lose a tenth of their hosts,
// restart one host after the other, and grow by half. After each the replicas must be even and
// spread over the zones, with hardly more moves than there are replicas to be made; a
// restart must move nothing.
func TestSimulatedClusters(t *testing.T) {
	const zones = 3
	zone := func(i int) string { return string(rune('a' + i%zones)) }
	t.Logf("%5s %6s %-14s %6s %10s %14s %9s %6s", "hosts", "groups", "what", "moves", "GiB", "virtual time", "plan", "steps")
	for n := 10; n <= *hosts; n *= 10 {
		groups := min(n*groupsPerHost, int(raft.GroupMax))
		w := founded(n, groups, zone)
		show := func(what string, r row) {
			t.Logf("%5d %6d %-14s %6d %10.1f %14s %9s %6d", n, groups, what, r.moves, float64(r.bytes)/(1<<30), r.balanced.Round(time.Second), r.planned.Round(100*time.Microsecond), r.steps)
			for i := range w.table.Groups {
				if w.pairs(&w.table.Groups[i]) > 0 {
					t.Fatalf("%s: group %d has two voters in one zone", what, i+1)
				}
			}
			// Each group has one replica in each of the three zones, so hosts of different
			// zones can't be even with one another; those of one zone are.
			held, led := w.loads()
			for z := range zones {
				in := maps.Clone(held)
				maps.DeleteFunc(in, func(id raft.NodeID, _ int) bool {
					host, _ := w.table.Node(id)
					return zoneOf(&host) != zone(z)
				})
				if gap(in) > 1 {
					t.Errorf("%d hosts: %s: hosts of zone %s hold %v", n, what, zone(z), in)
				}
			}
			if gap(led) > 1 {
				t.Errorf("%d hosts: %s: hosts lead %v", n, what, led)
			}
		}
		show("boot", w.play(t))

		// A tenth dies, all in one zone: no group loses more than one replica. Of a tenth
		// anywhere, three groups in a hundred would lose their majority, and wait for a
		// person.
		lost := 0
		for i := range n / 10 {
			w.known.Nodes[w.table.Nodes[i*zones%n].ID] = Node{Health: Dead}
		}
		for _, g := range w.table.Groups {
			for _, m := range g.Replicas {
				if w.known.Nodes[m.Node].Health == Dead {
					lost++
				}
			}
		}
		r := w.play(t)
		show("kill a tenth", r)
		if r.moves > lost+lost/10+1 {
			t.Errorf("%d hosts: %d moves to replace %d replicas", n, r.moves, lost)
		}
		for _, g := range w.table.Groups {
			for _, m := range g.Replicas {
				if w.known.Nodes[m.Node].Health == Dead {
					t.Fatalf("group %d is still on a dead host", g.ID)
				}
			}
		}

		// Each host is silent for a while; of many, some are looked at.
		restart := row{}
		for i := 0; i < n; i += max(1, n/10) {
			id := w.table.Nodes[i].ID
			was := w.known.Nodes[id]
			w.known.Nodes[id] = Node{Health: max(was.Health, Silent)}
			begin := time.Now()
			p := w.make(t, Defaults)
			restart.planned = max(restart.planned, time.Since(begin))
			if len(p.Steps) > 0 {
				t.Errorf("%d hosts: %s restarts, and %s", n, id, &p.Steps[0])
			}
			w.known.Nodes[id] = was
		}
		show("restart", restart)

		held, _ := w.loads()
		for i := range n / 2 {
			w.addNode(zone(i))
		}
		fair := 0
		for range n / 2 {
			fair += groups * shardmap.GroupVoters / (len(held) + n/2)
		}
		r = w.play(t)
		show("grow by half", r)
		if r.moves < fair || r.moves > fair+n/2+fair/10 {
			t.Errorf("%d hosts: %d moves; the fair share of the new ones is %d", n, r.moves, fair)
		}
	}
}

// A plan must not take long, however large the cluster. Time depends on the machine, so
// what is bounded is how often the planner asks whether a replica may stand on a node.
func TestPlanIsBounded(t *testing.T) {
	for _, zones := range []int{1, 3, 40, 1500} {
		zone := func(i int) string { return fmt.Sprint("z", i%zones) }
		w := founded(1000, int(raft.GroupMax), zone)
		for i := range 100 {
			w.known.Nodes[w.table.Nodes[i*10].ID] = Node{Draining: true}
		}
		for i := range 500 {
			w.addNode(zone(1000 + i))
		}
		p := w.make(t, Defaults)
		// 3,000 replicas that have to go look at 1,400 nodes each, and 10,000 that move for
		// evenness look at few.
		if most := 10_000_000; p.work > most || p.Moves < 9000 {
			t.Errorf("%d zones: %d looks for %d moves, want at most %d looks", zones, p.work, p.Moves, most)
		}
		t.Logf("%d zones: %d looks for %d moves", zones, p.work, p.Moves)
	}
}

func BenchmarkPlan(b *testing.B) {
	zone := func(i int) string { return string(rune('a' + i%3)) }
	for _, bench := range []struct {
		name   string
		change func(w *world)
	}{
		{"rest", func(*world) {}},
		{"lost=100", func(w *world) {
			for i := range 100 {
				w.known.Nodes[w.table.Nodes[i*3].ID] = Node{Health: Dead}
			}
		}},
		{"new=500", func(w *world) {
			for i := range 500 {
				w.addNode(zone(i))
			}
		}},
	} {
		b.Run(fmt.Sprintf("nodes=1000/groups=9999/%s", bench.name), func(b *testing.B) {
			w := founded(1000, int(raft.GroupMax), zone)
			bench.change(w)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Make(&w.table, &w.known, Defaults); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
