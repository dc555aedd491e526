package clustertest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"muster/node"
	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// AddAll adds hosts to the cluster with one command, and waits until all its groups have
// voters on three nodes and each of them says that all is well.
func AddAll(c *Cluster, numbers []int) {
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
	if r := c.Run(append(args, "--endpoints", c.Nodes[0].Addr, "--timeout", OrderMax.String())...); r.Status != ExitDone {
		c.T.Fatalf("%v: status %d: %s%s", args, r.Status, r.Stdout, r.Stderr)
	}
	AwaitSpread(c)
}

// AwaitSpread waits until each group has three voters that are where the table wants them, and
// each node holds a share of them.
func AwaitSpread(c *Cluster) {
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
			return fmt.Errorf("%d nodes; they hold %+v voters", len(a.Nodes), holds)
		}
		return nil
	})
}

// OrderMax is how long a command may wait before it is given again.
const OrderMax = RunMax - BusyMax

// AddStandby adds n nodes that wait to be made members. It starts them.
func AddStandby(c *Cluster, n int) (numbers []int) {
	c.T.Helper()
	addrs, err := node.FreeAddrs(n)
	if err != nil {
		c.T.Fatal(err)
	}
	right := RightToJoin(c, n)
	for _, addr := range addrs {
		i := len(c.Nodes)
		name := fmt.Sprintf("n%d", i+1)
		p := &Process{Binary: Binary(), Addr: addr, Data: filepath.Join(c.Dir, name), Log: filepath.Join(c.Dir, name+".log")}
		p.Args = append([]string{"serve", "--name", name, "--listen", addr, "--data", p.Data, "--standby"}, c.Extra...)
		p.Args = append(p.Args, right...)
		c.Nodes = append(c.Nodes, p)
		c.Start(i)
		numbers = append(numbers, i)
	}
	return numbers
}

// RightToJoin returns the options by which n hosts may join: a token for all of them, or nothing in a
// cluster that lets in everybody.
func RightToJoin(c *Cluster, n int) []string {
	c.T.Helper()
	if c.Clear {
		return nil
	}
	return []string{"--token-file", TokenFor(c, n)}
}

// TokenFor makes a token for n hosts, and returns the file that has it.
func TokenFor(c *Cluster, n int) string {
	c.T.Helper()
	r := c.Run("token", "create", "--role", "server", "--uses", fmt.Sprint(n))
	f, err := os.CreateTemp(c.Dir, "token-") // of this user alone
	if err != nil {
		c.T.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(r.Done(c.T)); err != nil {
		c.T.Fatal(err)
	}
	return f.Name()
}
