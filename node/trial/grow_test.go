package trial

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"muster/raft"
	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap"
)

// growKeys is how many keys the growing cluster holds.
const growKeys = 500

// addAll adds hosts to the cluster with one command, and waits until all its groups have
// voters on three nodes and each of them says that all is well.
func addAll(c *cluster, numbers []int) {
	c.t.Helper()
	args := []string{"node", "add"}
	cl := c.client()
	for _, i := range numbers {
		c.until("the host answers", func(ctx context.Context) error {
			_, err := cl.Status(ctx, c.nodes[i].addr)
			if err == nil || strings.Contains(err.Error(), "a standby") {
				return nil
			}
			return err
		})
		args = append(args, c.nodes[i].addr)
	}
	// It tells its progress on standard error.
	if r := c.run(append(args, "--endpoints", c.nodes[0].addr, "--timeout", orderMax.String())...); r.status != exitDone {
		c.t.Fatalf("%v: status %d: %s%s", args, r.status, r.stdout, r.stderr)
	}
	spreads(c)
}

// spreads waits until each group has three voters that are where the table wants them, and
// each node holds a share of them.
func spreads(c *cluster) {
	c.t.Helper()
	c.healthy()
	cl := c.client()
	c.until("the groups are spread", func(ctx context.Context) error {
		a, err := cl.Status(ctx, c.nodes[0].addr)
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
		if i := slices.IndexFunc(a.Nodes, func(n wire.StatusNode) bool { return holds[n.ID] == 0 }); i >= 0 || len(a.Nodes) != len(c.nodes) {
			return fmt.Errorf("%d nodes, of which %+v hold something", len(a.Nodes), holds)
		}
		return nil
	})
}

// hasAll checks that each key has its value.
func hasAll(c *cluster, pairs []client.Pair) {
	c.t.Helper()
	var keys [][]byte
	for _, p := range pairs {
		keys = append(keys, p.Key)
	}
	cl := c.client()
	c.until("all keys are there", func(ctx context.Context) error {
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
	c := startCluster(t, 1, "--groups", "4")
	var pairs []client.Pair
	for i := range growKeys {
		key := fmt.Appendf(nil, "grow/%03d", i)
		pairs = append(pairs, client.Pair{Key: key, Value: []byte(valueOf(key))})
	}
	if _, err := c.client().SetMany(context.Background(), pairs); err != nil {
		t.Fatal(err)
	}
	second := addStandby(c, 2)
	waitsToBeAdded(c, second[0])
	addAll(c, second)
	hasAll(c, pairs)
	// The same command again changes nothing.
	addAll(c, second)
	addAll(c, addStandby(c, 3))
	for i := range c.nodes {
		c.kill(i)
	}
	for i := range c.nodes {
		c.start(i)
	}
	spreads(c)
	hasAll(c, pairs)

	last := c.nodes[5]
	if r := c.run("node", "remove", "n6", "--yes", "--endpoints", c.nodes[0].addr, "--timeout", orderMax.String()); r.status != exitDone {
		t.Fatalf("remove: status %d: %s%s", r.status, r.stdout, r.stderr)
	}
	for range 2 { // told by the others, and then by its own directory
		select {
		case <-last.exited:
		case <-time.After(readyMax):
			t.Fatal("the removed node goes on")
		}
		if status := last.cmd.ProcessState.ExitCode(); status != exitRefused {
			t.Errorf("the removed node ended with status %d, want %d", status, exitRefused)
		}
		c.start(5)
	}
	<-last.exited
	hasAll(c, pairs)
}

// waitsToBeAdded checks that a host which no cluster has taken in yet says so, and by
// which command one does, whatever it is asked.
func waitsToBeAdded(c *cluster, i int) {
	c.t.Helper()
	for _, ask := range [][]string{{"status"}, {"node", "list"}, {"doctor"}} {
		c.until("the host says what it waits for", func(context.Context) error {
			r := c.run(append(ask, "--endpoints", c.nodes[i].addr)...)
			if !strings.Contains(r.stderr, "a standby") || !strings.Contains(r.stderr, "muster node add "+c.nodes[i].addr) {
				return fmt.Errorf("%v: status %d: %s%s", ask, r.status, r.stdout, r.stderr)
			}
			return nil
		})
	}
}
