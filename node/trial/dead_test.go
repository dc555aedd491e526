package trial

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"muster/repl/client"
)

// With one of three nodes dead all keys can be written; with two dead none
// can, and the answer comes in time and tells the truth: what it calls not
// applied is not there when the majority comes back.
func TestWritesWithDeadNodes(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	c.kill(2)
	// Keys of all groups, those of the dead leader among them.
	var pairs []string
	for i := range 40 {
		pairs = append(pairs, fmt.Sprintf("one-dead/%d", i), "v")
	}
	c.run(append([]string{"kv", "set"}, pairs...)...).done(t)

	c.kill(1)
	certain := map[string]bool{}
	for i := range 6 {
		key := fmt.Sprintf("two-dead/%d", i)
		began := time.Now()
		r := c.run("kv", "set", key, "v", "--timeout", "2s")
		if took := time.Since(began); took > 2*time.Second+busyMax {
			t.Errorf("set %s took %v with --timeout 2s", key, took)
		}
		if r.status != exitNoResult {
			t.Fatalf("set %s with two nodes dead ended with status %d, want %d: %s", key, r.status, exitNoResult, r.stderr)
		}
		if strings.Count(strings.TrimSpace(r.stderr), "\n") != 0 {
			t.Errorf("set %s: want one line, got %q", key, r.stderr)
		}
		maybe := strings.Contains(r.stderr, "may have been applied")
		if !maybe && !strings.Contains(r.stderr, "nothing was applied") {
			t.Errorf("set %s: the text says neither that nothing was applied nor that it may have been: %q", key, r.stderr)
		}
		certain[key] = !maybe
	}

	c.start(1)
	c.start(2)
	c.healthy()
	ctx, cancel := context.WithTimeout(context.Background(), readyMax)
	defer cancel()
	// A write to each group goes after everything that may yet have come.
	c.run(append([]string{"kv", "set"}, pairs...)...).done(t)
	cl := c.client()
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
	c := startCluster(t, 3)
	c.run("kv", "set", "k", "v").done(t)
	c.until("k is on n1", func(ctx context.Context) error {
		r := c.run("kv", "get", "k", "--read", "local", "--endpoints", c.nodes[0].addr)
		if r.status != 0 {
			return errors.New(r.stderr)
		}
		return nil
	})
	c.kill(1)
	c.kill(2)
	r := c.run("kv", "get", "k", "--timeout", "2s", "--endpoints", c.nodes[0].addr)
	if r.status != exitNoResult {
		t.Errorf("a linearizable get without a majority ended with status %d, want %d: %s", r.status, exitNoResult, r.stderr)
	}
	if got := c.run("kv", "get", "k", "--read", "local", "--endpoints", c.nodes[0].addr).done(t); strings.TrimSpace(got) != "v" {
		t.Errorf("local get printed %q, want v", got)
	}
	c.until("status says that there is no majority", func(context.Context) error {
		s := c.run("status", "--endpoints", c.nodes[0].addr)
		if s.status != exitRefused || !strings.Contains(s.stdout, "no majority of voters") {
			return fmt.Errorf("status %d, want %d:\n%s", s.status, exitRefused, s.stdout)
		}
		return nil
	})
}

// A cluster is founded whatever the order in which its hosts start, and
// however often they are killed while it is: there is one cluster in the end,
// with all three in it.
func TestFoundingUnderKills(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	// Each host is killed some time after it was started, a little later each
	// round, so that all moments of the first half second are hit.
	for round := range 12 {
		i := round % 3
		c.kill(i)
		c.start(i)
		pause := time.Duration(round) * 40 * time.Millisecond
		select {
		case <-c.nodes[i].exited:
			t.Fatalf("n%d ended by itself", i+1)
		case <-time.After(pause): // the moment of the kill is what varies
		}
		if round%4 != 3 {
			c.kill(i)
		}
	}
	for i := range c.nodes {
		c.kill(i)
		c.start(i)
	}
	c.healthy()
	ids := map[uint64]bool{}
	for i := range c.nodes {
		ctx, cancel := context.WithTimeout(context.Background(), readyMax)
		a, err := c.client().Status(ctx, c.nodes[i].addr)
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
	c.run("kv", "set", "k", "v").done(t)
}

// A host whose directory was emptied after the founding does not vote under a
// new name: it waits as a standby and says so.
func TestEmptiedHostWaits(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	c.run("kv", "set", "k", "v").done(t)
	c.kill(2)
	c.nodes[2].data += "-new"
	for i, a := range c.nodes[2].args {
		if a == "--data" {
			c.nodes[2].args[i+1] = c.nodes[2].data
		}
	}
	c.start(2)
	cl := c.client()
	c.until("n3 says that it waits", func(ctx context.Context) error {
		_, err := cl.Status(ctx, c.nodes[2].addr)
		if err == nil || !strings.Contains(err.Error(), "not-ready") || !strings.Contains(err.Error(), "a standby") {
			return fmt.Errorf("got %v, want not-ready with the word standby", err)
		}
		return nil
	})
	c.run("kv", "set", "k", "w").done(t)
	// To start it again would not help: the others must not say so, but what
	// does, and it must.
	c.until("the others say that its directory is gone", func(context.Context) error {
		row, r := c.statusOf(0)
		d, dr := c.examine()
		for _, p := range row.Problems {
			if strings.Contains(p.What, "node n3 ("+c.nodes[2].addr+") is gone") && strings.Contains(p.Remedy, "put the data directory back as it was when the node last stopped") &&
				d.says(severityError, "node n3 ("+c.nodes[2].addr+") is gone: another one answers there") && !strings.Contains(r.stdout+dr.stdout, "start it again") {
				return nil
			}
		}
		return fmt.Errorf("status says %+v; doctor %s", row.Problems, dr.stdout)
	})
	c.stop(2)
	c.nodes[2].data = strings.TrimSuffix(c.nodes[2].data, "-new")
	for i, a := range c.nodes[2].args {
		if a == "--data" {
			c.nodes[2].args[i+1] = c.nodes[2].data
		}
	}
	c.start(2)
	c.healthy()
}
