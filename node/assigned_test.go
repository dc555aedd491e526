package node

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/registry"
)

// A read of a service names the node that checks it: the one that does and, once that has gone,
// another one. Only the leader of the group knows, and only while it is sure that it leads. So any
// node passes the question on to it, and an answer that may be older names nobody.
func TestWhoChecksIsTold(t *testing.T) {
	t.Parallel()
	nodes, cl := cluster(t, 3, nil)
	ttl := &registry.Service{Name: "t", Type: registry.TypeTTL, Instances: []registry.Instance{{Settings: []registry.Setting{{Key: "id", Value: "a"}}}}}
	for _, s := range []*registry.Service{serviceOf(t, "s", newTarget(t)), ttl} {
		if _, err := cl.SetService(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	id := stands(t, cl, "s", "up").Instances[0].ID
	// checks waits until the node that is named is the one that has the check, and returns it.
	checks := func() (of *runningNode) {
		until(t, "the node is named that checks", func() error {
			item, err := cl.Service(t.Context(), "s", client.ReadOptions{})
			if err != nil {
				return err
			}
			named := item.Checkers[id]
			if len(item.Checkers) != 1 || named.Name == "" {
				return fmt.Errorf("named are %+v", item.Checkers)
			}
			for _, r := range nodes {
				k, _ := r.node.checking.counts(t.Context())
				switch self := r.node.self().Node; {
				case self == named.Node && k.Checks == 1 && named.Name == r.node.name:
					of = r
				case self == named.Node || k.Checks != 0:
					return fmt.Errorf("node %s has %d checks, and %+v is named", r.node.name, k.Checks, named)
				}
			}
			return nil
		})
		return of
	}
	first := checks()
	for _, o := range []client.ReadOptions{{Local: true}, {MaxStale: time.Minute}} {
		if item, err := cl.Service(t.Context(), "s", o); err != nil || item.Checkers != nil {
			t.Errorf("%+v: %+v, %v", o, item.Checkers, err)
		}
	}
	if item, err := cl.Service(t.Context(), "t", client.ReadOptions{}); err != nil || item.Checkers != nil {
		t.Errorf("for an instance that reports itself: %+v, %v", item.Checkers, err)
	}
	var e *wire.Error
	if item, err := cl.Service(t.Context(), "none", client.ReadOptions{}); !errors.As(err, &e) || e.Code != wire.CodeNotFound || item.Checkers != nil {
		t.Errorf("for a service that is not there: %+v, %v", item.Checkers, err)
	}

	lead, g := leaderOf(t, nodes, cl, "s")
	slot := shardmap.SlotOf([]byte("s"))
	for _, r := range nodes {
		c := r.client()
		for _, q := range []struct {
			mode  wire.ReadMode
			flags uint16
			named bool
		}{{wire.ReadLinearizable, wire.FlagForward, true}, {wire.ReadFollower, 0, r == lead}, {wire.ReadLocal, 0, false}} {
			body := (&wire.Services{Group: g, Mode: q.mode, Slots: []shardmap.SlotRange{{From: slot, To: slot}}, AfterSlot: slot, After: []byte("s"), Exact: true}).Append(nil)
			var a wire.ServicesAnswer
			h, answer, err := c.ask(wire.TypeServices, q.flags, body)
			if err != nil || h.Type != wire.TypeServicesAnswer || a.Read(answer) != nil || len(a.Rows) != 1 {
				t.Fatalf("mode %d, of node %s: %s, %v", q.mode, r.node.name, h.Type, err)
			}
			if len(a.Checkers) > 0 != q.named {
				t.Errorf("mode %d, of node %s, where %s leads: %+v", q.mode, r.node.name, lead.node.name, a.Checkers)
			}
		}
		c.Close()
	}

	first.stop()
	nodes = slices.DeleteFunc(nodes, func(r *runningNode) bool { return r == first })
	if second := checks(); second == first {
		t.Error("a node is named that is gone")
	}
}
