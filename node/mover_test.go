package node

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"muster/repl/client"
	"muster/shardmap"
)

// A node is drained by one order: its plan is shown before, its replicas and leaders go
// elsewhere while clients write, and the job ends. Then the node is stopped, which nobody
// notices.
func TestDrain(t *testing.T) {
	t.Parallel()
	const n = 4
	addrs := freeAddrs(t, n)
	nodes := make([]*runningNode, n)
	for i := range nodes {
		c := testConfig(t)
		c.Listen, c.Join, c.Expect, c.Groups = addrs[i], addrs, n, 6
		nodes[i] = start(t, c, defaultLimits())
	}
	for _, r := range nodes {
		until(t, "the node knows the table", func() error {
			if table := r.node.table.Load(); table == nil || !table.Founded() {
				return errors.New("it does not")
			}
			return nil
		})
	}
	cl, err := client.Open(client.Options{Insecure: true, Endpoints: addrs})
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	written := map[string]string{}
	set := func(i int) {
		key := fmt.Sprintf("key-%d", i%100)
		written[key] = fmt.Sprint(i)
		if _, err := cl.Set(ctx, []byte(key), []byte(written[key]), client.WriteOptions{}); err != nil {
			t.Fatalf("set %s: %v", key, err)
		}
	}
	for i := range 100 {
		set(i)
	}
	goes := nodes[1].node.self().Node
	command, _ := shardmap.AppendNewJob(nil, &shardmap.NewJob{Kind: shardmap.JobDrain, Node: goes})
	plan, err := cl.Plan(ctx, command)
	if err != nil || len(plan.Steps) == 0 || !strings.Contains(plan.Steps[0].Text, "is being drained") {
		t.Fatalf("the plan of a drain: %+v, %v", plan, err)
	}
	if table := nodes[0].node.table.Load(); len(table.Jobs) > 0 {
		t.Fatalf("a plan that is only shown makes jobs: %+v", table.Jobs)
	}
	order, err := cl.Order(ctx, command, plan.Index)
	if err != nil || order.Job == 0 {
		t.Fatalf("the drain is ordered: %+v, %v", order, err)
	}
	var table *shardmap.Table
	for i := 0; ; i++ {
		set(i)
		if table, _, err = cl.Table(ctx, ""); err != nil {
			t.Fatal(err)
		}
		if j, ok := table.Job(order.Job); ok && j.State.Finished() {
			if j.State != shardmap.JobDone || j.Done != j.Total || j.Total == 0 {
				t.Fatalf("the drain ends as %+v", j)
			}
			break
		}
	}
	for g := range table.EachGroup {
		r, ok := g.ReplicaOn(goes)
		if ok && (r.Role == shardmap.ReplicaVoter || g.ID != 0) || g.ID == 0 && !ok {
			t.Errorf("group %d still has %+v on the drained node", g.ID, r)
		}
	}
	nodes[1].stop()
	for i := range 100 {
		set(i)
	}
	for key, want := range written {
		got, _, _, err := cl.GetOne(ctx, []byte(key), nil, client.ReadOptions{})
		if err != nil || string(got) != want {
			t.Errorf("%s is %q, want %q: %v", key, got, want, err)
		}
	}
}
