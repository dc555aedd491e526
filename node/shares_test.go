package node

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"muster/raft"
	"muster/shardmap"
)

// A node that is added to a running cluster gets its share of the next windows, with no order to that end; one that is drained
// keeps no shard, and takes none of the next windows. One would doubt it because shards do not move: their groups' replicas do.
func TestSharesOfNodes(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	nodes, cl := cluster(t, 3, func(*Config) {})
	raised(t, nodes)
	w := newPointsWriter(t, nodes[0], cl, databaseOrdered(t, nodes, "metrics", shardmap.PolicySpec{WindowDuration: time.Hour, Shards: 4}))
	const hour = int64(time.Hour)
	now := time.Now().UnixNano() / hour * hour
	written := int64(0)
	// write writes to a window, and returns how many of its shards are on a node.
	write := func(at int64, on raft.NodeID) (shards int) {
		t.Helper()
		var lines strings.Builder
		for i := range int64(40) {
			fmt.Fprintf(&lines, "cpu,host=h%d v=%d %d\n", i%10, i, at+i)
		}
		written += int64(w.write(ctx, at, lines.String()))
		for _, g := range windowAsked(t, nodes[0], w.policy.ID, at).Shards {
			row, _ := metaTable(t, nodes).Group(g)
			if _, here := row.ReplicaOn(on); here {
				shards++
			}
		}
		return shards
	}
	write(now-50*hour, 0)

	added, _ := joined(t, nodes[0])
	nodes = append(nodes, added) // it may lead group 0 from now on
	self := added.node.self().Node
	until(t, "the node has its share of the groups", func() error {
		table, n := metaTable(t, nodes), 0
		for i := range table.Groups {
			if r, ok := table.Groups[i].ReplicaOn(self); ok && r.Role == shardmap.ReplicaVoter {
				n++
			}
		}
		for i := range table.Jobs {
			if !table.Jobs[i].State.Finished() {
				return fmt.Errorf("job %s is %s", table.Jobs[i].Kind, table.Jobs[i].State)
			}
		}
		if n < 3*len(table.Groups)/4 {
			return fmt.Errorf("it votes in %d groups of %d", n, len(table.Groups))
		}
		return nil
	})
	if n := write(now-40*hour, self); n < 3 {
		t.Errorf("the node that was added has %d of the 4 shards of the next window, want 3 at least: each is on 3 of 4 nodes", n)
	}

	goes := nodes[1].node.self().Node
	command, _ := shardmap.AppendNewJob(nil, &shardmap.NewJob{Kind: shardmap.JobDrain, Node: goes})
	order, err := cl.Order(ctx, command, 0)
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the node is drained", func() error {
		if j, ok := metaTable(t, nodes).Job(order.Job); !ok || j.State != shardmap.JobDone {
			return errors.New(j.Why)
		}
		return nil
	})
	for id, g := range w.groups {
		row, _ := metaTable(t, nodes).Group(g)
		if _, here := row.ReplicaOn(goes); here {
			t.Errorf("%s is still on the drained node, with group %s", id, g)
		}
	}
	if n := write(now-30*hour, goes); n != 0 {
		t.Errorf("the drained node has %d shards of the next window", n)
	}
	nodes[1].stop()
	if n := w.count(ctx); n != written {
		t.Errorf("without the drained node %d points are there, want %d", n, written)
	}
}
