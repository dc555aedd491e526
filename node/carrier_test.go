package node

import (
	"context"
	"fmt"
	"testing"
	"time"

	"muster/repl/client"
	"muster/repl/mover"
	"muster/repl/wire"
	"muster/shardmap"
)

// Slots go from a group that one node leads to one that another leads, with all that is in
// them, and on to a third, while a client asks for them all the time. The nodes tell how many
// they have moved.
func TestSlotsMoveBetweenNodes(t *testing.T) {
	t.Parallel()
	addrs := freeAddrs(t, 3)
	var nodes []*runningNode
	for _, addr := range addrs {
		c := testConfig(t)
		c.Listen, c.Join, c.Expect, c.Groups = addr, addrs, len(addrs), 3
		nodes = append(nodes, start(t, c, defaultLimits()))
	}
	until(t, "there is a table", func() error {
		if n := nodes[0].node; n.running() == nil || n.table.Load() == nil || !n.table.Load().Founded() {
			return fmt.Errorf("not yet")
		}
		return nil
	})
	cl, err := client.Open(client.Options{Insecure: true, Endpoints: addrs})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cl.Close() })
	ctx := t.Context()
	const keys = 2000
	var pairs []client.Pair
	for i := range keys {
		pairs = append(pairs, client.Pair{Key: fmt.Appendf(nil, "k/%d", i), Value: fmt.Append(nil, i)})
	}
	if _, err := cl.SetMany(ctx, pairs); err != nil {
		t.Fatal(err)
	}
	asking, stop := context.WithCancel(ctx)
	asked := make(chan error, 1)
	go func() {
		for n := 0; asking.Err() == nil; n++ {
			p := pairs[n%keys]
			v, _, ok, err := cl.GetOne(ctx, p.Key, nil, client.ReadOptions{})
			if err == nil && (!ok || string(v) != string(p.Value)) {
				err = fmt.Errorf("%s is %q, %t", p.Key, v, ok)
			}
			if err == nil {
				_, err = cl.Set(ctx, p.Key, p.Value, client.WriteOptions{})
			}
			if err != nil {
				asked <- err
				return
			}
		}
		asked <- nil
	}()
	table := nodes[0].node.table.Load()
	for round := range 3 {
		var targets []shardmap.SlotTarget
		for _, r := range table.Ranges() {
			targets = append(targets, shardmap.SlotTarget{SlotRange: r.SlotRange, To: 1 + r.Group%3})
		}
		began := time.Now()
		a := ordered(t, nodes, "the slots are to move", command(t)(shardmap.AppendNewJob(nil, &shardmap.NewJob{Kind: shardmap.JobMove, Targets: targets})))
		advancing(t, "all have moved", func() (int, error) {
			table = nodes[round%3].node.table.Load()
			j, ok := table.Job(a.Job)
			if !ok || !j.State.Finished() {
				return int(j.Done), fmt.Errorf("job %d is %+v", a.Job, j)
			}
			if j.State != shardmap.JobDone {
				t.Fatalf("job %d is %+v", a.Job, j)
			}
			if len(table.Moves) > 0 {
				return int(j.Done), fmt.Errorf("%d moves are left", len(table.Moves))
			}
			return int(j.Done), nil
		})
		t.Logf("all slots moved in %v", time.Since(began))
	}
	stop()
	if err := <-asked; err != nil {
		t.Errorf("while slots moved: %v", err)
	}
	for i, p := range pairs {
		v, _, ok, err := cl.GetOne(ctx, p.Key, nil, client.ReadOptions{})
		if err != nil || !ok || string(v) != string(p.Value) {
			t.Fatalf("key %d is %q, %t, %v", i, v, ok, err)
		}
	}
	moved := uint64(0)
	for _, r := range nodes {
		for _, row := range r.node.carrying.rows() {
			t.Log(row)
			if row.Name == "slots: moved" {
				moved += row.Out
			}
		}
	}
	if moved < 3*shardmap.Slots {
		t.Errorf("%d slots were moved, say the nodes; want %d", moved, 3*shardmap.Slots)
	}
}

// A move in which nothing happens is told with what is in the way, and with what a person can
// do; of a thousand only some.
func TestStuckMoves(t *testing.T) {
	table := &shardmap.Table{Moves: []shardmap.Move{{SlotRange: shardmap.SlotRange{From: 10, To: 20}, Number: 77, From: 1, To: 3, State: shardmap.MoveOpen, Job: 70}}}
	move := mover.StuckMove{Slot: 12, Number: 77, From: 1, To: 3, Since: 5 * time.Second, Why: "group g3 has no leader"}
	at := 65 * time.Second
	if got, want := told([]wire.Problem{stuckMove(&move, at, table)}), "slot 12 is stuck on its way from group g1 to group g3: nothing has happened for 1m0s: group g3 has no leader -> bring back the nodes of the two groups that are missing; the move goes on by itself; muster job cancel 70 gives it up, if group g3 can still be asked"; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	move.Number, move.Why = 76, "" // the table has closed it
	if got, want := told([]wire.Problem{stuckMove(&move, at, table)}), "slot 12 is stuck on its way from group g1 to group g3: nothing has happened for 1m0s -> bring back the nodes of the two groups that are missing; the move goes on by itself"; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	var many []mover.StuckMove
	for range stuckShown + 7 {
		many = append(many, move)
	}
	if got := stuckMoves(many, at, table); len(got) != stuckShown+1 || got[stuckShown].What != "7 more slots are stuck on their way" {
		t.Errorf("got %s", told(got))
	}
}
