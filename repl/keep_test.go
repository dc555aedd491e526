package repl

import (
	"slices"
	"testing"
	"time"

	"muster/logstore"
	"muster/raft"
	"muster/repl/wire"
)

// What a committed membership says of a replica here, at every edge: one that it is wrongly
// taken to have removed is gone for good, with its vote.
func TestKeptAtTheEdges(t *testing.T) {
	here := logstore.Replica{Group: 1, Incarnation: 5, ID: 3}
	for _, c := range []struct {
		name string
		row  Kept
		goes bool
	}{
		{"it is a member", Kept{1, 5, []raft.ReplicaID{1, 2, 3}, 4}, false},
		{"it is the only one", Kept{1, 5, []raft.ReplicaID{3}, 9}, false},
		{"it was removed", Kept{1, 5, []raft.ReplicaID{1, 2}, 4}, true},
		{"it was removed, and others came", Kept{1, 5, []raft.ReplicaID{4, 5}, 6}, true},
		{"it was not allotted yet", Kept{1, 5, []raft.ReplicaID{1, 2}, 3}, false},
		{"none was", Kept{1, 5, nil, 0}, false},
		{"another incarnation", Kept{1, 6, []raft.ReplicaID{1, 2}, 9}, false},
		{"an earlier incarnation", Kept{1, 4, []raft.ReplicaID{1, 2}, 9}, false},
	} {
		if got := c.row.gone(here); got != c.goes {
			t.Errorf("%s: gone %t, want %t", c.name, got, c.goes)
		}
	}
}

// A replica was removed while its node was away, so nobody feeds it, and its own log never
// tells it. The table does. After that it is gone for good: rows of an earlier time, which a
// log brings back at each start, must neither bring it back nor take away the one
// after it.
func TestKeepRetires(t *testing.T) {
	c := written(t, 92, 4)
	n := c.nodes[2]
	old := n.replica().replica
	n.kill()
	m := c.changed(raft.Change{Remove: []raft.ReplicaID{old.ID}})
	n.start()
	before := Kept{Group: 1, Incarnation: 1, Replicas: []raft.ReplicaID{1, 2, 3}, Next: 4}
	n.host.Keep(KeptGroups{Rows: []Kept{before, {Group: 77, Incarnation: 1, Next: 9}}})
	n.turn()
	if n.replica() == nil {
		t.Fatal("a row of before its removal retires it")
	}
	now := Kept{Group: 1, Incarnation: 1, Replicas: m.Replicas(), Next: m.Next}
	now.Replicas = slices.DeleteFunc(now.Replicas, func(id raft.ReplicaID) bool { return id == old.ID }) // m is joint
	n.host.Keep(KeptGroups{Rows: []Kept{now}})
	n.turn()
	if n.replica() != nil || n.host.groups[0] == nil || n.host.groups[2] == nil {
		t.Fatalf("the replicas here are %v", n.host.groups)
	}
	n.history[1], n.only = nil, true

	m = c.changed(raft.Change{Add: []raft.NewMember{{Node: n.id, Goal: raft.GoalCopy}}})
	fresh := Placement{Replica: logstore.Replica{Group: 1, Incarnation: 1, ID: m.Next - 1}}
	n.host.Place([]Placement{fresh})
	n.turn()
	c.until("the new one has all", c.settled)
	for range 2 {
		for _, row := range []Kept{before, now, {Group: 1, Incarnation: 1, Replicas: m.Replicas(), Next: m.Next}} {
			n.host.Keep(KeptGroups{Rows: []Kept{row}})
		}
		n.place(1, 2) // the founder
		n.turn()
		if g := n.replica(); g == nil || g.replica != fresh.Replica {
			t.Fatalf("rows of all times leave %+v", g)
		}
		n.kill()
		n.start()
		n.turn()
	}
	c.until("all have all", c.settled)
	c.check()
}

// A replica of group 0 goes and comes like any other: the table that says so is in its own
// log, or came from another node.
func TestKeepRetiresGroup0(t *testing.T) {
	c := written(t, 93, 4)
	n := c.nodes[1]
	n.host.Keep(KeptGroups{Rows: []Kept{{Group: 0, Incarnation: 1, Replicas: []raft.ReplicaID{1, 3, 4}, Next: 5}}})
	n.turn()
	if n.host.groups[0] != nil || len(n.host.groups) != testGroups-1 {
		t.Fatalf("the replicas here are %v", n.host.groups)
	}
	n.host.Place([]Placement{{Replica: logstore.Replica{Group: 0, Incarnation: 1, ID: 5}}})
	n.turn()
	if g := n.host.groups[0]; g == nil || g.replica.ID != 5 || !g.members.Blank() {
		t.Fatalf("the next one is %+v", g)
	}
}

// A damaged replica that the group has removed need not be mended: it goes, whatever is lost
// and whatever is under way for it, and its node makes the one that takes its place.
func TestKeepRetiresDamaged(t *testing.T) {
	for _, lost := range []string{"entries", "promises"} {
		t.Run(lost, func(t *testing.T) {
			c := written(t, 94, 8)
			n := c.nodes[0]
			replica := n.replica().replica
			n.kill()
			if lost == "promises" {
				n.loseSegments()
			} else {
				n.rot(1, 3)
			}
			n.start()
			n.turn()
			m := n.mending(1)
			if m == nil || m.Runs || m.Damage.Promises != (lost == "promises") {
				t.Fatalf("it is not damaged: %+v", m)
			}
			var answer *wire.RepairAnswer
			var from raft.NodeID
			if lost == "entries" {
				c.until("an answer is on its way", func() bool {
					for _, p := range c.net {
						if a, ok := p.body.(*wire.RepairAnswer); ok && p.to == n.id && a.Group == 1 && len(a.Entries) > 0 {
							answer, from = a, p.from
						}
					}
					return answer != nil && n.batch == nil
				})
				n.host.ReceiveRepairAnswer(from, answer) // and its write is under way
			}
			n.host.Keep(KeptGroups{Rows: []Kept{{Group: 1, Incarnation: 1, Replicas: []raft.ReplicaID{2, 3}, Next: 5}}})
			fresh := logstore.Replica{Group: 1, Incarnation: 1, ID: 5}
			n.host.Place([]Placement{{Replica: replica}, {Replica: fresh}})
			n.turn()
			if answer != nil {
				n.host.ReceiveRepairAnswer(from, answer)
				n.turn()
			}
			for range 4 {
				n.sync()
			}
			if n.mending(1) != nil && lost == "entries" {
				t.Errorf("it is still mended: %+v", n.mending(1))
			}
			if !n.host.placing.buried(replica) {
				t.Error("it may come back")
			}
			n.only = true
			n.kill()
			n.start()
			n.turn()
			if !n.host.placing.buried(replica) {
				t.Error("after a restart it may come back")
			}
		})
	}
}

// A node that is to hold a replica and does not know of it is told by the group's leader, who
// speaks to it. Its owner hears of that once a second, and never of what is older than
// what is here, or was.
func TestUnmade(t *testing.T) {
	c := written(t, 95, 4)
	n := c.nodes[0]
	type call struct {
		from    raft.NodeID
		replica logstore.Replica
	}
	var calls []call
	n.host.cfg.Unmade = func(from raft.NodeID, r logstore.Replica) { calls = append(calls, call{from, r}) }
	turn := func() {
		c.now += time.Millisecond
		n.turn()
	}
	says := func(from raft.NodeID, g raft.GroupID, i raft.Incarnation, to raft.ReplicaID) {
		n.told(from, &wire.Envelope{Group: g, Incarnation: i, Message: raft.Message{Type: raft.MsgAppend, From: 2, To: to, Term: 99, Log: raft.LogID{Term: 98, Index: 999}}})
	}
	for _, old := range []struct {
		i  raft.Incarnation
		id raft.ReplicaID
	}{{1, 0}, {0, 9}} {
		says(2, 1, old.i, old.id)
	}
	says(9, 1, 1, 7) // a node that is no member
	turn()
	if len(calls) > 0 {
		t.Errorf("it is told of %v", calls)
	}
	newer := []call{
		{2, logstore.Replica{Group: 1, Incarnation: 1, ID: 7}}, // than the one here
		{3, logstore.Replica{Group: 1, Incarnation: 2, ID: 1}}, // of the group made anew
		{2, logstore.Replica{Group: 8, Incarnation: 1, ID: 1}}, // none is here
	}
	for _, o := range newer {
		says(o.from, o.replica.Group, o.replica.Incarnation, o.replica.ID)
		says(o.from, o.replica.Group, o.replica.Incarnation, o.replica.ID)
	}
	if len(calls) > 0 {
		t.Error("it is told outside of a turn")
	}
	turn()
	if !slices.Equal(calls, newer) {
		t.Errorf("it is told of %v, want %v", calls, newer)
	}
	says(3, 8, 1, 1)
	turn()
	if len(calls) != len(newer) {
		t.Errorf("it is told again within a second: %v", calls[len(newer):])
	}
	c.now += unmadePause
	turn()
	says(3, 8, 1, 1)
	turn()
	if len(calls) != len(newer)+1 {
		t.Errorf("a second later it was told %d times, want %d", len(calls), len(newer)+1)
	}

	old := n.replica().replica
	n.host.Retire(old)
	n.turn()
	calls = nil
	c.now += unmadePause
	turn()
	says(2, 1, 1, old.ID)
	says(2, 1, 1, old.ID+1)
	turn()
	if want := []call{{2, logstore.Replica{Group: 1, Incarnation: 1, ID: old.ID + 1}}}; !slices.Equal(calls, want) {
		t.Errorf("where one was retired it is told of %v, want %v", calls, want)
	}

	// Whoever makes up replicas costs no more than the limit.
	for i := range uint64(2 * unmadeMax) {
		says(2, raft.GroupID(100+i), 1, 1)
	}
	if got := len(n.host.unmade.told); got > unmadeMax {
		t.Errorf("it remembers %d replicas, the limit is %d", got, unmadeMax)
	}
	c.now += unmadePause
	turn()
	says(2, 50_000, 1, 1)
	if got := len(n.host.unmade.told); got != 1 {
		t.Errorf("when they are over it remembers %d, want 1", got)
	}
}

// In life: the leader speaks to the new replica, its node hears of it, and makes it.
func TestUnmadeIsMade(t *testing.T) {
	c := written(t, 96, 4)
	n := c.nodes[2]
	old := n.replica().replica
	c.changed(raft.Change{Remove: []raft.ReplicaID{old.ID}})
	n.host.Retire(old)
	n.turn()
	n.history[1], n.only = nil, true
	made := 0
	n.host.cfg.Unmade = func(from raft.NodeID, r logstore.Replica) {
		made++
		n.host.Place([]Placement{{Replica: r}})
	}
	m := c.changed(raft.Change{Add: []raft.NewMember{{Node: n.id, Goal: raft.GoalVoter}}})
	c.until("it has all", c.settled)
	if g := n.replica(); g.replica.ID != m.Next-1 || made != 1 {
		t.Errorf("made is %s, in %d calls", g.replica, made)
	}
	c.check()
}

// What the rows of all groups say of a replica here, at every edge: one that is wrongly taken
// for a removed group's is gone for good, and a group that loses a majority so is lost.
func TestKeptOnlyAtTheEdges(t *testing.T) {
	row := func(g raft.GroupID, i raft.Incarnation) Kept {
		return Kept{Group: g, Incarnation: i, Replicas: []raft.ReplicaID{1, 2, 3}, Next: 4}
	}
	for _, c := range []struct {
		name string
		rows []Kept
		at   uint64
		goes bool
	}{
		{"it has a row", []Kept{row(0, 1), row(1, 1), row(7, 5), row(9, 5)}, 9, false},
		{"it was removed", []Kept{row(0, 1), row(1, 1), row(9, 5)}, 9, true},
		{"it was removed by the next entry", []Kept{row(0, 1)}, 6, true},
		{"the table is of before it was made", []Kept{row(0, 1), row(1, 1)}, 4, false},
		{"there is no table yet", nil, 0, false},
		{"the row is of an earlier one", []Kept{row(0, 1), row(7, 3)}, 4, false},
		{"it was removed and made anew", []Kept{row(0, 1), row(7, 8)}, 8, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newCluster(t, 97, 3).nodes[0]
			n.host.Place([]Placement{{Replica: logstore.Replica{Group: 7, Incarnation: 5, ID: 2}}})
			n.turn()
			n.host.Keep(KeptGroups{Rows: c.rows, AllAt: c.at})
			n.turn()
			if gone := n.host.groups[7] == nil; gone != c.goes {
				t.Errorf("gone %t, want %t", gone, c.goes)
			}
			if n.host.groups[0] == nil {
				t.Error("its replica of group 0 is gone")
			}
		})
	}
}

// A group is removed while one of its nodes is away, and made anew under the same number.
// All that was of the first one goes, also from the node that comes back, and the second one
// begins empty. Tables of all times, as a log brings them back at a start, neither
// bring the first one back nor take away the second.
func TestGroupGoesAndComesAgain(t *testing.T) {
	c := newCluster(t, 98, 3)
	c.policy = SnapshotPolicy{BytesMin: 1}
	for _, n := range c.nodes {
		n.kill()
		n.start()
	}
	c.fillGroups(6)
	old := func(n *testNode) logstore.Replica {
		return logstore.Replica{Group: 2, Incarnation: 1, ID: raft.ReplicaID(n.id)}
	}
	c.until("all have snapshots of it", func() bool {
		return !slices.ContainsFunc(c.nodes, func(n *testNode) bool { return len(n.store.Snapshots(old(n))) == 0 })
	})
	away := c.nodes[1]
	away.kill()

	of := func(g raft.GroupID, i raft.Incarnation) Kept {
		return Kept{Group: g, Incarnation: i, Replicas: []raft.ReplicaID{1, 2, 3}, Next: 4}
	}
	first := []Kept{of(0, 1), of(1, 1), of(2, 1)}
	without := []Kept{of(0, 1), of(1, 1)}
	anew := []Kept{of(0, 1), of(1, 1), of(2, 30)}
	place := func(n *testNode) {
		p := Placement{Replica: logstore.Replica{Group: 2, Incarnation: 30, ID: raft.ReplicaID(n.id)}, Founders: raft.Membership{Next: 4}, Preferred: 1}
		for id := raft.ReplicaID(1); id < 4; id++ {
			p.Founders.Voters = append(p.Founders.Voters, raft.Member{Replica: id, Node: raft.NodeID(id), Goal: raft.GoalVoter})
		}
		n.host.Place([]Placement{p})
		n.turn()
	}
	replay := func(n *testNode) {
		n.host.Keep(KeptGroups{Rows: first, AllAt: 1})
		n.place(2, 3)
		n.turn()
		n.host.Keep(KeptGroups{Rows: without, AllAt: 20})
		n.turn()
		n.host.Keep(KeptGroups{Rows: anew, AllAt: 30})
		place(n)
	}
	gone := func(n *testNode) bool {
		n.sync()
		n.doWork()
		return n.batch == nil && n.host.placing.buried(old(n)) && len(n.store.Snapshots(old(n))) == 0 && !slices.Contains(n.store.Replicas(), old(n))
	}
	for _, n := range []*testNode{c.nodes[0], c.nodes[2]} {
		n.host.Keep(KeptGroups{Rows: without, AllAt: 20})
		n.turn()
		if n.host.groups[2] != nil || n.host.Machine(2) != nil {
			t.Fatalf("node %d still has it in memory", n.id)
		}
		c.until("it is gone from the disk", func() bool { return gone(n) })
		n.history[2] = nil
		place(n)
	}
	lead := func() *testNode { return c.leader(2) }
	c.until("the second one is led without the node that is away", func() bool { return lead() != nil })
	write := func(v uint64) {
		c.until("a write is acknowledged", func() bool {
			if n := lead(); n != nil && !c.acked[v] && !n.asked(2, v) {
				c.propose(n, 2, v)
			}
			return c.acked[v]
		})
	}
	write(1001)

	away.start() // with the first one, which its log has
	if away.host.groups[2] == nil {
		t.Fatal("the test shows nothing: the node that was away has lost it already")
	}
	away.turn()
	away.history[2] = nil
	replay(away)
	c.until("it is gone from there too", func() bool { return gone(away) })
	write(1002)
	c.until("all have all", c.settled)
	for range 2 {
		for _, n := range c.nodes {
			n.only = true
			n.kill()
			n.start()
			replay(n)
			if g := n.host.groups[2]; g == nil || g.replica.Incarnation != 30 {
				t.Fatalf("after tables of all times node %d has %+v", n.id, g)
			}
		}
		c.until("all have all again", c.settled)
	}
	c.check()
	if h := c.nodes[0].history[2]; !slices.Equal(h, []uint64{1001, 1002}) {
		t.Errorf("the second one has applied %v", h)
	}
}
