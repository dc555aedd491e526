package trial

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"muster/node/trial/clustertest"
	"muster/repl/wire"
)

// A node that has only just started has heard of nobody, and must call nobody
// dead for that. One would doubt it: "not heard of lately" is also true of a node
// whose connection takes another moment.
func TestStatusKnowsBeforeItTells(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, 3, "--groups", "1")
	for range 3 {
		c.Stop(0)
		c.Start(0)
		c.Until("an answer", func(ctx context.Context) error {
			a, err := clustertest.ClientOf(c, 0).Status(ctx, c.Nodes[0].Addr)
			if err != nil {
				return err
			}
			for _, n := range a.Nodes {
				// After a second it may say so: a busy machine may have kept them apart.
				if age := time.Since(c.Nodes[0].Started); n.Status != wire.NodeAlive && age < time.Second {
					t.Errorf("%s is called %s, by a node that was started %v ago", n.Name, n.Status, age)
				}
			}
			return nil
		})
	}
	c.Kill(1)
	c.Kill(2)
	c.Stop(0)
	c.Start(0)
	c.Until("the others are called dead", func(context.Context) error {
		row, r := statusOf(c, 0)
		dead := 0
		for _, p := range row.Problems {
			if strings.Contains(p.What, "is dead, last heard of never") {
				dead++
			}
		}
		if r.Status != clustertest.ExitRefused || dead != 2 {
			return fmt.Errorf("status %d, %s%s", r.Status, r.Stdout, r.Stderr)
		}
		return nil
	})
}
