package node

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"muster/logstore"
	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// Where nobody can say which replica is right, a group has no leader, so none can tell of it: each
// node says what it has, and a person decides, once for each group. From then on the group has what
// that node has, and serves; the word is for the groups that were named, and does nothing to one that
// needs none.
func TestPersonDecides(t *testing.T) {
	const n = 3
	addrs := freeAddrs(t, n)
	configs, nodes := make([]Config, n), make([]*runningNode, n)
	for i := range nodes {
		configs[i] = testConfig(t)
		configs[i].Listen, configs[i].Join, configs[i].Expect, configs[i].Groups = addrs[i], addrs, n, 2
		nodes[i] = start(t, configs[i], defaultLimits())
	}
	well := func() error {
		for _, r := range nodes {
			if a, err := r.status(); err != nil || !a.Healthy {
				return fmt.Errorf("%s: %v, %v", r.addr, a.Problems, err)
			}
		}
		return nil
	}
	until(t, "the cluster is whole", well)
	for _, r := range nodes {
		r.stop()
	}
	kept := make([][]string, n)
	for i := range nodes {
		kept[i] = noteFences(t, configs[i].Data, logstore.Fence{Found: logstore.FenceUndecided}, 0, 1)
		nodes[i] = start(t, configs[i], defaultLimits())
	}
	led(t, nodes, 2)
	check := func(r *runningNode, q wire.Check) []wire.CheckedGroup {
		t.Helper()
		a, err := r.library().Check(t.Context(), r.addr, q)
		if err != nil {
			t.Fatal(err)
		}
		return a.Groups
	}
	for _, r := range nodes {
		until(t, "each node tells of its replicas", func() error {
			var rows []wire.CheckedGroup
			for _, g := range check(r, wire.Check{}) {
				if g.Term == 0 {
					rows = append(rows, g)
				}
			}
			if len(rows) != 2 {
				return fmt.Errorf("%+v", rows)
			}
			for i, g := range rows {
				if g.Group != raft.GroupID(i) || g.At.Index != 0 || len(g.Replicas) != 1 || g.Replicas[0].Node != r.node.self().Node || g.Replicas[0].State != wire.CheckedUndecided ||
					!slices.Equal(g.Replicas[0].Parts, []uint32{12, 77}) || !strings.Contains(g.Why, fmt.Sprintf("found at g%d/1.2", i)) {
					t.Errorf("got %+v", g)
				}
			}
			return nil
		})
		if g := check(r, wire.Check{Groups: []raft.GroupID{1}}); len(g) != 1 || g[0].Group != 1 {
			t.Errorf("of group 1: got %+v", g)
		}
	}
	for i, r := range nodes {
		tellsOfFences(t, r, kept[i])
	}
	_, err := nodes[1].library().Check(t.Context(), nodes[1].addr, wire.Check{Trust: true})
	refused(t, "trust in no group", err, wire.CodeBadRequest, "groups")
	for _, g := range []raft.GroupID{0, 1} {
		rows := check(nodes[1], wire.Check{Groups: []raft.GroupID{g, 2}, Trust: true})
		if len(rows) != 2 || rows[0].Group != g || rows[0].Why != "" || rows[1].Group != 2 || !strings.Contains(rows[1].Why, "does not wait") {
			t.Fatalf("got %+v", rows)
		}
		if leads, _ := led(t, nodes, g); leads != nodes[1] {
			t.Errorf("group %d is led by %s, trusted is %s", g, leads.node.name, nodes[1].node.name)
		}
	}
	until(t, "all replicas are whole", func() error {
		var left []wire.CheckedGroup
		for _, r := range nodes {
			left = append(left, slices.DeleteFunc(check(r, wire.Check{Act: true}), func(g wire.CheckedGroup) bool {
				return g.At.Index > 0 && !slices.ContainsFunc(g.Replicas, func(p wire.CheckedReplica) bool { return p.State != wire.CheckedAgrees })
			})...)
		}
		if len(left) > 0 {
			return fmt.Errorf("%+v", left)
		}
		return nil
	})
	until(t, "the cluster is whole again", well)
	for i, r := range nodes {
		until(t, "the doctor names what was kept, until a person has seen it", func() error {
			if list := r.finds(); len(list) < 2 || !strings.Contains(list[len(list)-2], kept[i][0]) || !strings.Contains(list[len(list)-1], kept[i][1]) {
				return fmt.Errorf("%q", list)
			}
			return nil
		})
	}
	leads, _ := led(t, nodes, 0)
	if _, err := asked(leads.client(), wire.Order{Command: command(t)(shardmap.AppendAcknowledge(nil, &shardmap.Acknowledge{}))}); err != nil {
		t.Fatal(err)
	}
	until(t, "it has been seen", func() error {
		if list := nodes[0].finds(); len(list) != 0 {
			return fmt.Errorf("%q", list)
		}
		return nil
	})
}

// tellsOfFences checks that a node tells of its replicas of groups 0 and 1, which the table can't have as
// long as group 0 has no leader, with what to do about them and where their states are kept.
func tellsOfFences(t *testing.T, r *runningNode, kept []string) {
	t.Helper()
	var told []string
	until(t, "status tells of them", func() error {
		a, err := r.status()
		told = nil
		elections := true
		for _, p := range a.Problems {
			elections = elections && !strings.Contains(p.What, "no election ends that")
			if strings.Contains(p.What, "holds something else") {
				told = append(told, p.What+" -> "+p.Remedy)
			}
		}
		if err == nil && (len(told) == 0 || elections) {
			err = fmt.Errorf("problems %v", a.Problems)
		}
		return err
	})
	found := r.finds()
	for g, file := range kept {
		what := fmt.Sprintf("group %d holds something else on node %s (%s) than on another, found at g%d/1.2, in slot 12, slot 77: two slots differ, and nobody can say which of the replicas are right, "+
			"so this one serves nothing; it waits for another state, and the cluster's table does not have this incident yet -> muster check --group %d shows", g, r.node.name, r.addr, g, g)
		if len(told) != 2 || !strings.HasPrefix(told[g], what) {
			t.Errorf("status tells %q, want %q", told, what)
		}
		if !slices.ContainsFunc(found, func(f string) bool { return strings.HasPrefix(f, what) }) ||
			!slices.ContainsFunc(found, func(f string) bool {
				return strings.HasPrefix(f, fmt.Sprintf("what group %d held on %s", g, r.node.name)) && strings.Contains(f, "is kept there in "+file+" -> copy it")
			}) {
			t.Errorf("the doctor finds %q, want %q and %q", found, what, file)
		}
	}
}
