package node

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"muster/logstore"
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

// A group is made while the cluster runs, and removed by two nodes of three, and others are
// made and removed, while the third is away. The one that was away has the first one's
// replica on its disk, where nobody feeds it any more: it gives that up, with all that is of
// it, and has the newest. One would doubt it because its own log takes it through all
// tables in between. No group gets the number of one that was removed.
func TestGroupIsMadeAndRemoved(t *testing.T) {
	t.Parallel()
	const first, second, third, groups = raft.GroupID(9), raft.GroupID(10), raft.GroupID(3), 2
	addrs := freeAddrs(t, 3)
	var configs []Config
	var nodes []*runningNode
	for i := range addrs {
		c := testConfig(t)
		c.Listen, c.Join, c.Expect, c.Groups = addrs[i], addrs, len(addrs), groups
		configs = append(configs, c)
		nodes = append(nodes, start(t, c, defaultLimits()))
	}
	create := func(g raft.GroupID) []byte {
		return command(t)(shardmap.AppendGroupCreate(nil, &shardmap.GroupCreate{Group: g}))
	}
	remove := func(g raft.GroupID) []byte {
		return command(t)(shardmap.AppendGroupRemove(nil, &shardmap.GroupRemove{Group: g}))
	}
	made := func(nodes []*runningNode, group raft.GroupID, index uint64) {
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
	gone := func(nodes []*runningNode, group raft.GroupID) {
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
	made(nodes, first, ordered(t, nodes, "a group is made", create(first)).Index)

	away, left := nodes[2], nodes[:2]
	away.stop()
	ordered(t, left, "it is removed", remove(first))
	gone(left, first)
	made(left, second, ordered(t, left, "another one is made", create(second)).Index)
	ordered(t, left, "that is removed too", remove(second))
	gone(left, second)
	for _, g := range []raft.GroupID{first, second} {
		until(t, "its number is refused for another one", func() error {
			leads, _ := led(t, left, 0)
			s := leads.client()
			defer s.Close()
			_, err := asked(s, wire.Order{Command: create(g)})
			if refusal := (*wire.Error)(nil); !errors.As(err, &refusal) || refusal.Code != wire.CodeConflict || !strings.Contains(refusal.Next, "group create") {
				return fmt.Errorf("group %d is made again: %v", g, err)
			}
			return nil
		})
	}
	newest := ordered(t, left, "the next is made, under the lowest number", create(0)).Index
	made(left, third, newest)

	nodes[2] = start(t, configs[2], defaultLimits())
	made(nodes, third, newest)
	gone(nodes, first)
	for i, r := range nodes {
		buried := r.node.store.Tombstones()
		if !slices.ContainsFunc(buried, func(b logstore.Replica) bool { return b.Group == first }) {
			t.Errorf("node %d: the log has no tombstone of group %d: %v", i, first, buried)
		}
	}
	ordered(t, nodes, "the last one is removed", remove(third))
	gone(nodes, third)
	for i := range nodes {
		nodes[i].stop()
		nodes[i] = start(t, configs[i], defaultLimits())
	}
	gone(nodes, third)
}

// A group that is made while a server is down is given to the others, and has all its voters
// from its first entry on. One would doubt it: the table that lays it out knows only who is a
// member.
func TestGroupIsMadeOnNodesThatAreThere(t *testing.T) {
	t.Parallel()
	const count, replicas = 4, 3
	addrs := freeAddrs(t, count)
	var nodes []*runningNode
	for i := range addrs {
		c := testConfig(t)
		c.Listen, c.Join, c.Expect, c.Groups = addrs[i], addrs, len(addrs), 1
		nodes = append(nodes, start(t, c, defaultLimits()))
	}
	led(t, nodes, 0)
	gone := nodes[count-1].node.self().Node
	nodes[count-1].stop()
	nodes = nodes[:count-1]
	until(t, "the leader of the table has not heard of it for long", func() error {
		leads, _ := led(t, nodes, 0)
		loop := leads.node.running()
		var ago time.Duration
		loop.Ask(func(h *repl.Host) { ago, _ = h.Contacts().Heard(gone, loop.Now()) })
		if ago <= awayAfter {
			return fmt.Errorf("it heard of it %s ago", ago)
		}
		return nil
	})
	create := command(t)(shardmap.AppendGroupCreate(nil, &shardmap.GroupCreate{}))
	for range 2 {
		index, row := ordered(t, nodes, "a group is made", create).Index, shardmap.TableGroup{}
		until(t, "it is in the table", func() error {
			table := nodes[0].node.table.Load()
			if table == nil {
				return errors.New("n1 has no table yet: it may have no replica of group 0, and is given one later")
			}
			for _, g := range table.Groups {
				if uint64(g.Incarnation) == index {
					row = g
					return nil
				}
			}
			return fmt.Errorf("no group of incarnation %d", index)
		})
		led(t, nodes, row.ID)
		if len(row.Replicas) != replicas || slices.ContainsFunc(row.Replicas, func(r shardmap.TableReplica) bool { return r.Node == gone }) {
			t.Errorf("replicas of group %d are %+v; node %s is down, and %d others are there", row.ID, row.Replicas, gone, count-1)
		}
	}
}
