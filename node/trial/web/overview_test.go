package web

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"muster/node/overview"
	"muster/node/overview/feed"
	"muster/node/trial/clustertest"
)

// deadNamedMax is how soon a person who looks is told which node has died.
const deadNamedMax = 3 * time.Second

// A person who looks at an overview must be told within 3 s which node has died, and what to do, be
// it a follower or the leader of all groups; and the verdict must be that of status and of doctor
// all the while. One would doubt it: the leader goes with the node whose word is believed first.
func TestOverviewNamesTheDead(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, 3, "--groups", "3")
	look := feed.NewCollector(c.Client())
	defer look.Close()
	var newest *feed.Moment
	next := func(ctx context.Context) *overview.Overview {
		after := uint64(0)
		if newest != nil {
			after = newest.Number
		}
		m, err := look.Next(ctx, after)
		if err != nil {
			t.Fatal(err)
		}
		newest = m
		return m.Overview
	}
	well := func() {
		t.Helper()
		c.Until("well", func(ctx context.Context) error {
			// A warning of a slow disk is one of the machine that tests.
			if o := next(ctx); o.Verdict == overview.VerdictError || len(o.Nodes) != 3 || len(o.Groups) != 4 || len(o.Links) != 6 {
				return fmt.Errorf("verdict %s: %s, %d nodes, %d groups", o.Verdict, o.Reason, len(o.Nodes), len(o.Groups))
			}
			return nil
		})
	}
	// kill kills a node, sees it named, and brings it back. It returns how long the first took.
	kill := func(leader bool) time.Duration {
		well()
		victim := c.Leads(0)
		if !leader {
			victim = (victim + 1) % 3
		}
		began := newest.Overview.At
		c.Kill(victim)
		killed := time.Now()
		who := fmt.Sprintf("node n%d (%s) ", victim+1, c.Nodes[victim].Addr)
		o := next(t.Context())
		for !strings.HasPrefix(o.Reason, who) || o.Verdict != overview.VerdictError {
			if time.Since(killed) > deadNamedMax+clustertest.BusyMax {
				t.Fatalf("%v after its death n%d is not named: %s: %s", time.Since(killed).Round(time.Millisecond), victim+1, o.Verdict, o.Reason)
			}
			o = next(t.Context())
		}
		named := time.Since(killed)
		t.Logf("n%d was named %v after its death: %s", victim+1, named.Round(time.Millisecond), o.Reason)
		if !strings.Contains(o.Next, overview.RemedyStart) {
			t.Errorf("what to do: %s", o.Next)
		}
		if n := o.Nodes[victim]; n.Answered || n.Why == "" {
			t.Errorf("n%d: %+v", victim+1, n)
		}
		other := c.Nodes[(victim+1)%3].Addr
		c.Until("dead, says status too", func(context.Context) error {
			status, doctor := c.Run("status", "--endpoints", other), c.Run("doctor", "--endpoints", other)
			if status.Status != clustertest.ExitRefused || doctor.Status != clustertest.ExitRefused {
				return fmt.Errorf("status ends with %d, doctor with %d, while the verdict is error", status.Status, doctor.Status)
			}
			return nil
		})
		c.Until("among the events", func(ctx context.Context) error {
			o := next(ctx)
			if !slices.ContainsFunc(o.Events, func(e overview.Event) bool {
				return e.Kind == overview.EventNodeLost && e.Node == fmt.Sprintf("n%d", victim+1) && e.At.After(began)
			}) {
				return fmt.Errorf("%+v", o.Events)
			}
			return nil
		})
		c.Start(victim)
		c.Healthy()
		well()
		if !slices.ContainsFunc(newest.Overview.Events, func(e overview.Event) bool {
			return e.Kind == overview.EventNodeBack && e.Node == fmt.Sprintf("n%d", victim+1)
		}) {
			t.Errorf("that it is back is no event: %+v", newest.Overview.Events)
		}
		return named
	}
	for _, leader := range []bool{false, true} {
		if took := kill(leader); took > deadNamedMax {
			t.Errorf("it took %v, want %v at most", took, deadNamedMax)
		}
	}
}
