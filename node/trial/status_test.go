package trial

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"muster/repl/wire"
)

// A node that has only just started has heard of nobody, and must call nobody
// dead for that. One would doubt it: "not heard of lately" is also true of a node
// whose connection takes another moment.
func TestStatusKnowsBeforeItTells(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, "--groups", "1")
	for range 3 {
		c.stop(0)
		c.start(0)
		c.until("an answer", func(ctx context.Context) error {
			a, err := c.clientOf(0).Status(ctx, c.nodes[0].addr)
			if err != nil {
				return err
			}
			for _, n := range a.Nodes {
				// After a second it may say so: a busy machine may have kept them apart.
				if age := time.Since(c.nodes[0].started); n.Status != wire.NodeAlive && age < time.Second {
					t.Errorf("%s is called %s, by a node that was started %v ago", n.Name, n.Status, age)
				}
			}
			return nil
		})
	}
	c.kill(1)
	c.kill(2)
	c.stop(0)
	c.start(0)
	c.until("the others are called dead", func(context.Context) error {
		row, r := c.statusOf(0)
		dead := 0
		for _, p := range row.Problems {
			if strings.Contains(p.What, "is dead, last heard of never") {
				dead++
			}
		}
		if r.status != exitRefused || dead != 2 {
			return fmt.Errorf("status %d, %s%s", r.status, r.stdout, r.stderr)
		}
		return nil
	})
}
