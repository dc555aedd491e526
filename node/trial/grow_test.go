package trial

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"muster/node/trial/clustertest"
	"muster/repl/client"
)

// growKeys is how many keys the growing cluster holds.
const growKeys = 500

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
	second := clustertest.AddStandby(c, 2)
	waitsToBeAdded(c, second[0])
	clustertest.AddAll(c, second)
	hasAll(c, pairs)
	// The same command again changes nothing.
	clustertest.AddAll(c, second)
	clustertest.AddAll(c, clustertest.AddStandby(c, 3))
	for i := range c.Nodes {
		c.Kill(i)
	}
	for i := range c.Nodes {
		c.Start(i)
	}
	clustertest.AwaitSpread(c)
	hasAll(c, pairs)

	last := c.Nodes[5]
	if r := c.Run("node", "remove", "n6", "--yes", "--endpoints", c.Nodes[0].Addr, "--timeout", clustertest.OrderMax.String()); r.Status != clustertest.ExitDone {
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
