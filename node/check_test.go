package node

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"muster/raft"
	"muster/repl/wire"
)

// A check is about the groups that the asked node leads: it says something of each of them, of
// those that were asked for if some were, and of no other.
func TestCheckOfOneNode(t *testing.T) {
	r := serving(t, defaultLimits())
	cl := r.library()
	groups := func(q wire.Check) (ids []raft.GroupID) {
		t.Helper()
		a, err := cl.Check(t.Context(), r.addr, q)
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range a.Groups {
			ids = append(ids, g.Group)
			if g.Term == 0 || g.At == (raft.LogID{}) && g.Why == "" {
				t.Errorf("group %s: got %+v, which says neither where it was compared nor why not", g.Group, g)
			}
		}
		return ids
	}
	all := groups(wire.Check{})
	if len(all) < 2 || all[0] != 0 || !slices.IsSorted(all) {
		t.Errorf("all groups: got %v", all)
	}
	if got := groups(wire.Check{Groups: []raft.GroupID{1, 7777}}); !slices.Equal(got, []raft.GroupID{1}) {
		t.Errorf("groups 1 and 7777: got %v, want 1 alone", got)
	}
	_, err := cl.Check(t.Context(), r.addr, wire.Check{Groups: []raft.GroupID{10000}})
	if !errors.Is(err, &wire.Error{Code: wire.CodeBadRequest}) {
		t.Errorf("group 10000: got %v", err)
	}
	until(t, "what it compared is counted", func() error {
		groups(wire.Check{}) // the cluster may have been below the level before
		a, err := cl.Counters(t.Context(), r.addr)
		if err != nil {
			return err
		}
		for _, name := range []string{"audit: entries written", "audit: comparisons"} {
			if !slices.ContainsFunc(a.Rows, func(row wire.CounterRow) bool { return row.Name == name && row.In > 0 }) {
				return fmt.Errorf("no row %q in %+v", name, a.Rows)
			}
		}
		return nil
	})
}

// Each check costs every replica of a group an entry and a report. A node that is asked for many
// at once refuses those above its limit, and takes others when these are over.
func TestChecksAtOnce(t *testing.T) {
	var p comparing
	for range checksAtOnce {
		if !p.begin() {
			t.Fatal("no room below the limit")
		}
	}
	if p.begin() || p.underWay.Load() != checksAtOnce {
		t.Errorf("%d checks are under way, the limit is %d", p.underWay.Load(), checksAtOnce)
	}
	r := serving(t, defaultLimits())
	r.node.comparing.underWay.Store(checksAtOnce)
	c := r.client()
	defer c.Close()
	check := func() error {
		_, _, err := c.ask(wire.TypeCheck, 0, new(wire.Check).Append(nil))
		return err
	}
	err := check()
	if !errors.Is(err, &wire.Error{Code: wire.CodeBusy}) {
		t.Errorf("above the limit: got %v", err)
	}
	r.node.comparing.underWay.Store(0)
	for range 2 * checksAtOnce {
		if err := check(); err != nil {
			t.Fatal(err)
		}
	}
	if n := r.node.comparing.underWay.Load(); n != 0 {
		t.Errorf("%d checks are under way after the last one", n)
	}
}
