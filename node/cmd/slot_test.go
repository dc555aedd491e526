package cmd

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/plan"
)

// slotTable is a table of two groups with half of the slots each, of which some move to a
// third.
func slotTable(moves ...shardmap.Move) *shardmap.Table {
	t := tableOf(20, "n1")
	t.Groups = []shardmap.TableGroup{{ID: 1}, {ID: 2}, {ID: 3}}
	for s := range t.Slots {
		t.Slots[s] = raft.GroupID(1 + s/(shardmap.Slots/2))
	}
	t.Moves = moves
	return t
}

// everySlot are views of all slots, each with so many keys and bytes, from its owner.
func everySlot(keys, bytes uint64) *slotViews {
	v := new(slotViews)
	for s := range v.of {
		v.note(&shardmap.SlotView{Slot: shardmap.Slot(s), Holding: shardmap.HoldsOwned, Keys: keys, Bytes: bytes})
	}
	return v
}

// A row is a run of slots that have one owner and, where they move, one target. One whose
// move is over, though not closed, is stable. What nobody has told is left out, and not
// taken for nothing.
func TestSlotRows(t *testing.T) {
	table := slotTable(
		shardmap.Move{SlotRange: shardmap.SlotRange{From: 10, To: 11}, Number: 9, From: 1, To: 3, State: shardmap.MoveOpen},
		shardmap.Move{SlotRange: shardmap.SlotRange{From: 12, To: 12}, Number: 9, From: 1, To: 2, State: shardmap.MoveOpen},
		shardmap.Move{SlotRange: shardmap.SlotRange{From: 3000, To: 3000}, Number: 8, From: 1, To: 2, State: shardmap.MoveTaken})
	views := everySlot(2, 30)
	views.of[4095] = nil
	got, err := json.Marshal(slotRows(table, views))
	want := `[{"from":0,"to":9,"group":1,"state":"stable","keys":20,"bytes":300},` +
		`{"from":10,"to":11,"group":1,"state":"moving","target":3,"keys":4,"bytes":60},` +
		`{"from":12,"to":12,"group":1,"state":"moving","target":2,"keys":2,"bytes":30},` +
		`{"from":13,"to":2047,"group":1,"state":"stable","keys":4070,"bytes":61050},` +
		`{"from":2048,"to":4094,"group":2,"state":"stable","keys":4094,"bytes":61410},` +
		`{"from":4095,"to":4095,"group":2,"state":"stable"}]`
	if err != nil || string(got) != want {
		t.Errorf("got  %s, %v\nwant %s", got, err, want)
	}
}

// A slot that moves is told of by two groups: whoever serves it knows what is in it. Both
// are asked, and each for no slot twice.
func TestSlotViewsOfTwoGroups(t *testing.T) {
	table := slotTable(shardmap.Move{SlotRange: shardmap.SlotRange{From: 10, To: 11}, From: 1, To: 2, State: shardmap.MoveOpen})
	groups, slots := askedOf(table, []shardmap.SlotRange{{From: 9, To: 12}})
	want := map[raft.GroupID][]shardmap.Slot{1: {9, 10, 11, 12}, 2: {10, 11}}
	if !reflect.DeepEqual(groups, []raft.GroupID{1, 2}) || !reflect.DeepEqual(slots, want) {
		t.Errorf("got %v, %v; want %v", groups, slots, want)
	}
	owned := shardmap.SlotView{Slot: 10, Holding: shardmap.HoldsOwned, Keys: 5}
	sealed := shardmap.SlotView{Slot: 10, Holding: shardmap.HoldsSealed, Keys: 4}
	for _, told := range [][]shardmap.SlotView{{owned, sealed}, {sealed, owned}, {owned, {Slot: 10}}, {{Slot: 10}, owned}} {
		v := new(slotViews)
		for i := range told {
			v.note(&told[i])
		}
		if got := v.of[10]; got == nil || got.Keys != 5 {
			t.Errorf("%+v: got %+v", told, got)
		}
	}
}

// An assignment is refused before anything is changed if there is something in one of the
// slots, which is named, with what to do instead. What is in a slot that the group has
// already does not count.
func TestFilledSlots(t *testing.T) {
	table, views := slotTable(), everySlot(0, 0)
	run := shardmap.SlotRange{From: 2040, To: 2050}
	if e := filledSlots(table, views, run, 3); e != nil {
		t.Errorf("all are empty, and it is refused: %v", e)
	}
	views.of[2049] = &shardmap.SlotView{Slot: 2049, Holding: shardmap.HoldsOwned, Keys: 7, Bytes: 90}
	if e := filledSlots(table, views, run, 2); e != nil {
		t.Errorf("slot 2049 stays, and it is refused: %v", e)
	}
	views.of[2050] = &shardmap.SlotView{Slot: 2050, Holding: shardmap.HoldsSealed, Keys: 1, Bytes: 9}
	e := filledSlots(table, views, run, 3)
	want := "conflict: slot 2049: refused, nothing was changed (it has 7 keys, and 1 more have some); move slots with what is in them: muster slot move 2040-2050 3"
	if e == nil || e.Error() != want || exitStatus(e.Code.ExitStatus()) != exitConflict || e.Code != wire.CodeConflict {
		t.Errorf("got  %v\nwant %s", e, want)
	}
}

// The plan of a rebalance says how much moves, and what groups and nodes hold before and
// after; a node holds what the groups do that have a voter there, and nothing of a learner.
func TestRebalanceShown(t *testing.T) {
	table := slotTable()
	table.Nodes[0].Weight = 100
	table.Nodes = append(table.Nodes, shardmap.TableNode{ID: 2, Name: "n2\x1b[2J", Weight: 50})
	voter := func(n raft.NodeID) shardmap.TableReplica {
		return shardmap.TableReplica{Replica: 1, Node: n, Role: shardmap.ReplicaVoter}
	}
	table.Groups[0].Replicas = []shardmap.TableReplica{voter(1), voter(2)}
	table.Groups[1].Replicas = []shardmap.TableReplica{voter(1), {Replica: 2, Node: 2, Role: shardmap.ReplicaLearner}}
	table.Groups[2].Replicas = []shardmap.TableReplica{voter(2)}
	views := everySlot(2, 1<<10)
	targets := []shardmap.SlotTarget{
		{SlotRange: shardmap.SlotRange{From: 0, To: 1023}, From: 1, To: 3},
		{SlotRange: shardmap.SlotRange{From: 2048, To: 2048}, From: 2, To: 3},
	}
	want := []string{
		"1025 of 4096 slots move, with 2050 keys and 1.0 MiB",
		"GROUP  SLOTS  AFTER  BYTES    AFTER       NODES",
		`1      2048   1024   2.0 MiB  1.0 MiB     n1,n2\x1b[2J`,
		"2      2048   2047   2.0 MiB  2.0 MiB     n1",
		`3      0      1025   0 bytes  1.0 MiB     n2\x1b[2J`,
		"NODE        WEIGHT  SLOTS  AFTER  BYTES    AFTER",
		"n1          100     4096   3071   4.0 MiB  3.0 MiB",
		`n2\x1b[2J   50      2048   2049   2.0 MiB  2.0 MiB`,
		"slots 0-1023: from group 1 to group 3",
		"slot 2048: from group 2 to group 3",
	}
	got := rebalanceShown(table, views, targets)
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || strings.Join(strings.Fields(got[i]), " ") != strings.Join(strings.Fields(want[i]), " ") {
			t.Fatalf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	// What other jobs move is where they take it, in what is shown as in the plan.
	busy := *table
	busy.Jobs = []shardmap.Job{{ID: 9, Kind: shardmap.JobMove, Targets: []shardmap.SlotTarget{{SlotRange: shardmap.SlotRange{From: 2049, To: 4095}, From: 2, To: 1}}}}
	got = rebalanceShown(&busy, views, targets)
	for _, want := range []string{
		"moves of 2047 slots are under way already, by other jobs, and counted as done",
		`1 2048 3071 2.0 MiB 3.0 MiB n1,n2\x1b[2J`,
		"2 2048 0 2.0 MiB 0 bytes n1",
	} {
		if !slices.ContainsFunc(got, func(line string) bool { return strings.Join(strings.Fields(line), " ") == want }) {
			t.Errorf("no line %q in\n%s", want, strings.Join(got, "\n"))
		}
	}
	many := make([]shardmap.SlotTarget, stepsShown+3)
	for i := range many {
		many[i] = shardmap.SlotTarget{SlotRange: shardmap.SlotRange{From: shardmap.Slot(2 * i), To: shardmap.Slot(2 * i)}, From: 1, To: 3}
	}
	if got := rebalanceShown(table, views, many); got[len(got)-1] != "and 3 more runs of slots" {
		t.Errorf("a long plan ends with %q", got[len(got)-1])
	}
}

// A plan that would not know what a group holds is refused, with the status of the reason;
// and one that moves nothing says why it does not.
func TestRebalanceWithoutPlan(t *testing.T) {
	level := &wire.Error{Code: wire.CodeLevel, Object: "view of slots", Text: "above the cluster's level", Next: "upgrade all nodes first"}
	for _, c := range []struct {
		silent []silentGroup
		want   string
	}{
		{[]silentGroup{{2, level}}, "and that of group 2 is not known: level: view of slots: above the cluster's level; upgrade all nodes first"},
		{[]silentGroup{{0, level}}, "by how much is in the slots, and that is not known: level: "},
		{[]silentGroup{{2, level}, {3, errNotYet}}, "and that of group 2 is not known, nor that of 1 more: level: "},
	} {
		if err := notCounted(c.silent); !strings.Contains(err.Error(), c.want) || statusOf(err) != exitRefused {
			t.Errorf("got %v, status %d; want %q, status %d", err, statusOf(err), c.want, exitRefused)
		}
	}
	table := slotTable()
	voters := func(nodes ...raft.NodeID) (list []shardmap.TableReplica) {
		for i, n := range nodes {
			list = append(list, shardmap.TableReplica{Replica: raft.ReplicaID(i + 1), Node: n, Role: shardmap.ReplicaVoter})
		}
		return list
	}
	for i := range table.Groups {
		table.Groups[i].Replicas = voters(1, 2)
	}
	table.Nodes = []shardmap.TableNode{{ID: 1, Weight: 100}, {ID: 2}}
	p := plan.Slots(table, nil, plan.SlotSettings{})
	if why := whyBalanced(&p); len(p.Targets) > 0 || !strings.Contains(why, "each group has a voter on a node of weight 0") || !strings.Contains(why, "muster node weight") {
		t.Errorf("each group has a node without weight: %d runs move, %s", len(p.Targets), why)
	}
	alone := *table
	alone.Groups = table.Groups[:1]
	if p := plan.Slots(&alone, nil, plan.SlotSettings{}); !strings.Contains(whyBalanced(&p), "muster group create makes another") {
		t.Errorf("one group: %s", whyBalanced(&p))
	}
}
