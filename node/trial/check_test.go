package trial

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

// checkRow is what check prints with -o json.
type checkRow struct {
	OK     bool `json:"ok"`
	Groups []struct {
		ID        int    `json:"id"`
		Index     uint64 `json:"index"`
		Replicas  int    `json:"replicas"`
		Agree     bool   `json:"agree"`
		Why       string `json:"why"`
		Differing []struct {
			Node  string   `json:"node"`
			State string   `json:"state"`
			Parts []string `json:"parts"`
		} `json:"differing"`
	} `json:"groups"`
}

// A check has two answers: all replicas were compared and agree, or not. Replicas that are written
// to must agree, one that is down must not be passed over, and a group without a leader must not
// look healthy. The exit status tells them apart.
func TestCheck(t *testing.T) {
	t.Parallel()
	const groups = 3 // with group 0
	c := startCluster(t, 3, "--groups", "2")
	check := func(args ...string) (row checkRow, r result) {
		r = c.run(append([]string{"check", "-o", "json"}, args...)...)
		if err := json.Unmarshal([]byte(r.stdout), &row); err != nil && r.stdout != "" {
			t.Fatalf("check: status %d, %v: %s", r.status, err, r.stdout)
		}
		return row, r
	}
	c.until("each member is known to understand it", func(context.Context) error {
		if row, r := check(); r.status != exitDone || !row.OK || len(row.Groups) != groups {
			return fmt.Errorf("status %d, %s%s", r.status, r.stdout, r.stderr)
		}
		return nil
	})
	load := c.command("bench", "--endpoints", c.endpoints(), "--op", "mixed", "--duration", "6s", "--warm-up", "0s", "--keys", "2000")
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
		if before = row; r.status != exitDone || t.Failed() {
			t.Fatalf("status %d, %s%s", r.status, r.stdout, r.stderr)
		}
	}
	if table := c.run("check", "--group", "1").done(t); !strings.Contains(table, "agree") || strings.Count(table, "\n") != 2 {
		t.Errorf("one group: got\n%s", table)
	}
	if r := c.run("check", "--fix"); r.status != exitDone || r.stderr != "" {
		t.Errorf("--fix with nothing to do: status %d, %s", r.status, r.stderr)
	}
	c.run("check", "--group", "77").refused(t, exitNotFound, "group 77: the cluster has none; muster group list shows those that it has")

	c.kill(2)
	c.until("the others are compared", func(context.Context) error {
		row, r := check()
		if r.status != exitNoResult || row.OK || len(row.Groups) != groups {
			return fmt.Errorf("status %d, %s%s", r.status, r.stdout, r.stderr)
		}
		for _, g := range row.Groups {
			if d := g.Differing; g.Agree || g.Index == 0 || len(d) != 1 || d[0].Node != "n3" || d[0].State != "silent" || len(d[0].Parts) != 0 {
				return fmt.Errorf("group %d: %+v", g.ID, g)
			}
		}
		return nil
	})
	c.kill(1)
	c.until("nothing is compared any more", func(context.Context) error {
		row, r := check("--endpoints", c.nodes[0].addr)
		if r.status != exitNoResult || row.OK || len(row.Groups) != groups {
			return fmt.Errorf("status %d, %s%s", r.status, r.stdout, r.stderr)
		}
		for _, g := range row.Groups {
			if g.Agree || g.Index != 0 || g.Why == "" {
				return fmt.Errorf("group %d: %+v", g.ID, g)
			}
		}
		return nil
	})
	c.start(1)
	c.start(2)
	c.until("all agree again", func(context.Context) error {
		if row, r := check(); r.status != exitDone || !row.OK {
			return fmt.Errorf("status %d, %s%s", r.status, r.stdout, r.stderr)
		}
		return nil
	})
}

// A check comes while leaders change, to a host that is in no cluster yet, or to nobody. It must not
// call a replica wrong that is only late, nor end as if all were well when it has compared nothing.
func TestCheckMeanwhile(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3, "--groups", "3")
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
			out, err := c.command("check", "--endpoints", c.endpoints()).CombinedOutput()
			status := exitDone
			if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
				status = exit.ExitCode()
			}
			if statuses[status]++; status != exitDone && status != exitNoResult || strings.Contains(string(out), "differs") {
				t.Errorf("while leaders change: status %d, %s", status, out)
			}
		}
	}()
	for range 3 {
		i := c.leads(0)
		c.stop(i)
		c.start(i)
		c.healthy()
	}
	close(ended)
	statuses := <-said
	c.until("well", func(context.Context) error {
		if r := c.run("check"); r.status != exitDone {
			return fmt.Errorf("status %d: %s%s", r.status, r.stdout, r.stderr)
		}
		return nil
	})
	t.Logf("%d checks while leaders changed agreed, %d had no result", statuses[exitDone], statuses[exitNoResult])

	s := newCluster(t, 1)
	s.nodes[0].args = append(s.nodes[0].args, "--standby")
	s.start(0)
	for _, args := range [][]string{{"check"}, {"check", "--fix", "--yes"}, {"check", "--acknowledge"}} {
		s.until("told that it is no member", func(context.Context) error {
			if r := s.run(args...); r.status != exitNoResult || r.stdout != "" || !strings.Contains(r.stderr, "a standby: it waits to be added to a cluster") {
				return fmt.Errorf("%v: status %d, %s%s", args, r.status, r.stdout, r.stderr)
			}
			return nil
		})
	}
	s.kill(0)
	s.run("check", "-o", "json").refused(t, exitNoEndpoint, "no endpoint accepted a connection")
}
