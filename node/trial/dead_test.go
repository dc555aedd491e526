package trial

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"muster/node/trial/clustertest"
	"muster/repl/client"
)

// With one of three nodes dead all keys can be written; with two dead none
// can, and the answer comes in time and tells the truth: what it calls not
// applied is not there when the majority comes back.
func TestWritesWithDeadNodes(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, 3)
	c.Kill(2)
	// Keys of all groups, those of the dead leader among them.
	var pairs []string
	for i := range 40 {
		pairs = append(pairs, fmt.Sprintf("one-dead/%d", i), "v")
	}
	c.Run(append([]string{"kv", "set"}, pairs...)...).Done(t)

	c.Kill(1)
	certain := map[string]bool{}
	for i := range 6 {
		key := fmt.Sprintf("two-dead/%d", i)
		began := time.Now()
		r := c.Run("kv", "set", key, "v", "--timeout", "2s")
		if took := time.Since(began); took > 2*time.Second+clustertest.BusyMax {
			t.Errorf("set %s took %v with --timeout 2s", key, took)
		}
		if r.Status != clustertest.ExitNoResult {
			t.Fatalf("set %s with two nodes dead ended with status %d, want %d: %s", key, r.Status, clustertest.ExitNoResult, r.Stderr)
		}
		if strings.Count(strings.TrimSpace(r.Stderr), "\n") != 0 {
			t.Errorf("set %s: want one line, got %q", key, r.Stderr)
		}
		maybe := strings.Contains(r.Stderr, "may have been applied")
		if !maybe && !strings.Contains(r.Stderr, "nothing was applied") {
			t.Errorf("set %s: the text says neither that nothing was applied nor that it may have been: %q", key, r.Stderr)
		}
		certain[key] = !maybe
	}

	c.Start(1)
	c.Start(2)
	c.Healthy()
	ctx, cancel := context.WithTimeout(context.Background(), clustertest.ReadyMax)
	defer cancel()
	// A write to each group goes after everything that may yet have come.
	c.Run(append([]string{"kv", "set"}, pairs...)...).Done(t)
	cl := c.Client()
	sure := 0
	for key, not := range certain {
		items, _, err := cl.Get(ctx, [][]byte{[]byte(key)}, client.ReadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if not {
			sure++
			if len(items) != 0 {
				t.Errorf("%s was said not to be applied, and is there", key)
			}
		}
	}
	if sure == 0 {
		t.Error("no write was refused for certain; the leader stood down before the last ones, so some must be")
	}
}

// Linearizable reads need a majority as well; a local read does not, and says
// where it stands.
func TestReadsWithDeadNodes(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, 3)
	c.Run("kv", "set", "k", "v").Done(t)
	c.Until("k is on n1", func(ctx context.Context) error {
		r := c.Run("kv", "get", "k", "--read", "local", "--endpoints", c.Nodes[0].Addr)
		if r.Status != 0 {
			return errors.New(r.Stderr)
		}
		return nil
	})
	c.Kill(1)
	c.Kill(2)
	r := c.Run("kv", "get", "k", "--timeout", "2s", "--endpoints", c.Nodes[0].Addr)
	if r.Status != clustertest.ExitNoResult {
		t.Errorf("a linearizable get without a majority ended with status %d, want %d: %s", r.Status, clustertest.ExitNoResult, r.Stderr)
	}
	if got := c.Run("kv", "get", "k", "--read", "local", "--endpoints", c.Nodes[0].Addr).Done(t); strings.TrimSpace(got) != "v" {
		t.Errorf("local get printed %q, want v", got)
	}
	c.Until("status says that there is no majority", func(context.Context) error {
		s := c.Run("status", "--endpoints", c.Nodes[0].Addr)
		if s.Status != clustertest.ExitRefused || !strings.Contains(s.Stdout, "no majority of voters") {
			return fmt.Errorf("status %d, want %d:\n%s", s.Status, clustertest.ExitRefused, s.Stdout)
		}
		return nil
	})
}

// A cluster is founded whatever the order in which its hosts start, and
// however often they are killed while it is: there is one cluster in the end,
// with all three in it.
func TestFoundingUnderKills(t *testing.T) {
	t.Parallel()
	c := clustertest.New(t, 3)
	// Each host is killed some time after it was started, a little later each
	// round, so that all moments of the first half second are hit.
	for round := range 12 {
		i := round % 3
		c.Kill(i)
		c.Start(i)
		pause := time.Duration(round) * 40 * time.Millisecond
		select {
		case <-c.Nodes[i].Exited:
			t.Fatalf("n%d ended by itself", i+1)
		case <-time.After(pause): // the moment of the kill is what varies
		}
		if round%4 != 3 {
			c.Kill(i)
		}
	}
	for i := range c.Nodes {
		c.Kill(i)
		c.Start(i)
	}
	c.Healthy()
	ids := map[uint64]bool{}
	for i := range c.Nodes {
		ctx, cancel := context.WithTimeout(context.Background(), clustertest.ReadyMax)
		a, err := c.Client().Status(ctx, c.Nodes[i].Addr)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		ids[a.ClusterID] = true
		if len(a.Nodes) != 3 {
			t.Errorf("n%d knows %d nodes, want 3", i+1, len(a.Nodes))
		}
	}
	if len(ids) != 1 {
		t.Errorf("got clusters %v, want one", ids)
	}
	c.Run("kv", "set", "k", "v").Done(t)
}

// A host whose directory was emptied after the founding does not vote under a
// new name: it waits as a standby and says so.
func TestEmptiedHostWaits(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, 3)
	c.Run("kv", "set", "k", "v").Done(t)
	c.Kill(2)
	c.Nodes[2].Data += "-new"
	for i, a := range c.Nodes[2].Args {
		if a == "--data" {
			c.Nodes[2].Args[i+1] = c.Nodes[2].Data
		}
	}
	c.Start(2)
	cl := c.Client()
	c.Until("n3 says that it waits", func(ctx context.Context) error {
		_, err := cl.Status(ctx, c.Nodes[2].Addr)
		if err == nil || !strings.Contains(err.Error(), "not-ready") || !strings.Contains(err.Error(), "a standby") {
			return fmt.Errorf("got %v, want not-ready with the word standby", err)
		}
		return nil
	})
	c.Run("kv", "set", "k", "w").Done(t)
	// To start it again would not help: the others must not say so, but what
	// does, and it must.
	c.Until("the others say that its directory is gone", func(context.Context) error {
		row, r := statusOf(c, 0)
		d, dr := examine(c)
		for _, p := range row.Problems {
			if strings.Contains(p.What, "node n3 ("+c.Nodes[2].Addr+") is gone") && strings.Contains(p.Remedy, "put the data directory back as it was when the node last stopped") &&
				d.says(severityError, "node n3 ("+c.Nodes[2].Addr+") is gone: another one answers there") && !strings.Contains(r.Stdout+dr.Stdout, "start it again") {
				return nil
			}
		}
		return fmt.Errorf("status says %+v; doctor %s", row.Problems, dr.Stdout)
	})
	c.Stop(2)
	c.Nodes[2].Data = strings.TrimSuffix(c.Nodes[2].Data, "-new")
	for i, a := range c.Nodes[2].Args {
		if a == "--data" {
			c.Nodes[2].Args[i+1] = c.Nodes[2].Data
		}
	}
	c.Start(2)
	c.Healthy()
}
