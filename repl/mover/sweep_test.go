package mover

import (
	"testing"
	"time"

	"muster/raft"
	"muster/shardmap"
)

// A node that starts alone leads all of its groups at once. Its carrier looks through each of
// them once, however slow the node is, and asks for nothing that costs more for the slots that
// there are. One would doubt it: what is answered too late is asked for again, and a node of a
// thousand groups that has all of their slots to look at answers late.
func TestManyGroupsAreLookedThroughOnce(t *testing.T) {
	const groups = 1000
	const each = 20 * time.Millisecond // for an answer, one after the other: 20 s for all
	c := NewCarrier(1)
	c.Table(0, foundedTable(t, groups))
	for g := range raft.GroupID(groups) {
		c.Lead(g+1, 2)
	}
	looks := map[raft.GroupID]int{}
	now := time.Duration(0)
	asked, next := c.Turn(now)
	for next != never {
		if len(asked) == 0 {
			t.Fatalf("nothing is asked for until %s, after looks at %d groups", next, len(looks))
		}
		if len(asked) > sweepsMax {
			t.Fatalf("%d actions are under way, at most %d should be", len(asked), sweepsMax)
		}
		a := asked[0]
		if a.Kind != CarryDecisions {
			t.Fatalf("asked for a %s of group %s", a.Kind, a.Group)
		}
		if looks[a.Group]++; looks[a.Group] > 1 {
			t.Fatalf("group %s is looked through again, after %d of %d groups", a.Group, len(looks), groups)
		}
		now += each
		c.Decided(now, a.Number, nil)
		var more []CarryAction
		more, next = c.Turn(now)
		asked = append(asked[1:], more...)
	}
	if len(looks) != groups || len(asked) > 0 {
		t.Errorf("%d of %d groups were looked through, %d are still asked about", len(looks), groups, len(asked))
	}
}

// A look that fails is made again after a pause, and the others go on meanwhile.
func TestFailedLookIsMadeAgain(t *testing.T) {
	const groups = 2 * sweepsMax
	c := NewCarrier(1)
	c.Table(0, foundedTable(t, groups))
	for g := range raft.GroupID(groups) {
		c.Lead(g+1, 2)
	}
	const refuses = raft.GroupID(3)
	failed, looked := 0, map[raft.GroupID]bool{}
	now := time.Duration(0)
	for len(looked) < groups && now < time.Minute {
		actions, next := c.Turn(now)
		for _, a := range actions {
			switch {
			case a.Group != refuses || failed == farGiveUp && len(looked) == groups-1:
				looked[a.Group] = true
				c.Decided(now, a.Number, nil)
			case failed < farGiveUp:
				failed++
				c.Ended(now, a.Number, raft.ErrNotLeader)
			}
			// Else nobody answers, and its time runs out.
		}
		if len(actions) == 0 {
			now = next
		}
	}
	if failed < farGiveUp || len(looked) < groups {
		t.Errorf("%d groups were looked through, of %d; one after %d failures", len(looked), groups, failed)
	}
	if _, next := c.Turn(now); next != never {
		t.Errorf("there is more to do at %s, and it is %s", next, now)
	}
}

// A look that begins when its time has come leaves nothing to wake up for but its own end. One
// would doubt it: until then its time is what the carrier waits for.
func TestLookThatIsDueWakesOnce(t *testing.T) {
	c := NewCarrier(1)
	c.Table(0, foundedTable(t, 1))
	c.Lead(1, 2)
	looks := func(now time.Duration) {
		t.Helper()
		actions, next := c.Turn(now)
		if len(actions) != 1 || next <= now {
			t.Fatalf("at %s: %d actions, and there is more to do at %s", now, len(actions), next)
		}
		c.Decided(now, actions[0].Number, nil)
		c.Turn(now)
	}
	looks(0)
	s := c.sweeps[1]
	s.moved, c.sweepAt = true, s.at // as a move to the group has it
	if actions, next := c.Turn(s.at - 1); len(actions) > 0 || next != s.at {
		t.Fatalf("before its time: %d actions, and there is more to do at %s, want %s", len(actions), next, s.at)
	}
	looks(s.at)
}

// After a start of all nodes a data group may have a leader before group 0 has, and then the table is
// behind: it does not have the move that the group has decided about. If the move is closed in the table
// that comes, nothing there leads to the decision any more, so it is looked for again.
func TestDecisionAheadOfTheTable(t *testing.T) {
	c := NewCarrier(1)
	table := foundedTable(t, 2)
	c.Table(0, table)
	c.Lead(1, 2)
	decided := []shardmap.SlotDecision{{Slot: 7, Decision: shardmap.Decision{Number: table.Index + 5, Taken: true, Source: 2}}}
	views, looks := 0, 0
	for now := time.Duration(0); views == 0 && now < 3*sweepPause; {
		actions, next := c.Turn(now)
		for _, a := range actions {
			switch a.Kind {
			case CarryDecisions:
				looks++
				c.Decided(now, a.Number, decided)
				later := *table
				later.Index += 9
				c.Table(now, &later)
			case CarryView:
				views++
			}
		}
		if len(actions) == 0 {
			now = next
		}
	}
	if views == 0 {
		t.Errorf("after %d looks nobody sees to a decision about a move that is closed", looks)
	}
}

// foundedTable is the table of a new cluster of one node.
func foundedTable(t *testing.T, groups int) *shardmap.Table {
	t.Helper()
	f := shardmap.Found{Cluster: "w", ClusterID: 1, Level: shardmap.MovesLevel, ValueMax: 1 << 20, Groups: groups,
		Nodes: []shardmap.TableNode{{ID: 1, Name: "n1", Addr: "n1:1", Role: shardmap.NodeServer, Level: shardmap.MovesLevel}}}
	payload, err := shardmap.AppendFound(nil, &f)
	if err != nil {
		t.Fatal(err)
	}
	m := shardmap.NewTableMachine()
	if _, err := m.Apply(raft.LogID{Term: 1, Index: 1}, payload); err != nil {
		t.Fatal(err)
	}
	return m.Table()
}
