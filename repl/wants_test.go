package repl

import (
	"fmt"
	"slices"
	"testing"

	"muster/logstore/vfs"
	"muster/raft"
)

// founded brings all nodes back, and fails unless each group was founded before
// anything of a client's, and all have the same.
func (c *cluster) founded(write func(raft.GroupID)) {
	c.t.Helper()
	for _, n := range c.nodes {
		if n.host == nil {
			n.start()
		}
	}
	c.until("group 0 has a leader", func() bool { return c.leader(0) != nil })
	write(0)
	c.until("all nodes have all groups", c.settled)
	c.until("all groups are founded", func() bool {
		return !slices.ContainsFunc(c.nodes, func(n *testNode) bool {
			return len(n.history[1]) == 0 || len(n.history[2]) == 0
		})
	})
	c.until("all nodes have the same", c.settled)
	c.check()
	for g := raft.GroupID(1); g < testGroups; g++ {
		if h := c.nodes[0].history[g]; h[0] <= foundingValue {
			c.t.Errorf("group %d begins with %d", g, h[0])
		}
	}
}

// founding begins a cluster whose groups are still to be founded. write proposes as
// package node does: not before the table is there.
func founding(t *testing.T, seed uint64) (c *cluster, write func(raft.GroupID)) {
	c = newCluster(t, seed, 0)
	c.placed = true
	c.start(3)
	next := uint64(0)
	return c, func(g raft.GroupID) {
		if n := c.leader(g); n != nil && (g == 0 || len(n.history[0]) > 0) {
			next++
			c.propose(n, g, next)
		}
	}
}

// A group is founded by an entry of its own log, which whoever leads proposes as soon
// as it knows how. Power goes at any moment of it: the entry is there in the end, and
// nothing of a client's before it, though a node may find replicas on its disk before
// it knows again what group 0 says of them.
func TestGroupsAreFoundedFirst(t *testing.T) {
	for seed := range 300 {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			c, write := founding(t, uint64(seed))
			for range 400 {
				switch k := c.rnd.IntN(100); {
				case k < 5:
					write(0)
				case k < 20:
					write(raft.GroupID(1 + c.rnd.IntN(testGroups-1)))
				case k < 22:
					if n := c.nodes[c.rnd.IntN(3)]; n.host != nil {
						n.crash()
					}
				case k < 27:
					if n := c.nodes[c.rnd.IntN(3)]; n.host == nil {
						n.start()
					}
				default:
					for range 10 {
						c.step()
					}
				}
			}
			c.founded(write)
		})
	}
}

// Power goes at each operation of the disk from the first entry of group 0 until all
// groups are founded, on one node or on all, and what was not synced is dropped, kept
// or torn. Whatever is on disk then, the groups are founded in the end, once.
func TestCrashWhileFounding(t *testing.T) {
	points := 0
	for k := range 8 {
		mode, all := []vfs.CrashMode{vfs.DropUnsynced, vfs.KeepUnsynced, vfs.TearUnsynced, vfs.TearPages}[k%4], 1+k/4*2
		for at := 1; ; at++ {
			c, write := founding(t, uint64(at))
			struck := c.nodes[:all]
			for _, n := range struck {
				n.disk.StopAt(at)
			}
			for range 50_000 {
				if len(c.nodes[0].history[0]) == 0 && len(c.net) < 100 {
					write(0)
				}
				if struck[0].host == nil || len(struck[0].history[1]) > 0 && len(struck[0].history[2]) > 0 && struck[0].batch == nil {
					break
				}
				c.step()
			}
			done := struck[0].host != nil
			for _, n := range struck {
				n.disk.StopAt(0)
				n.host, n.store, n.batch, n.work, n.senders = nil, nil, nil, nil, nil
				n.disk.Crash(mode, c.rnd.Uint64())
			}
			c.founded(write)
			if done {
				if at < 10 {
					t.Fatalf("a founding took %d operations of the disk; the test shows nothing", at)
				}
				break
			}
			points++
		}
	}
	t.Logf("%d points", points)
}

// A node may lead a group before it knows again what group 0 says of it: its replica is
// on the disk, and group 0 has no leader yet. The leader founds the group when the
// table comes, and no other leadership has to begin for that.
func TestFoundedOnceTheTableComes(t *testing.T) {
	c, write := founding(t, 1)
	for _, n := range c.nodes {
		n.place(1, testGroups)
	}
	c.until("all groups are led", func() bool { return c.settled() && c.leader(1) != nil && c.leader(2) != nil })
	if c.foundings > 0 {
		t.Fatal("something was proposed, and nobody knows what")
	}
	terms := [testGroups]uint64{}
	for g := range terms {
		terms[g] = c.leader(raft.GroupID(g)).host.groups[raft.GroupID(g)].state.Term
	}
	c.founded(write)
	for g := raft.GroupID(1); g < testGroups; g++ {
		if got := c.leader(g).host.groups[g].state.Term; got != terms[g] {
			t.Errorf("group %d is in term %d, it was in %d", g, got, terms[g])
		}
	}
	if c.foundings != testGroups-1 {
		t.Errorf("%d commands were proposed for %d groups", c.foundings, testGroups-1)
	}
}

// What a machine wants, and disks have no room for, is asked for again until they have:
// nobody else would ask, though the group rests meanwhile.
func TestWantedAgainWhenThereIsRoom(t *testing.T) {
	for seed := range uint64(5) {
		c := newFullCluster(t, seed)
		for _, n := range c.nodes {
			n.disk.Limit(tightBytes)
		}
		for _, n := range c.nodes {
			c.fill(1, n)
		}
		for range 30 { // what is left besides the reserve may take a few
			c.ask(1, 0, 12000)
		}
		c.wanted = foundingValue
		for _, n := range c.nodes {
			n.place(1, testGroups) // by another table
			n.turn()
		}
		var lead *testNode
		c.until("the group rests", func() bool {
			lead = c.leader(1)
			return lead != nil && lead.host.groups[1].resting.quiet
		})
		if slices.Contains(lead.history[1], c.wanted) || !lead.host.groups[1].wants.due {
			t.Fatalf("the disks are full, and the log took what is wanted, or nobody waits to ask again")
		}
		for _, n := range c.nodes {
			n.disk.Limit(wideBytes)
		}
		c.until("what is wanted is applied", func() bool {
			return !slices.ContainsFunc(c.nodes, func(n *testNode) bool { return !slices.Contains(n.history[1], c.wanted) })
		})
	}
}
