package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/plan"
)

// A person's order reaches the log by its command alone, so it may be only what a person
// may ask for, whole: an entry that can't be read would stop group 0 on every node.
func TestOrdersRefused(t *testing.T) {
	nodes := founders(t, 2, defaultLimits())
	leads, _ := led(t, nodes, 0)
	other := another(nodes, leads)
	self := other.node.self()
	announce, err := shardmap.AppendAnnounce(nil, &shardmap.Announce{Node: self.Node, Start: 9, Addr: "127.0.0.1:1", Version: "x", Name: "x", Level: shardmap.Level})
	if err != nil {
		t.Fatal(err)
	}
	s := leads.client()
	before := leads.commitOf(0)
	for _, c := range []struct {
		name    string
		command []byte
		code    wire.Code
		want    string
	}{
		{"nothing", nil, wire.CodeBadRequest, "field command"},
		{"no command", []byte("hello"), wire.CodeBadRequest, "order"},
		{"of no kind", []byte{0x92, 0x00, 0x90}, wire.CodeLevel, "kind 0"},
		{"of a kind of the future", []byte{0x92, 0xcc, 0xc8, 0x90}, wire.CodeLevel, "kind 200"},
		{"too long", make([]byte, wire.OrderBytesMax+1), wire.CodeBadRequest, "field command"},
		{"of the leader's own", announce, wire.CodeUnauthorized, "announce"},
	} {
		for _, plan := range []bool{false, true} {
			_, _, err := s.ask(wire.TypeOrder, 0, (&wire.Order{Command: c.command, Plan: plan}).Append(nil))
			refused(t, c.name, err, c.code, c.want)
		}
	}
	if after := leads.commitOf(0); after.Term == before.Term && after != before {
		t.Errorf("the meta group went from %s to %s", before, after)
	}

	// Whatever the order, a node that does not lead says who does, and the library goes
	// there.
	f := other.client()
	_, _, err = f.ask(wire.TypeOrder, 0, (&wire.Order{Command: announce}).Append(nil))
	refused(t, "at a follower", err, wire.CodeNotLeader, leads.addr)
	ctx, cancel := context.WithTimeout(t.Context(), readyMax)
	defer cancel()
	cl, err := client.Open(client.Options{Insecure: true, Endpoints: []string{other.addr}})
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	_, err = cl.Order(ctx, announce, 0)
	refused(t, "by the library, at a follower", err, wire.CodeUnauthorized, "announce")
	table, leader, err := cl.Table(ctx, "")
	if err != nil || leader != leads.node.self().Node || len(table.Nodes) != 2 {
		t.Errorf("the library's table: got %+v, led by %s, %v", table, leader, err)
	}
	_, err = cl.AddNodes(ctx, nil)
	refused(t, "no hosts", err, wire.CodeBadRequest, "field hosts")
}

// asked gives an order to a node, over a connection of a client.
func asked(s *speaker, q wire.Order) (a wire.OrderAnswer, err error) {
	_, body, err := s.ask(wire.TypeOrder, 0, q.Append(nil))
	if err == nil {
		err = a.Read(body)
	}
	return a, err
}

// command returns the bytes of a command.
func command(t *testing.T) func(b []byte, err error) []byte {
	return func(b []byte, err error) []byte {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
}

// An answer may be lost, and then the order comes again: the second one finds the job of
// the first, does nothing, and says which it is. One would doubt it where a draining node
// looks to the second order as it did to the first.
func TestOrderTwice(t *testing.T) {
	nodes := founders(t, 2, defaultLimits())
	leads, _ := led(t, nodes, 0)
	node := another(nodes, leads).node.self().Node
	s := leads.client()
	drain := command(t)(shardmap.AppendNewJob(nil, &shardmap.NewJob{Kind: shardmap.JobDrain, Node: node}))
	a, err := asked(s, wire.Order{Command: drain})
	if err != nil || a.Job == 0 || a.Index != a.Job {
		t.Fatalf("got %+v, %v", a, err)
	}
	table := leads.node.table.Load()
	if j, ok := table.Job(a.Job); !ok || j.Kind != shardmap.JobDrain || j.Node != node {
		t.Fatalf("job %d is %+v", a.Job, j)
	}
	_, err = asked(s, wire.Order{Command: drain})
	refused(t, "the same order again", err, wire.CodeConflict, fmt.Sprintf("job %d", a.Job), fmt.Sprintf("muster job wait %d", a.Job))
	for _, c := range []struct {
		name    string
		command []byte
		code    wire.Code
		want    string
	}{
		{"an unknown node", command(t)(shardmap.AppendNewJob(nil, &shardmap.NewJob{Kind: shardmap.JobDrain, Node: 77})), wire.CodeNotFound, "node"},
		{"an unknown job", command(t)(shardmap.AppendJobState(nil, &shardmap.SetJobState{ID: 7777, State: shardmap.JobPaused})), wire.CodeNotFound, "job 7777"},
		{"an unknown setting", command(t)(shardmap.AppendSetting(nil, &shardmap.Setting{Name: "speed", Value: "9"})), wire.CodeNotFound, "speed"},
		{"a setting out of its limits", command(t)(shardmap.AppendSetting(nil, &shardmap.Setting{Name: "replicas", Value: "2"})), wire.CodeBadRequest, "replicas"},
		{"a job that the leader begins by itself", command(t)(shardmap.AppendNewJob(nil, &shardmap.NewJob{Kind: shardmap.JobReplace, Node: node})), wire.CodeUnauthorized, "replace"},
		{"a state that the leader finds out", command(t)(shardmap.AppendJobState(nil, &shardmap.SetJobState{ID: a.Job, State: shardmap.JobDone})), wire.CodeUnauthorized, "done"},
	} {
		for _, plan := range []bool{false, true} {
			_, err := asked(s, wire.Order{Command: c.command, Plan: plan})
			refused(t, c.name, err, c.code, c.want)
		}
	}
	// Nothing was done by any of them.
	jobs := 0
	table = leads.node.table.Load()
	for _, j := range table.Jobs {
		if j.Node == node {
			jobs++
		}
	}
	if jobs != 1 || len(table.Settings) > 0 {
		t.Errorf("%d jobs are about the node, want 1; the settings are %+v", jobs, table.Settings)
	}
}

// Who gives an order was shown its plan. If another would be made by now, nothing may
// happen: the quorum that was shown is not the one that is risked. While jobs run the
// table changes all the time, and an order must still be possible.
func TestStalePlan(t *testing.T) {
	nodes := founders(t, 2, defaultLimits())
	leads, _ := led(t, nodes, 0)
	self := leads.node.self().Node
	s := leads.client()
	// What a plan says is the planner's affair; here it is what the test says.
	why := "because"
	planned := planner(func([]byte) (plan.Plan, uint64, error) {
		return plan.Plan{Steps: []plan.Step{{Kind: plan.Prefer, Group: 1, Why: why}}, Bytes: 7}, leads.node.table.Load().Index, nil
	})
	leads.node.orders.preview.Store(&planned)
	label := func(value string) []byte {
		return command(t)(shardmap.AppendSetLabels(nil, &shardmap.SetLabels{Node: self, Labels: []shardmap.Label{{Key: "rack", Value: value}}}))
	}
	shown := func(c []byte) wire.OrderAnswer {
		t.Helper()
		a, err := asked(s, wire.Order{Command: c, Plan: true})
		if err != nil || len(a.Steps) != 1 || a.Steps[0].Text == "" || a.Steps[0].Risk == "" || a.Bytes != 7 || a.Job != 0 {
			t.Fatalf("plan: got %+v, %v", a, err)
		}
		return a
	}
	given := func(value string, index uint64) error {
		a, err := asked(s, wire.Order{Command: label(value), Index: index})
		if n, _ := leads.node.table.Load().Node(self); err == nil && (a.Index != leads.node.table.Load().Index || !slices.Contains(n.Labels, shardmap.Label{Key: "rack", Value: value})) {
			t.Errorf("%s: got %+v, the table has %+v", value, a, n.Labels)
		}
		return err
	}
	before := shown(label("a"))
	if n, _ := leads.node.table.Load().Node(self); len(n.Labels) != 0 {
		t.Fatalf("a plan was carried out: %+v", n.Labels)
	}
	if err := given("a", before.Index); err != nil {
		t.Fatalf("an order of the table that its plan is of: %v", err)
	}

	// The table has another index, and the plan is the same.
	before = shown(label("b"))
	if err := given("c", 0); err != nil {
		t.Fatal(err)
	}
	if err := given("b", before.Index); err != nil {
		t.Errorf("an order whose plan is the same by now: %v", err)
	}

	// Another command than the one whose plan was shown; and another plan.
	before = shown(label("d"))
	if err := given("e", 0); err != nil {
		t.Fatal(err)
	}
	refused(t, "the plan of another command", given("f", before.Index), wire.CodeConflict, "stale")
	why = "because of something else"
	refused(t, "another plan by now", given("d", before.Index), wire.CodeConflict, "stale", fmt.Sprint(before.Index))
	if n, _ := leads.node.table.Load().Node(self); !slices.Contains(n.Labels, shardmap.Label{Key: "rack", Value: "e"}) {
		t.Errorf("a stale order was carried out: %+v", n.Labels)
	}
	refused(t, "an index of the future", given("d", 1<<40), wire.CodeConflict, "stale")
}

// An order that some member can't apply would stop that member. The refusal names the
// node where a newer muster must be started.
func TestOrderBelowItsLevel(t *testing.T) {
	older := defaultLimits()
	older.level = 2
	nodes := founders(t, 2, older)
	leads, _ := led(t, nodes, 0)
	s := leads.client()
	c := command(t)(shardmap.AppendSetting(nil, &shardmap.Setting{Name: "replicas", Value: "1"}))
	for _, plan := range []bool{false, true} {
		_, err := asked(s, wire.Order{Command: c, Plan: plan})
		refused(t, "below its level", err, wire.CodeLevel, "level 3", "start the newer muster on", leads.node.name)
	}
}

// Two terminals give orders at the same moment, on plans of the same table. Each alone
// was fine; the second is for a table that is no longer there, and must be looked at
// again when the first is through.
func TestOrdersOneAtATime(t *testing.T) {
	r := serving(t, defaultLimits())
	s := r.client()
	c := command(t)(shardmap.AppendSetLabels(nil, &shardmap.SetLabels{Node: r.node.self().Node, Labels: []shardmap.Label{{Key: "rack", Value: "1"}}}))
	until(t, "the node leads, and is announced", func() error {
		if loop := r.node.running(); loop == nil || !r.node.announcer.announced() {
			return errors.New("it is not")
		}
		return nil
	})
	before := r.node.table.Load().Index
	if !r.node.orders.begin() {
		t.Fatal("an order is under way, and none was given")
	}
	_, err := asked(s, wire.Order{Command: c})
	refused(t, "while another is under way", err, wire.CodeBusy, "under way")
	if after := r.node.table.Load().Index; after != before {
		t.Errorf("the table went from index %d to %d", before, after)
	}
	r.node.orders.end()
	if a, err := asked(s, wire.Order{Command: c}); err != nil || a.Index <= before || a.Job != 0 {
		t.Errorf("afterwards: got %+v, %v", a, err)
	}
	if !r.node.orders.begin() {
		t.Error("an answered order is still under way")
	}
}
