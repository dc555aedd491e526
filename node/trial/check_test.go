package trial

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"muster/node/trial/clustertest"
)

// A check has two answers: all replicas were compared and agree, or not. Replicas that are written
// to must agree, one that is down must not be passed over, and a group without a leader must not
// look healthy. The exit status tells them apart.
func TestCheck(t *testing.T) {
	t.Parallel()
	const groups = 3 // with group 0
	c := clustertest.Start(t, 3, "--groups", "2")
	check := func(args ...string) (row clustertest.CheckRow, r clustertest.Result) {
		r = c.Run(append([]string{"check", "-o", "json"}, args...)...)
		if err := json.Unmarshal([]byte(r.Stdout), &row); err != nil && r.Stdout != "" {
			t.Fatalf("check: status %d, %v: %s", r.Status, err, r.Stdout)
		}
		return row, r
	}
	c.Until("each member is known to understand it", func(context.Context) error {
		if row, r := check(); r.Status != clustertest.ExitDone || !row.OK || len(row.Groups) != groups {
			return fmt.Errorf("status %d, %s%s", r.Status, r.Stdout, r.Stderr)
		}
		return nil
	})
	load := c.Command("bench", "--endpoints", c.Endpoints(), "--op", "mixed", "--duration", "6s", "--warm-up", "0s", "--keys", "2000")
	if err := load.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- load.Wait() }()
	before, _ := check()
	for checks, over := 0, false; !over; checks++ {
		select {
		case err := <-ended:
			if over = true; err != nil || checks < 5 {
				t.Errorf("the load ended with %v after %d checks", err, checks)
			}
		default:
		}
		row, r := check()
		for i, g := range row.Groups {
			if !g.Agree || g.Replicas != 3 || g.Index <= before.Groups[i].Index {
				t.Errorf("group %d while it is written to: %+v, and the check before was at %d", g.ID, g, before.Groups[i].Index)
			}
		}
		if before = row; r.Status != clustertest.ExitDone || t.Failed() {
			t.Fatalf("status %d, %s%s", r.Status, r.Stdout, r.Stderr)
		}
	}
	if table := c.Run("check", "--group", "1").Done(t); !strings.Contains(table, "agree") || strings.Count(table, "\n") != 2 {
		t.Errorf("one group: got\n%s", table)
	}
	if r := c.Run("check", "--fix"); r.Status != clustertest.ExitDone || r.Stderr != "" {
		t.Errorf("--fix with nothing to do: status %d, %s", r.Status, r.Stderr)
	}
	c.Run("check", "--group", "77").Refused(t, clustertest.ExitNotFound, "group 77: the cluster has none; muster group list shows those that it has")

	c.Kill(2)
	c.Until("the others are compared", func(context.Context) error {
		row, r := check()
		if r.Status != clustertest.ExitNoResult || row.OK || len(row.Groups) != groups {
			return fmt.Errorf("status %d, %s%s", r.Status, r.Stdout, r.Stderr)
		}
		for _, g := range row.Groups {
			if d := g.Differing; g.Agree || g.Index == 0 || len(d) != 1 || d[0].Node != "n3" || d[0].State != "silent" || len(d[0].Parts) != 0 {
				return fmt.Errorf("group %d: %+v", g.ID, g)
			}
		}
		return nil
	})
	c.Kill(1)
	c.Until("nothing is compared any more", func(context.Context) error {
		row, r := check("--endpoints", c.Nodes[0].Addr)
		if r.Status != clustertest.ExitNoResult || row.OK || len(row.Groups) != groups {
			return fmt.Errorf("status %d, %s%s", r.Status, r.Stdout, r.Stderr)
		}
		for _, g := range row.Groups {
			if g.Agree || g.Index != 0 || g.Why == "" {
				return fmt.Errorf("group %d: %+v", g.ID, g)
			}
		}
		return nil
	})
	c.Start(1)
	c.Start(2)
	c.Until("all agree again", func(context.Context) error {
		if row, r := check(); r.Status != clustertest.ExitDone || !row.OK {
			return fmt.Errorf("status %d, %s%s", r.Status, r.Stdout, r.Stderr)
		}
		return nil
	})
}

// A check comes while leaders change, to a host that is in no cluster yet, or to nobody. It must not
// call a replica wrong that is only late, nor end as if all were well when it has compared nothing.
func TestCheckMeanwhile(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, 3, "--groups", "3")
	ended := make(chan struct{})
	said := make(chan map[int]int, 1)
	go func() {
		statuses := map[int]int{}
		defer func() { said <- statuses }()
		for {
			select {
			case <-ended:
				return
			default:
			}
			out, err := c.Command("check", "--endpoints", c.Endpoints()).CombinedOutput()
			status := clustertest.ExitDone
			if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
				status = exit.ExitCode()
			}
			if statuses[status]++; status != clustertest.ExitDone && status != clustertest.ExitNoResult || strings.Contains(string(out), "differs") {
				t.Errorf("while leaders change: status %d, %s", status, out)
			}
		}
	}()
	for range 3 {
		i := c.Leads(0)
		c.Stop(i)
		c.Start(i)
		c.Healthy()
	}
	close(ended)
	statuses := <-said
	c.Until("well", func(context.Context) error {
		if r := c.Run("check"); r.Status != clustertest.ExitDone {
			return fmt.Errorf("status %d: %s%s", r.Status, r.Stdout, r.Stderr)
		}
		return nil
	})
	t.Logf("%d checks while leaders changed agreed, %d had no result", statuses[clustertest.ExitDone], statuses[clustertest.ExitNoResult])

	s := clustertest.New(t, 1)
	s.Nodes[0].Args = append(s.Nodes[0].Args, "--standby")
	s.Start(0)
	for _, args := range [][]string{{"check"}, {"check", "--fix", "--yes"}, {"check", "--acknowledge"}} {
		s.Until("told that it is no member", func(context.Context) error {
			if r := s.Run(args...); r.Status != clustertest.ExitNoResult || r.Stdout != "" || !strings.Contains(r.Stderr, "a standby: it waits to be added to a cluster") {
				return fmt.Errorf("%v: status %d, %s%s", args, r.Status, r.Stdout, r.Stderr)
			}
			return nil
		})
	}
	s.Kill(0)
	s.Run("check", "-o", "json").Refused(t, clustertest.ExitNoEndpoint, "no endpoint accepted a connection")
}
