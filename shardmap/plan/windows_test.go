package plan

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"muster/raft"
	"muster/shardmap"
)

// windowsTable is one of so many nodes and groups of three voters: group g is on nodes g, g+1 and g+2, modulo
// the nodes, and prefers the first. Each of rows is a window, by the groups of its shards.
func windowsTable(nodes, groups int, rows ...[]raft.GroupID) *shardmap.Table {
	t := &shardmap.Table{Level: shardmap.Level}
	for n := range nodes {
		t.Nodes = append(t.Nodes, shardmap.TableNode{ID: raft.NodeID(n + 1), Role: shardmap.NodeServer})
	}
	for g := range groups {
		row := shardmap.TableGroup{ID: raft.GroupID(g + 1), Preferred: raft.NodeID(g%nodes + 1)}
		for r := range 3 {
			row.Replicas = append(row.Replicas, shardmap.TableReplica{Replica: raft.ReplicaID(r + 1), Node: raft.NodeID((g+r)%nodes + 1), Role: shardmap.ReplicaVoter})
		}
		t.Groups = append(t.Groups, row)
	}
	for i, groups := range rows {
		t.Catalog.Windows = append(t.Catalog.Windows, shardmap.Window{ID: shardmap.WindowID(i + 1), Shards: groups})
	}
	return t
}

// Where new windows go decides where writes go for days. Each row is one that a person can check by hand.
func TestWindows(t *testing.T) {
	is := func(h Health, nodes ...raft.NodeID) *Known {
		k := &Known{Nodes: map[raft.NodeID]Node{}}
		for _, n := range nodes {
			k.Nodes[n] = Node{Health: h}
		}
		return k
	}
	drained := windowsTable(5, 5)
	drained.Nodes[0].Draining = true
	client := windowsTable(5, 5)
	client.Nodes[0].Role = shardmap.NodeClient
	for _, c := range []struct {
		name   string
		table  *shardmap.Table
		known  *Known
		shards uint32
		want   []raft.GroupID
	}{
		{"as many as there are groups", windowsTable(3, 3), &Known{}, 0, []raft.GroupID{1, 2, 3}},
		{"one", windowsTable(3, 3), &Known{}, 1, []raft.GroupID{1}},
		{"the group with the fewest", windowsTable(3, 3, []raft.GroupID{1, 2}, []raft.GroupID{1}), &Known{}, 2, []raft.GroupID{3, 2}},
		{"twice only when each has one", windowsTable(3, 3, []raft.GroupID{1, 1, 1, 2, 2}), &Known{}, 7, []raft.GroupID{3, 2, 1, 3, 2, 1, 3}},
		{"over leaders", windowsTable(3, 6), &Known{}, 3, []raft.GroupID{1, 2, 3}},
		{"over the leaders of now", windowsTable(3, 6), &Known{Groups: map[raft.GroupID]Group{2: {Leader: 1}, 3: {Leader: 1}}}, 3, []raft.GroupID{1, 5, 6}},
		{"not where a node is dead", windowsTable(5, 5), is(Dead, 1), 0, []raft.GroupID{2, 3}},
		{"not where a node is silent", windowsTable(5, 5), is(Silent, 3), 0, []raft.GroupID{4, 5}},
		{"not where one is drained", drained, &Known{}, 0, []raft.GroupID{2, 3}},
		{"not where one is to be", windowsTable(5, 5), &Known{Nodes: map[raft.NodeID]Node{1: {Draining: true}}}, 0, []raft.GroupID{2, 3}},
		{"not where one has become a client", client, &Known{}, 0, []raft.GroupID{2, 3}},
		{"a majority is enough, where there is no better one", windowsTable(3, 3), is(Dead, 2), 0, []raft.GroupID{1, 2, 3}},
		{"without a majority none", windowsTable(3, 3), is(Dead, 1, 2), 0, nil},
		{"at most as many as a window may have", windowsTable(3, 1), &Known{}, 1000, slices.Repeat([]raft.GroupID{1}, shardmap.WindowShardsMax)},
		{"no groups", windowsTable(3, 0), &Known{}, 3, nil},
	} {
		if got := Windows(c.table, c.known, c.shards); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	if got := Windows(windowsTable(9, 40), &Known{}, 0); len(got) != shardmap.WindowShardsDefault {
		t.Errorf("of 40 groups %d are taken, want %d", len(got), shardmap.WindowShardsDefault)
	}
}

// Successive windows give no group two shards more than another of equal standing, whichever nodes are alive, and a new
// group gets shards first.
func TestWindowsAreEven(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		table := windowsTable(3+rnd.IntN(4), 1+rnd.IntN(9))
		for range 12 {
			groups := Windows(table, &Known{}, uint32(rnd.IntN(12)))
			table.Catalog.Windows = append(table.Catalog.Windows, shardmap.Window{Shards: groups})
			held := map[raft.GroupID]int{}
			for _, w := range table.Catalog.Windows {
				for _, g := range w.Shards {
					held[g]++
				}
			}
			least, most := 1<<30, 0
			for i := range table.Groups {
				least, most = min(least, held[table.Groups[i].ID]), max(most, held[table.Groups[i].ID])
			}
			if most-least > 1 {
				t.Fatalf("seed %d: groups have %s shards", seed, fmt.Sprint(held))
			}
		}
	}
}
