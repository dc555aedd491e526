package main

import (
	"context"
	"fmt"
	"strings"
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

// move gives a node another address for its next life. join, if any, are where
// it is told to look for the others.
func (c *cluster) move(i int, addr string, join ...string) {
	p := c.nodes[i]
	p.addr = addr
	p.args = []string{"serve", "--name", fmt.Sprintf("n%d", i+1), "--listen", addr, "--data", p.data}
	if len(join) > 0 {
		p.args = append(p.args, "--join", strings.Join(join, ","))
	}
	if c.secret != "" {
		p.args = append(p.args, "--secret-file", c.secret)
	}
}

// everywhere waits until each node gives each key, asked alone: none of them may
// have a group whose leader it does not find.
func (c *cluster) everywhere(keys [][]byte) {
	c.t.Helper()
	for i := range c.nodes {
		c.until(fmt.Sprintf("n%d gives all keys", i+1), func(ctx context.Context) error {
			one, err := client.Open(client.Options{Endpoints: []string{c.nodes[i].addr}})
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
			c := startCluster(t, 3, "--groups", "6")
			var keys [][]byte
			args := []string{"kv", "set"}
			for i := range 24 {
				k := fmt.Sprintf("key/%d", i)
				keys = append(keys, []byte(k))
				args = append(args, k, "v")
			}
			c.run(args...).done(t)
			for i := range c.nodes {
				c.stop(i)
			}
			free, err := freeAddrs(3)
			if err != nil {
				t.Fatal(err)
			}
			for _, i := range tt.moved {
				var join []string
				for _, j := range tt.join[i] {
					join = append(join, free[j])
				}
				c.move(i, free[i], join...)
			}
			for i := range c.nodes {
				c.start(i)
			}
			c.healthy()
			c.everywhere(keys)
			c.run("kv", "set", "after", "v").done(t)
		})
	}
}

// Two nodes exchange their addresses. Each answers where the other was, so that
// an address alone says nothing of who is there.
func TestNodesExchangeAddresses(t *testing.T) {
	c := startCluster(t, 3, "--groups", "2")
	c.run("kv", "set", "before", "v").done(t)
	one, two := c.nodes[0].addr, c.nodes[1].addr
	for i := range c.nodes {
		c.stop(i)
	}
	c.move(0, two)
	c.move(1, one)
	for i := range c.nodes {
		c.start(i)
	}
	c.healthy()
	c.everywhere([][]byte{[]byte("before")})
}
