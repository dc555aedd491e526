package node

import (
	"fmt"
	"testing"

	"muster/raft"
	"muster/repl"
	"muster/repl/wire"
	"muster/shardmap"
)

// ordered gives an order to whichever node leads the meta group, until it is taken.
func ordered(t *testing.T, nodes []*runningNode, what string, command []byte) (a wire.OrderAnswer) {
	t.Helper()
	until(t, what, func() (err error) {
		leads, _ := led(t, nodes, 0)
		s := leads.client()
		defer s.Close()
		a, err = asked(s, wire.Order{Command: command})
		return err
	})
	return a
}

// has returns the view of a node's replica of a group, as its host has it.
func (r *runningNode) has(g raft.GroupID) (view repl.GroupView, found bool) {
	r.t.Helper()
	loop := r.node.running()
	if loop == nil {
		return view, false // it has just begun
	}
	if !loop.Ask(func(h *repl.Host) {
		for _, v := range h.View() {
			if v.Replica.Group == g {
				view, found = v, true
			}
		}
	}) {
		r.t.Fatal("the node has ended")
	}
	return view, found
}

// A group is made while the cluster runs, by two nodes of three, and removed, and made again,
// while the third is away. The one that was away has the first one's replica on its disk,
// where nobody feeds it any more: it gives that up, with all that is of it, and has
// the newest. One would doubt it because its own log takes it through all tables in
// between.
func TestGroupIsMadeAndRemoved(t *testing.T) {
	const group, groups = raft.GroupID(9), 2
	addrs := freeAddrs(t, 3)
	var configs []Config
	var nodes []*runningNode
	for i := range addrs {
		c := testConfig(t)
		c.Listen, c.Join, c.Expect, c.Groups = addrs[i], addrs, len(addrs), groups
		configs = append(configs, c)
		nodes = append(nodes, start(t, c, defaultLimits()))
	}
	create := command(t)(shardmap.AppendGroupCreate(nil, &shardmap.GroupCreate{Group: group}))
	remove := command(t)(shardmap.AppendGroupRemove(nil, &shardmap.GroupRemove{Group: group}))
	made := func(nodes []*runningNode, index uint64) {
		t.Helper()
		_, lead := led(t, nodes, group)
		for _, r := range nodes {
			until(t, "each node has the group, and has applied what its leader has", func() error {
				v, found := r.has(group)
				if !found || uint64(v.Replica.Incarnation) != index || v.Applied.Index < lead.Commit.Index {
					return fmt.Errorf("it has %+v", v.Replica)
				}
				return nil
			})
		}
	}
	gone := func(nodes []*runningNode) {
		t.Helper()
		for _, r := range nodes {
			until(t, "no node has the group", func() error {
				if v, found := r.has(group); found || r.node.running() == nil {
					return fmt.Errorf("it has %+v", v.Replica)
				}
				return nil
			})
		}
	}
	first := ordered(t, nodes, "the group is made", create).Index
	made(nodes, first)

	away, left := nodes[2], nodes[:2]
	away.stop()
	ordered(t, left, "the group is removed", remove)
	gone(left)
	second := ordered(t, left, "a group is made under its number", create).Index
	made(left, second)
	ordered(t, left, "that is removed too", remove)
	gone(left)
	third := ordered(t, left, "and made again", create).Index
	made(left, third)

	back := start(t, configs[2], defaultLimits())
	nodes[2] = back
	made(nodes, third)
	for _, r := range nodes {
		if buried := r.node.store.Tombstones(); len(buried) == 0 || buried[len(buried)-1].Group != group {
			t.Errorf("the log has no tombstone of the group: %v", buried)
		}
	}
	ordered(t, nodes, "the last one is removed", remove)
	gone(nodes)
	for i := range nodes {
		nodes[i].stop()
		nodes[i] = start(t, configs[i], defaultLimits())
	}
	gone(nodes)
}
