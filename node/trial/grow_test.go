package trial

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"muster/node/trial/clustertest"
	"muster/raft"
	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap"
)

// growKeys is how many keys the growing cluster holds.
const growKeys = 500

// addAll adds hosts to the cluster with one command, and waits until all its groups have
// voters on three nodes and each of them says that all is well.
func addAll(c *clustertest.Cluster, numbers []int) {
	c.T.Helper()
	args := []string{"node", "add"}
	cl := c.Client()
	for _, i := range numbers {
		c.Until("the host answers", func(ctx context.Context) error {
			_, err := cl.Status(ctx, c.Nodes[i].Addr)
			if err == nil || strings.Contains(err.Error(), "a standby") {
				return nil
			}
			return err
		})
		args = append(args, c.Nodes[i].Addr)
	}
	// It tells its progress on standard error.
	if r := c.Run(append(args, "--endpoints", c.Nodes[0].Addr, "--timeout", orderMax.String())...); r.Status != clustertest.ExitDone {
		c.T.Fatalf("%v: status %d: %s%s", args, r.Status, r.Stdout, r.Stderr)
	}
	spreads(c)
}

// spreads waits until each group has three voters that are where the table wants them, and
// each node holds a share of them.
func spreads(c *clustertest.Cluster) {
	c.T.Helper()
	c.Healthy()
	cl := c.Client()
	c.Until("the groups are spread", func(ctx context.Context) error {
		a, err := cl.Status(ctx, c.Nodes[0].Addr)
		if err != nil {
			return err
		}
		holds := make(map[raft.NodeID]int)
		for _, g := range a.Groups {
			voters := 0
			for _, r := range g.Replicas {
				if r.Role == shardmap.ReplicaVoter {
					voters++
					holds[r.Node]++
				}
			}
			if voters != 3 {
				return fmt.Errorf("group %s has %d voters", g.ID, voters)
			}
		}
		if i := slices.IndexFunc(a.Nodes, func(n wire.StatusNode) bool { return holds[n.ID] == 0 }); i >= 0 || len(a.Nodes) != len(c.Nodes) {
			return fmt.Errorf("%d nodes, of which %+v hold something", len(a.Nodes), holds)
		}
		return nil
	})
}

// hasAll checks that each key has its value.
func hasAll(c *clustertest.Cluster, pairs []client.Pair) {
	c.T.Helper()
	var keys [][]byte
	for _, p := range pairs {
		keys = append(keys, p.Key)
	}
	cl := c.Client()
	c.Until("all keys are there", func(ctx context.Context) error {
		items, missing, err := cl.Get(ctx, keys, client.ReadOptions{})
		if err != nil || len(missing) > 0 {
			return fmt.Errorf("%d are missing, %q (%v)", len(missing), missing[:min(len(missing), 3)], err)
		}
		for _, i := range items {
			if want := valueOf(i.Key); string(i.Value) != want {
				return fmt.Errorf("%q is %q, want %q", i.Key, i.Value, want)
			}
		}
		return nil
	})
}

func valueOf(key []byte) string { return "value of " + string(key) }

// One host becomes a cluster of three, and that one of six, with two commands and without
// stopping anything. All keys are there, also after all hosts were killed and started
// with the same command as the first time. A node that is removed ends, for good.
func TestClusterGrows(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, 1, "--groups", "4")
	var pairs []client.Pair
	for i := range growKeys {
		key := fmt.Appendf(nil, "grow/%03d", i)
		pairs = append(pairs, client.Pair{Key: key, Value: []byte(valueOf(key))})
	}
	if _, err := c.Client().SetMany(context.Background(), pairs); err != nil {
		t.Fatal(err)
	}
	second := addStandby(c, 2)
	waitsToBeAdded(c, second[0])
	addAll(c, second)
	hasAll(c, pairs)
	// The same command again changes nothing.
	addAll(c, second)
	addAll(c, addStandby(c, 3))
	for i := range c.Nodes {
		c.Kill(i)
	}
	for i := range c.Nodes {
		c.Start(i)
	}
	spreads(c)
	hasAll(c, pairs)

	last := c.Nodes[5]
	if r := c.Run("node", "remove", "n6", "--yes", "--endpoints", c.Nodes[0].Addr, "--timeout", orderMax.String()); r.Status != clustertest.ExitDone {
		t.Fatalf("remove: status %d: %s%s", r.Status, r.Stdout, r.Stderr)
	}
	for range 2 { // told by the others, and then by its own directory
		select {
		case <-last.Exited:
		case <-time.After(clustertest.ReadyMax):
			t.Fatal("the removed node goes on")
		}
		if status := last.Cmd.ProcessState.ExitCode(); status != clustertest.ExitRefused {
			t.Errorf("the removed node ended with status %d, want %d", status, clustertest.ExitRefused)
		}
		c.Start(5)
	}
	<-last.Exited
	hasAll(c, pairs)
}

// waitsToBeAdded checks that a host which no cluster has taken in yet says so, and by
// which command one does, whatever it is asked.
func waitsToBeAdded(c *clustertest.Cluster, i int) {
	c.T.Helper()
	for _, ask := range [][]string{{"status"}, {"node", "list"}, {"doctor"}} {
		c.Until("the host says what it waits for", func(context.Context) error {
			r := c.Run(append(ask, "--endpoints", c.Nodes[i].Addr)...)
			if !strings.Contains(r.Stderr, "a standby") || !strings.Contains(r.Stderr, "muster node add "+c.Nodes[i].Addr) {
				return fmt.Errorf("%v: status %d: %s%s", ask, r.Status, r.Stdout, r.Stderr)
			}
			return nil
		})
	}
}
