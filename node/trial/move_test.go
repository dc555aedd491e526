package trial

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"muster/node"
	"muster/node/trial/clustertest"
	"muster/repl/client"
)

// A node that comes back under another address finds its cluster by what is on
// its disk, and the cluster learns where it is. One would doubt it: the others
// dial the address that they know, and it can only announce itself to a leader
// that finds it.
func TestNodeMoves(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, 3)
	c.Run("kv", "set", "before", "v").Done(t)
	free, err := node.FreeAddrs(1)
	if err != nil {
		t.Fatal(err)
	}
	c.Stop(0)
	p := c.Nodes[0]
	p.Addr = free[0]
	p.Args = []string{"serve", "--name", "n1", "--listen", p.Addr, "--data", p.Data}
	c.Start(0)
	c.Healthy()
	cl := c.Client()
	for i := range c.Nodes {
		c.Until(fmt.Sprintf("n%d knows where n1 is", i+1), func(ctx context.Context) error {
			a, err := cl.Status(ctx, c.Nodes[i].Addr)
			if err != nil {
				return err
			}
			for _, n := range a.Nodes {
				if n.Name == "n1" && n.Addr == p.Addr {
					return nil
				}
			}
			return fmt.Errorf("nodes: %v", a.Nodes)
		})
	}
	c.Run("kv", "set", "after", "v").Done(t)
	c.Until("n1 has what was written meanwhile", func(ctx context.Context) error {
		one, err := client.Open(client.Options{Endpoints: []string{p.Addr}})
		if err != nil {
			return err
		}
		defer one.Close()
		items, _, err := one.Get(ctx, [][]byte{[]byte("after")}, client.ReadOptions{Local: true})
		if err == nil && len(items) != 1 {
			err = fmt.Errorf("not there yet")
		}
		return err
	})
}

// moveNode gives a node another address for its next life. join, if any, are where
// it is told to look for the others.
func moveNode(c *clustertest.Cluster, i int, addr string, join ...string) {
	p := c.Nodes[i]
	p.Addr = addr
	p.Args = []string{"serve", "--name", fmt.Sprintf("n%d", i+1), "--listen", addr, "--data", p.Data}
	if len(join) > 0 {
		p.Args = append(p.Args, "--join", strings.Join(join, ","))
	}
	if c.Secret != "" {
		p.Args = append(p.Args, "--secret-file", c.Secret)
	}
}

// everywhere waits until each node gives each key, asked alone: none of them may
// have a group whose leader it does not find.
func everywhere(c *clustertest.Cluster, keys [][]byte) {
	c.T.Helper()
	for i := range c.Nodes {
		c.Until(fmt.Sprintf("n%d gives all keys", i+1), func(ctx context.Context) error {
			one, err := client.Open(client.Options{Insecure: c.Clear, Endpoints: []string{c.Nodes[i].Addr}})
			if err != nil {
				return err
			}
			defer one.Close()
			for _, k := range keys {
				items, _, err := one.Get(ctx, [][]byte{k}, client.ReadOptions{})
				if err != nil {
					return fmt.Errorf("%s: %w", k, err)
				}
				if len(items) != 1 {
					return fmt.Errorf("%s is not there", k)
				}
			}
			return nil
		})
	}
}

// Nodes that come back under other addresses, any of them and all at once, find
// each other as long as one of them knows where one is, or was told. One would
// doubt it: each of those that moved has the old addresses of the others on its
// disk, and the table can change only once a majority has met.
func TestNodesMoveAtOnce(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		moved []int
		// join has, for each node, whose new addresses it is told.
		join map[int][]int
	}{
		{"two of three, and the third knows neither", []int{1, 2}, nil},
		{"all three, and each is told of all", []int{0, 1, 2}, map[int][]int{0: {0, 1, 2}, 1: {0, 1, 2}, 2: {0, 1, 2}}},
		{"all three, and two are told of the third", []int{0, 1, 2}, map[int][]int{1: {0}, 2: {0}}},
		{"all three, and the third is told of a chain", []int{0, 1, 2}, map[int][]int{0: {1}, 1: {2}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := clustertest.Start(t, 3, "--groups", "6")
			var keys [][]byte
			args := []string{"kv", "set"}
			for i := range 24 {
				k := fmt.Sprintf("key/%d", i)
				keys = append(keys, []byte(k))
				args = append(args, k, "v")
			}
			c.Run(args...).Done(t)
			for i := range c.Nodes {
				c.Stop(i)
			}
			free, err := node.FreeAddrs(3)
			if err != nil {
				t.Fatal(err)
			}
			for _, i := range tt.moved {
				var join []string
				for _, j := range tt.join[i] {
					join = append(join, free[j])
				}
				moveNode(c, i, free[i], join...)
			}
			for i := range c.Nodes {
				c.Start(i)
			}
			c.Healthy()
			everywhere(c, keys)
			c.Run("kv", "set", "after", "v").Done(t)
		})
	}
}

// Two nodes exchange their addresses. Each answers where the other was, so that
// an address alone says nothing of who is there.
func TestNodesExchangeAddresses(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, 3, "--insecure", "--groups", "2")
	c.Run("kv", "set", "before", "v").Done(t)
	one, two := c.Nodes[0].Addr, c.Nodes[1].Addr
	for i := range c.Nodes {
		c.Stop(i)
	}
	moveNode(c, 0, two)
	moveNode(c, 1, one)
	for i := range c.Nodes {
		c.Start(i)
	}
	c.Healthy()
	everywhere(c, [][]byte{[]byte("before")})
}

// Nodes that are given names keep them: what a name stands for is looked up each
// time that it is dialled. So hosts whose names come to stand for other
// addresses, one by one or all at once, find each other with the same commands
// as before. It takes root, to have names of its own.
func TestNamesThatStandForOtherAddresses(t *testing.T) {
	t.Parallel()
	c := clustertest.New(t, 3, "--groups", "2")
	c.Hosts = filepath.Join(c.Dir, "hosts")
	name := func(last ...int) { // of the address that each name stands for
		t.Helper()
		lines := "127.0.0.1 localhost\n"
		for i := range c.Nodes {
			lines += fmt.Sprintf("127.0.%d.%d db%d.test\n", i+1, last[i], i+1)
		}
		if err := os.WriteFile(c.Hosts, []byte(lines), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	name(1, 1, 1)
	if out, err := c.Command("version").CombinedOutput(); err != nil {
		t.Skipf("NAMES ARE NOT TESTED: %v, %s (it takes root and util-linux)", err, out)
	}
	var all []string
	for i, p := range c.Nodes {
		_, port, err := net.SplitHostPort(p.Addr)
		if err != nil {
			t.Fatal(err)
		}
		p.Addr = fmt.Sprintf("db%d.test:%s", i+1, port)
		all = append(all, p.Addr)
	}
	c.Secret = filepath.Join(c.Dir, "secret")
	clustertest.Run(t, "secret", "--file", c.Secret).Done(t)
	for i, p := range c.Nodes {
		p.Args = []string{"serve", "--name", fmt.Sprintf("n%d", i+1), "--listen", p.Addr, "--data", p.Data, "--groups", "2", "--secret-file", c.Secret,
			"--expect", "3", "--join", strings.Join(all, ",")}
		c.Start(i)
	}
	healthy := func(when string) {
		t.Helper()
		c.Until("healthy, "+when, func(context.Context) error {
			for _, p := range c.Nodes {
				if r := c.Run("status", "--endpoints", p.Addr, "--timeout", "5s"); r.Status != 0 {
					return fmt.Errorf("status %d: %s%s", r.Status, r.Stdout, r.Stderr)
				}
			}
			return nil
		})
	}
	healthy("after the founding")
	c.Run("kv", "set", "before", "v").Done(t)
	name(1, 2, 1)
	c.Stop(1)
	c.Start(1)
	healthy("with one name that stands for another address")
	for i := range c.Nodes {
		c.Stop(i)
	}
	name(3, 3, 3)
	for i := range c.Nodes {
		c.Start(i)
	}
	healthy("with all names standing for others")
	if got := strings.TrimSpace(c.Run("kv", "get", "before").Done(t)); got != "v" {
		t.Errorf("got %q", got)
	}
}
