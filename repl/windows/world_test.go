package windows

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"muster/raft"
	"muster/repl/puretest"
	"muster/shardmap"
	"muster/shardmap/plan"
)

// A clock would come in by an import.
func TestPurity(t *testing.T) {
	puretest.Check(t, []string{"math", "slices", "muster/raft", "muster/shardmap", "muster/shardmap/plan", "muster/shardmap/points"},
		map[string][]string{"time": {"Duration", "Minute", "Second"}})
}

const (
	worldNodes = 5 // those of the meta group, all voters
	worldSteps = 600
	hour       = int64(time.Hour)
)

// world is a cluster around the cores: one log of the meta group, of which each node has applied a part; clocks, of
// which a minority is wrong by hours to years; leaders that change, and may lead on without knowing that another one
// does; proposals and answers that are lost, late or doubled; nodes that die; people who make and alter policies.
type world struct {
	*rand.Rand
	truth  int64         // nanoseconds since 1970 UTC
	host   time.Duration // of all hosts
	log    [][]byte
	table  *shardmap.Table
	nodes  []*worldNode
	alive  plan.Known
	late   [][]byte // proposals that are on their way
	fault  error
	hidden int // windows that were hidden
	gone   int // and dropped
	calm   bool
}

type worldNode struct {
	id      raft.NodeID
	skew    int64 // nanoseconds by which its clock is wrong
	core    *Core
	machine *shardmap.TableMachine
	applied int
	leads   bool
	asked   []raft.NodeID
}

func newWorld(seed uint64) *world {
	w := &world{Rand: rand.New(rand.NewPCG(seed, 77)), truth: 1_796_040_000 * second}
	f := &shardmap.Found{Cluster: "c", ClusterID: 9, Level: shardmap.Level, ValueMax: shardmap.ValueMaxDefault, Groups: 3}
	for i := range worldNodes {
		f.Nodes = append(f.Nodes, shardmap.TableNode{ID: raft.NodeID(i + 1), Name: fmt.Sprint("n", i+1), Addr: fmt.Sprint("h:", i+1), Role: shardmap.NodeServer, Level: shardmap.Level, Start: 1})
		n := &worldNode{id: raft.NodeID(i + 1), core: New(raft.NodeID(i + 1)), machine: shardmap.NewTableMachine()}
		n.skew = w.Int64N(4*second) - 2*second
		w.nodes = append(w.nodes, n)
	}
	// A minority of the voters, which are the first three.
	w.nodes[w.IntN(3)].skew = []int64{0, 30 * 24 * hour, -30 * 24 * hour, 20 * 365 * 24 * hour, -20 * 365 * 24 * hour, hour / 2}[w.IntN(6)]
	b, _ := shardmap.AppendFound(nil, f)
	w.commit(b)
	for i, n := range w.nodes {
		n.leads = i == 0
	}
	return w
}

func (w *world) one(of int) bool { return w.IntN(of) == 0 }

// commit appends a command, and looks at what it does: the newest node applies it at once.
func (w *world) commit(payload []byte) {
	w.log = append(w.log, payload)
	n := w.nodes[0]
	was := n.machine.Table()
	w.follow(n, len(w.log))
	w.table = n.machine.Table()
	w.look(was)
}

// follow has a node apply the log up to an entry.
func (w *world) follow(n *worldNode, to int) {
	for ; n.applied < to; n.applied++ {
		if _, err := n.machine.Apply(raft.LogID{Term: 1, Index: uint64(n.applied + 1)}, w.log[n.applied]); err != nil && w.fault == nil {
			w.fault = err
		}
	}
}

// skewMax is by how much a clock that counts as right may be wrong, and a question for it take.
const skewMax = 10 * second

// look says what is wrong with a table that an entry has made.
func (w *world) look(was *shardmap.Table) {
	for i := range w.table.Catalog.Windows {
		x := &w.table.Catalog.Windows[i]
		p, _ := w.table.Catalog.Policy(x.Policy)
		before, there := was.Catalog.Window(x.ID)
		if x.Hidden == 0 || there && before.Hidden != 0 {
			continue
		}
		if w.hidden++; !x.Over(&p, w.truth+skewMax) {
			w.fail("window %+v of %+v is hidden at %d", *x, p, w.truth)
		}
	}
	for i := range was.Catalog.Windows {
		x := &was.Catalog.Windows[i]
		p, kept := w.table.Catalog.Policy(x.Policy)
		if _, there := w.table.Catalog.Window(x.ID); there || !kept {
			continue
		}
		if w.gone++; !x.Over(&p, w.truth+skewMax) || x.Hidden == 0 {
			w.fail("window %+v of %+v is dropped at %d", *x, p, w.truth)
		}
	}
}

func (w *world) fail(format string, args ...any) {
	if w.fault == nil {
		w.fault = fmt.Errorf(format, args...)
	}
}

// step does one thing, and lets time go by.
func (w *world) step() {
	by := []int64{second, 20 * second, 5 * 60 * second, hour / 2}[w.IntN(4)]
	if w.calm { // a clock that was heard counts in the next step
		by = w.Int64N(60 * second)
	}
	w.truth += by
	w.host += time.Duration(by)
	if !w.calm {
		w.disturb()
	}
	for _, n := range w.nodes {
		if !w.one(4) || w.calm {
			w.follow(n, n.applied+w.IntN(len(w.log)-n.applied+1))
		}
		if n.leads || w.calm {
			w.follow(n, len(w.log)) // a leader has applied an entry of its term
		}
		n.core.Lead(n.leads)
		n.core.Table(n.machine.Table())
		n.core.Known(w.alive)
		for _, from := range n.asked {
			if w.calm || !w.one(3) {
				n.core.Clock(w.host, from, (w.truth+w.nodes[from-1].skew)/second)
			}
		}
		n.asked = nil
		actions, next := n.core.Turn(Now{w.host, w.truth + n.skew})
		if next < w.host {
			w.fail("the next turn is at %s, now is %s", next, w.host)
		}
		if len(actions) > 0 && !n.leads {
			w.fail("node %d acts, and does not lead", n.id)
		}
		for _, a := range actions {
			switch {
			case a.Kind == Ask:
				n.asked = append(n.asked, a.Node)
			case w.calm || w.one(2):
				w.commit(a.Payload)
			case !w.one(3):
				w.late = append(w.late, a.Payload)
			}
		}
	}
	for len(w.late) > 0 && (w.calm || w.one(3)) {
		i := w.IntN(len(w.late))
		w.commit(w.late[i])
		if w.calm || !w.one(3) {
			w.late = slices.Delete(w.late, i, i+1)
		}
	}
}

// disturb does what people and faults do.
func (w *world) disturb() {
	switch w.IntN(8) {
	case 0:
		for _, n := range w.nodes {
			n.leads = n.leads && w.one(6) // one that does not know yet
		}
		w.nodes[w.IntN(worldNodes)].leads = true
	case 1:
		w.alive = plan.Known{Nodes: map[raft.NodeID]plan.Node{raft.NodeID(1 + w.IntN(worldNodes)): {Health: plan.Dead}}}
	case 2:
		b, _ := shardmap.AppendChangeDatabase(nil, &shardmap.ChangeDatabase{Action: shardmap.DatabaseCreate, Name: fmt.Sprint("d", w.IntN(3)), Policy: shardmap.PolicySpec{Duration: w.keeps()}})
		w.commit(b)
	case 3:
		c := &shardmap.ChangePolicy{Action: shardmap.PolicyCreate, Database: fmt.Sprint("d", w.IntN(3)), Policy: shardmap.PolicySpec{Name: fmt.Sprint("p", w.IntN(2)), Duration: w.keeps()}}
		if w.one(2) {
			c.Action, c.Set, c.Policy.WindowDuration = shardmap.PolicyAlter, shardmap.SetDuration|shardmap.SetWindowDuration, time.Hour
		}
		b, _ := shardmap.AppendChangePolicy(nil, c)
		w.commit(b)
	case 4: // a point of some time
		if n := len(w.table.Catalog.Policies); n > 0 {
			p := &w.table.Catalog.Policies[w.IntN(n)]
			b, _ := shardmap.AppendNewWindow(nil, &shardmap.NewWindow{Policy: p.ID, Time: w.truth - w.Int64N(5*hour), Shards: []raft.GroupID{1}})
			w.commit(b)
		}
	case 5:
		b, _ := shardmap.AppendTruncateWindows(nil, &shardmap.TruncateWindows{Time: w.truth})
		if w.one(4) {
			w.commit(b)
		}
	}
}

func (w *world) keeps() time.Duration {
	return []time.Duration{0, time.Hour, 2 * time.Hour, 5 * time.Hour}[w.IntN(4)]
}

// settled says what is not as it must be a while after faults have ended.
func (w *world) settled() error {
	for i := range w.table.Catalog.Databases {
		d := &w.table.Catalog.Databases[i]
		if _, ok := w.table.Catalog.WindowAt(d.Default, w.truth); !ok {
			return fmt.Errorf("the default of %s has no window at %d", d.Name, w.truth)
		}
	}
	for i := range w.table.Catalog.Windows {
		x := &w.table.Catalog.Windows[i]
		p, _ := w.table.Catalog.Policy(x.Policy)
		at := w.truth - 10*60*second
		if x.Over(&p, at) && x.Hidden == 0 {
			return fmt.Errorf("window %+v of %+v shows at %d", *x, p, w.truth)
		}
		if x.Over(&p, at-hour) && x.Hidden != 0 && w.truth/second-x.Hidden > shardmap.WindowHiddenSeconds+600 {
			return fmt.Errorf("window %+v of %+v is there at %d", *x, p, w.truth)
		}
	}
	return nil
}

// worldWrong runs a world, and returns what is wrong.
func worldWrong(seed uint64, hidden, gone *int) error {
	w := newWorld(seed)
	for range worldSteps {
		if w.step(); w.fault != nil {
			return w.fault
		}
	}
	w.calm, w.alive = true, plan.Known{}
	for _, n := range w.nodes {
		n.leads = false
	}
	// One whose own clock is right: making windows goes by the leader's.
	lead := slices.IndexFunc(w.nodes, func(n *worldNode) bool { return n.skew < 3*second && n.skew > -3*second })
	w.nodes[lead].leads = true
	for range 300 {
		if w.step(); w.fault != nil {
			return w.fault
		}
	}
	*hidden, *gone = *hidden+w.hidden, *gone+w.gone
	return w.settled()
}

// No window goes while its points are kept, whatever happens to leaders, commands and the clocks of a minority. Once it is
// calm, windows are there before they are needed, and gone when they are over.
func TestWorld(t *testing.T) {
	hidden, gone := 0, 0
	for seed := range uint64(20) {
		if err := worldWrong(seed, &hidden, &gone); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
	if hidden < 500 || gone < 300 {
		t.Errorf("%d windows were hidden, %d dropped: the world shows too little", hidden, gone)
	}
	t.Logf("%d windows were hidden, %d dropped", hidden, gone)
}

// The agreed time is what a majority of the voters has passed: one clock can't move it, and without a majority
// there is none.
func TestAgreed(t *testing.T) {
	table := func(voters int) *shardmap.Table {
		x := &shardmap.Table{}
		for i := range voters {
			x.Meta.Replicas = append(x.Meta.Replicas, shardmap.TableReplica{Replica: raft.ReplicaID(i + 1), Node: raft.NodeID(i + 1), Role: shardmap.ReplicaVoter})
		}
		x.Meta.Replicas = append(x.Meta.Replicas, shardmap.TableReplica{Replica: 99, Node: 99, Role: shardmap.ReplicaLearner})
		return x
	}
	for _, c := range []struct {
		name   string
		self   raft.NodeID
		voters int
		clocks map[raft.NodeID]clock
		want   int64
		ok     bool
	}{
		{"alone", 1, 1, nil, 1000, true},
		{"of three one", 1, 3, nil, 0, false},
		{"of three two", 1, 3, map[raft.NodeID]clock{2: {100 * time.Second, 990}}, 990, true},
		{"the leader's is ahead", 1, 3, map[raft.NodeID]clock{2: {100 * time.Second, 500}, 3: {100 * time.Second, 510}}, 510, true},
		{"another one is ahead", 1, 3, map[raft.NodeID]clock{2: {100 * time.Second, 999}, 3: {100 * time.Second, 1 << 50}}, 1000, true},
		{"another one is behind", 1, 3, map[raft.NodeID]clock{2: {100 * time.Second, 999}, 3: {100 * time.Second, 5}}, 999, true},
		{"it goes on", 1, 3, map[raft.NodeID]clock{2: {40 * time.Second, 900}, 3: {40 * time.Second, 901}}, 961, true},
		{"it is too old", 1, 3, map[raft.NodeID]clock{2: {100*time.Second - fresh - 1, 900}}, 0, false},
		{"of five three", 1, 5, map[raft.NodeID]clock{2: {100 * time.Second, 900}, 3: {100 * time.Second, 910}}, 900, true},
		{"a learner does not count", 1, 3, map[raft.NodeID]clock{99: {100 * time.Second, 900}}, 0, false},
		{"a leader that does not vote", 7, 3, map[raft.NodeID]clock{2: {100 * time.Second, 900}, 3: {100 * time.Second, 910}}, 900, true},
		{"no voters", 1, 0, nil, 0, false},
	} {
		core := New(c.self)
		core.Lead(true)
		core.Table(table(c.voters))
		for n, k := range c.clocks {
			core.Clock(k.at, n, k.wall)
		}
		if got, ok := core.Agreed(Now{100 * time.Second, 1000 * second}); got != c.want || ok != c.ok {
			t.Errorf("%s: %d, %t; want %d, %t", c.name, got, ok, c.want, c.ok)
		}
	}
}

// When nothing is wrong a core asks for the window of now, then for the next one half an hour before its end, and
// for no more.
func TestMadeAhead(t *testing.T) {
	w := newWorld(1)
	w.calm = true
	for _, n := range w.nodes {
		n.skew = 0
	}
	b, _ := shardmap.AppendChangeDatabase(nil, &shardmap.ChangeDatabase{Action: shardmap.DatabaseCreate, Name: "d", Policy: shardmap.PolicySpec{WindowDuration: time.Hour}})
	w.commit(b)
	core := New(1)
	core.Lead(true)
	begin := w.truth - w.truth%hour
	at := func(minutes int64) (asked []int64) {
		core.Table(w.table)
		actions, _ := core.Turn(Now{time.Duration(minutes) * time.Minute, begin + minutes*60*second})
		for _, a := range actions {
			if a.Kind == Propose {
				was := w.table
				w.commit(a.Payload)
				for i := range w.table.Catalog.Windows {
					if x := &w.table.Catalog.Windows[i]; !slices.ContainsFunc(was.Catalog.Windows, func(o shardmap.Window) bool { return o.ID == x.ID }) {
						asked = append(asked, (x.Start-begin)/hour)
					}
				}
			}
		}
		return asked
	}
	for _, c := range []struct {
		minutes int64
		want    []int64
	}{{1, []int64{0}}, {2, nil}, {29, nil}, {30, []int64{1}}, {31, nil}, {89, nil}, {91, []int64{2}}, {500, []int64{8}}, {501, nil}, {511, []int64{9}}} {
		if got := at(c.minutes); !slices.Equal(got, c.want) {
			t.Errorf("at minute %d windows of the hours %v are made, want %v", c.minutes, got, c.want)
		}
	}
	if w.fault != nil {
		t.Error(w.fault)
	}
}

// A policy with as many windows as it may have keeps the others from nothing, and is asked for once a minute.
func TestFullPolicyRests(t *testing.T) {
	w := newWorld(2)
	for _, name := range []string{"full", "other"} {
		b, _ := shardmap.AppendChangeDatabase(nil, &shardmap.ChangeDatabase{Action: shardmap.DatabaseCreate, Name: name})
		w.commit(b)
	}
	full := *w.table
	p := full.Catalog.Policies[0].ID
	for i := range int64(shardmap.WindowsMax) {
		full.Catalog.Windows = append(full.Catalog.Windows, shardmap.Window{ID: shardmap.WindowID(100 + i), Policy: p, Start: i, End: i + 1, Truncated: i + 1, Shards: []raft.GroupID{1}})
	}
	core := New(1)
	core.Lead(true)
	core.Table(&full)
	actions, next := core.Turn(Now{0, w.truth})
	if len(actions) != 1 || next > sayAgain {
		t.Fatalf("%d actions, the next turn at %s", len(actions), next)
	}
	made, err := full.Try(actions[0].Payload)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := made.Catalog.WindowAt(full.Catalog.Policies[1].ID, w.truth); !ok {
		t.Error("the other policy gets no window")
	}
	var refused *shardmap.Refusal
	payload, _ := shardmap.AppendNewWindow(nil, &shardmap.NewWindow{Policy: p, Time: w.truth, Shards: []raft.GroupID{1}})
	if _, err := full.Try(payload); !errors.As(err, &refused) {
		t.Errorf("the full one gets a window: %v", err)
	}
}
