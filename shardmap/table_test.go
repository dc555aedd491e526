package shardmap

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"muster/raft"
	"muster/shardmap/pack"
)

func testFound(nodes, groups int) *Found {
	f := &Found{Cluster: "c", ClusterID: 99, Level: Level, ValueMax: ValueMaxDefault, Groups: groups}
	for i := range nodes {
		f.Nodes = append(f.Nodes, TableNode{ID: raft.NodeID(100 - i), Name: fmt.Sprint("n", i), Addr: fmt.Sprint("h:", i+1), Role: NodeServer,
			Labels: []Label{{"z", "1"}, {"a", "2"}}, Version: "v1", Start: 1, Level: Level})
	}
	return f
}

func applyTable(t *testing.T, m *TableMachine, index uint64, b []byte, err error) TableResult {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	r, err := m.Apply(raft.LogID{Term: 1, Index: index}, b)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Every node lays out the cluster for itself, from one entry; no node may have
// more to carry than another by more than one.
func TestPlanIsEven(t *testing.T) {
	spread := func(count map[raft.NodeID]int, servers []raft.NodeID) int {
		lo, hi := 1<<30, 0
		for _, s := range servers {
			lo, hi = min(lo, count[s]), max(hi, count[s])
		}
		return hi - lo
	}
	for n := 1; n <= 12; n++ {
		var servers []raft.NodeID
		for i := range n {
			servers = append(servers, raft.NodeID(i*1000+7))
		}
		for groups := 1; groups <= 70; groups++ {
			plan, slots := Plan(servers, groups)
			replicas, leads, owned := map[raft.NodeID]int{}, map[raft.NodeID]int{}, map[raft.GroupID]int{}
			for i, g := range plan {
				nodes := map[raft.NodeID]bool{}
				for _, r := range g.Replicas {
					replicas[r.Node]++
					nodes[r.Node] = true
				}
				if g.ID != raft.GroupID(i+1) || len(nodes) != min(3, n) || !nodes[g.Preferred] {
					t.Fatalf("%d nodes, %d groups: group %+v", n, groups, g)
				}
				leads[g.Preferred]++
			}
			for s, g := range slots {
				owned[g]++
				if s > 0 && g < slots[s-1] {
					t.Fatalf("%d groups: slot %d goes back", groups, s)
				}
			}
			for _, g := range plan {
				if k := owned[g.ID]; k < Slots/groups || k > (Slots+groups-1)/groups {
					t.Fatalf("%d groups: %s has %d slots", groups, g.ID, k)
				}
			}
			if spread(replicas, servers) > 1 || spread(leads, servers) > 1 {
				t.Errorf("%d nodes, %d groups: replicas %v, leaders %v", n, groups, replicas, leads)
			}
		}
	}
}

// Two nodes may both propose the founding, and a node announces itself at each
// start: what is so already must change nothing, and a table that somebody
// holds must never change.
func TestTableMachine(t *testing.T) {
	m := NewTableMachine()
	if m.Table().Founded() {
		t.Fatal("an empty table is founded")
	}
	found, err := AppendFound(nil, testFound(4, 8))
	if r := applyTable(t, m, 3, found, err); !r.Changed || r.Refused != nil {
		t.Fatalf("founding: %+v", r)
	}
	first := m.Table()
	if r := applyTable(t, m, 4, found, nil); r.Changed || r.Refused != nil || m.Table() != first {
		t.Fatalf("second founding: %+v", r)
	}
	other := testFound(4, 8)
	other.ClusterID++
	b, err := AppendFound(nil, other)
	if r := applyTable(t, m, 5, b, err); r.Changed || r.Refused == nil {
		t.Fatalf("other founding: %+v", r)
	}
	if !slices.IsSortedFunc(first.Nodes, func(a, b TableNode) int { return int(a.ID) - int(b.ID) }) || first.Index != 3 || first.Epoch != 3 || len(first.Groups) != 8 {
		t.Fatalf("table %+v", first)
	}
	if g, ok := first.Group(8); !ok || g.Incarnation != 3 || first.GroupOf(Slots-1) != 8 || len(first.SlotsOf(8)) != Slots/8 {
		t.Fatalf("group 8: %+v %v, last slot in %s", g, ok, first.GroupOf(Slots-1))
	}
	if g, ok := first.Group(0); !ok || len(g.Replicas) != 4 || g.Replicas[3].Role != ReplicaLearner || g.Replicas[2].Role != ReplicaVoter {
		t.Fatalf("meta group %+v %v", g, ok)
	}
	if runs := first.Ranges(); len(runs) != 8 || runs[1] != (OwnedRange{SlotRange{512, 1023}, 2}) {
		t.Fatalf("ranges %v", runs)
	}
	before := *first
	before.Nodes = slices.Clone(first.Nodes)
	for i, c := range []struct {
		a       Announce
		changed bool
		refused string
	}{
		{Announce{Node: 98, Start: 2, Addr: "new:1", Version: "v2", Name: "x", Labels: []Label{{"b", "1"}, {"a", "1"}}, Level: Level}, true, ""},
		{Announce{Node: 98, Start: 2, Addr: "new:1", Version: "v2", Name: "x", Labels: []Label{{"a", "1"}, {"b", "1"}}, Level: Level}, false, ""},
		{Announce{Node: 98, Start: 1 << 62, Addr: "new:1", Version: "v2", Name: "x", Labels: []Label{{"a", "1"}, {"b", "1"}}, Level: Level}, true, ""},
		{Announce{Node: 98, Start: 2, Addr: "new:1", Version: "v2", Name: "x", Labels: []Label{{"a", "1"}, {"b", "1"}}, Level: Level}, true, ""},
		{Announce{Node: 5, Start: 9, Addr: "new:1", Level: Level}, false, "not a member"},
		{Announce{Node: 98, Start: 3, Addr: "new:1", Level: Level - 1}, false, fmt.Sprintf("understands level %d, the cluster is at level %d: start the newer muster", Level-1, Level)},
		{Announce{Node: 98, Start: 3, Addr: ""}, false, "no address"},
		{Announce{Node: 98, Start: 3, Addr: strings.Repeat("a", 256)}, false, "255"},
	} {
		b, err := AppendAnnounce(nil, &c.a)
		if r := applyTable(t, m, uint64(10+i), b, err); r.Changed != c.changed || (c.refused == "") != (r.Refused == nil) || r.Refused != nil && !strings.Contains(r.Refused.Error(), c.refused) {
			t.Errorf("announce %+v: got %+v", c.a, r)
		}
	}
	if n, ok := m.Table().Node(98); !ok || n.Addr != "new:1" || n.Start != 2 || m.Table().Index != 13 || m.Table().Epoch != 3 || n.Labels[0].Key != "a" {
		t.Errorf("node 98: %+v %v, index %d, epoch %d", n, ok, m.Table().Index, m.Table().Epoch)
	}
	if !reflect.DeepEqual(*first, before) {
		t.Error("a table that was handed out has changed")
	}
}

// A founding that no cluster could live with must be refused, the same on each
// node, and what a newer level wrote must stop the group.
func TestTableRefuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(f *Found)
		want   string
	}{
		{"no id", func(f *Found) { f.ClusterID = 0 }, "id"},
		{"no name", func(f *Found) { f.Cluster = "" }, "name"},
		{"no groups", func(f *Found) { f.Groups = 0 }, "0 groups"},
		{"too many groups", func(f *Found) { f.Groups = 4097 }, "4097"},
		{"values too large", func(f *Found) { f.ValueMax = ValueMaxLimit + 1 }, "16777216"},
		{"no nodes", func(f *Found) { f.Nodes = nil }, "0 nodes"},
		{"no server", func(f *Found) { f.Nodes = f.Nodes[:1]; f.Nodes[0].Role = NodeClient }, "no server"},
		{"node twice", func(f *Found) { f.Nodes[1].ID = f.Nodes[0].ID }, "twice"},
		{"role", func(f *Found) { f.Nodes[1].Role = 3 }, "role 3"},
		{"node without id", func(f *Found) { f.Nodes[1].ID = 0 }, "zero"},
		{"node of an older build", func(f *Found) { f.Nodes[1].Level-- }, fmt.Sprintf("understands level %d, the cluster is to be of level %d", Level-1, Level)},
	} {
		f := testFound(3, 4)
		c.change(f)
		m := NewTableMachine()
		b, err := AppendFound(nil, f)
		if r := applyTable(t, m, 1, b, err); r.Changed || r.Refused == nil || !strings.Contains(r.Refused.Error(), c.want) || m.Table().Founded() {
			t.Errorf("%s: got %+v", c.name, r)
		}
	}
	newer := testFound(1, 1)
	newer.Level, newer.Nodes[0].Level = Level+1, Level+1
	b, _ := AppendFound(nil, newer)
	longer := append([]byte{0x92, 2, 0x98}, make([]byte, 8)...)
	good, _ := AppendFound(nil, testFound(1, 1))
	for name, c := range map[string]struct {
		b    []byte
		want error
	}{
		"newer level":  {b, ErrLevel},
		"newer kind":   {pack.AppendUint(pack.AppendUint(pack.AppendArray(nil, 2), uint64(len(tableRows))), 0), ErrLevel},
		"more fields":  {longer, ErrLevel},
		"fewer fields": {append([]byte{0x92, 2, 0x96}, make([]byte, 6)...), ErrCommand},
		"empty":        {nil, ErrCommand},
		"cut":          {good[:len(good)-1], ErrCommand},
		"more bytes":   {append(slices.Clone(good), 0), ErrCommand},
	} {
		m := NewTableMachine()
		if r, err := m.Apply(raft.LogID{Term: 1, Index: 1}, c.b); !errors.Is(err, c.want) || r.Changed || m.Table().Founded() {
			t.Errorf("%s: got %+v, %v; want %v", name, r, err, c.want)
		}
	}
	m := NewTableMachine()
	applyTable(t, m, 5, good, nil)
	if _, err := m.Apply(raft.LogID{Term: 1, Index: 5}, good); !errors.Is(err, ErrInvariant) {
		t.Errorf("the same entry twice: %v", err)
	}
}

// The level follows from what the members announce, on every replica alike: it rises
// with the last one that is upgraded, and never falls. What one may doubt: a member
// that announces itself again, one that skips a level, and one that goes back.
func TestLevelRisesWithTheLastMember(t *testing.T) {
	const newest = Level + 3
	m := NewTableMachine()
	m.Understand(newest)
	found, err := AppendFound(nil, testFound(3, 4))
	applyTable(t, m, 1, found, err)
	for i, step := range []struct {
		node      raft.NodeID
		announces uint32
		refused   bool
		cluster   uint32
	}{
		{100, Level + 1, false, Level},
		{100, Level + 1, false, Level},
		{99, Level + 3, false, Level},
		{98, Level, false, Level},
		{98, Level + 2, false, Level + 1},
		{100, Level, true, Level + 1},
		{100, Level + 2, false, Level + 2},
		{99, Level + 2, false, Level + 2}, // it goes back, to what the cluster is at
		{99, Level + 1, true, Level + 2},
		{100, Level + 3, false, Level + 2},
		{98, Level + 3, false, Level + 2},
		{99, Level + 3, false, Level + 3},
	} {
		said, err := AppendAnnounce(nil, &Announce{Node: step.node, Start: uint64(i + 2), Addr: "h:1", Level: step.announces})
		r := applyTable(t, m, uint64(i+2), said, err)
		if got := m.Table(); got.Level != step.cluster || (r.Refused != nil) != step.refused || got.Epoch != 1 {
			t.Errorf("step %d, %s announces %d: the cluster is at level %d, epoch %d, refused %v; want level %d", i, step.node, step.announces, got.Level, got.Epoch, r.Refused, step.cluster)
		}
		if err := m.Table().check(); err != nil {
			t.Errorf("step %d: %v", i, err)
		}
	}
}

// A replica of a build below the level to which the others go can't follow them: it
// stops before that entry, and says so; it must not guess at what comes then.
func TestReplicaStopsBelowTheLevel(t *testing.T) {
	m := NewTableMachine()
	found, err := AppendFound(nil, testFound(1, 1))
	applyTable(t, m, 1, found, err)
	before := m.Table()
	said, err := AppendAnnounce(nil, &Announce{Node: 100, Start: 2, Addr: "h:1", Level: Level + 1})
	if err != nil {
		t.Fatal(err)
	}
	_, err = m.Apply(raft.LogID{Term: 1, Index: 2}, said)
	if !errors.Is(err, ErrLevel) || !strings.Contains(err.Error(), fmt.Sprintf("cluster of level %d", Level+1)) || m.Table() != before {
		t.Errorf("got %v, table of level %d", err, m.Table().Level)
	}
}
