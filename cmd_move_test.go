package main

import (
	"context"
	"fmt"
	"testing"

	"muster/repl/client"
)

// A node that comes back under another address finds its cluster by what is on
// its disk, and the cluster learns where it is. One would doubt it: the others
// dial the address that they know, and it can only announce itself to a leader
// that finds it.
func TestNodeMoves(t *testing.T) {
	c := startCluster(t, 3)
	c.run("kv", "set", "before", "v").done(t)
	free, err := freeAddrs(1)
	if err != nil {
		t.Fatal(err)
	}
	c.stop(0)
	p := c.nodes[0]
	p.addr = free[0]
	p.args = []string{"serve", "--name", "n1", "--listen", p.addr, "--data", p.data}
	c.start(0)
	c.healthy()
	cl := c.client()
	for i := range c.nodes {
		c.until(fmt.Sprintf("n%d knows where n1 is", i+1), func(ctx context.Context) error {
			a, err := cl.Status(ctx, c.nodes[i].addr)
			if err != nil {
				return err
			}
			for _, n := range a.Nodes {
				if n.Name == "n1" && n.Addr == p.addr {
					return nil
				}
			}
			return fmt.Errorf("nodes: %v", a.Nodes)
		})
	}
	c.run("kv", "set", "after", "v").done(t)
	c.until("n1 has what was written meanwhile", func(ctx context.Context) error {
		one, err := client.Open(client.Options{Endpoints: []string{p.addr}})
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
