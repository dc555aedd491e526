package shardmap

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"muster/raft"
)

// movingTable is the table of testTable with a group 10 that owns nothing, and job 7, which
// moves slots 0 to 9 of group 1 there; of these 0 to 4 are on their way, by entry 8.
func movingTable(t *testing.T) *Table { return movingMachine(t).Table() }

func movingMachine(t *testing.T) *TableMachine {
	t.Helper()
	m := testTable(t)
	for i, b := range [][]byte{
		first(AppendGroupCreate(nil, &GroupCreate{})),
		first(AppendNewJob(nil, &NewJob{Kind: JobMove, Targets: []SlotTarget{{SlotRange{0, 9}, 0, 10}}})),
		first(AppendMoveBegin(nil, &MoveBegin{Job: 7, Slots: []SlotRange{{0, 4}}, To: 10})),
	} {
		applyTable(t, m, uint64(6+i), b, nil)
	}
	return m
}

// A slot that moves goes through its states once, and is decided on alone: a step that
// comes late, twice or for some slots of a run only must not touch the others.
func TestMoveOfSlots(t *testing.T) {
	table := movingTable(t)
	j, _ := table.Job(7)
	if want := []SlotTarget{{SlotRange{0, 9}, 1, 10}}; !slices.Equal(j.Targets, want) || j.Total != 10 || j.Unit() != "slots" {
		t.Fatalf("the job has the targets %v, want %v, and %d %s", j.Targets, want, j.Total, j.Unit())
	}
	show := func(table *Table) string {
		var text []string
		for _, m := range table.Moves {
			s := fmt.Sprintf("%s of %d %s", m.SlotRange, m.Number, m.State)
			if m.Cancelled {
				s += " cancelled"
			}
			text = append(text, s)
		}
		j, _ := table.Job(7)
		text = append(text, fmt.Sprintf("job %s", j.standing()))
		if len(j.Kept) > 0 {
			text = append(text, "kept "+describeList(j.Kept))
		}
		return fmt.Sprintf("%s; slot 2 of %s", strings.Join(text, ", "), table.Slots[2])
	}
	at := func(from, to Slot, number uint64) NumberedRange { return NumberedRange{SlotRange{from, to}, number} }
	for _, step := range []struct {
		what    string
		b       []byte
		want    string
		changed bool
	}{
		{"recorded", first(AppendMoveRecord(nil, &MoveRecord{[]NumberedRange{at(2, 3, 8)}})),
			"0-1 of 8 open, 2-3 of 8 taken, 4-4 of 8 open, job running; slot 2 of g10", true},
		{"again, with a slot more", first(AppendMoveRecord(nil, &MoveRecord{[]NumberedRange{at(1, 3, 8)}})),
			"0-0 of 8 open, 1-3 of 8 taken, 4-4 of 8 open, job running; slot 2 of g10", true},
		{"again", first(AppendMoveRecord(nil, &MoveRecord{[]NumberedRange{at(1, 3, 8)}})),
			"0-0 of 8 open, 1-3 of 8 taken, 4-4 of 8 open, job running; slot 2 of g10", false},
		{"of another number", first(AppendMoveRecord(nil, &MoveRecord{[]NumberedRange{at(0, 9, 7)}})),
			"0-0 of 8 open, 1-3 of 8 taken, 4-4 of 8 open, job running; slot 2 of g10", false},
		{"closed as refused, which it is not", first(AppendMoveClose(nil, &MoveClose{[]MoveEnd{{at(1, 3, 8), false, ClosedCancelled}}})),
			"0-0 of 8 open, 1-3 of 8 taken, 4-4 of 8 open, job running; slot 2 of g10", false},
		{"closed before it is recorded", first(AppendMoveClose(nil, &MoveClose{[]MoveEnd{{at(0, 0, 8), true, ClosedTaken}}})),
			"0-0 of 8 open, 1-3 of 8 taken, 4-4 of 8 open, job running; slot 2 of g10", false},
		{"closed", first(AppendMoveClose(nil, &MoveClose{[]MoveEnd{{at(1, 2, 8), true, ClosedTaken}}})),
			"0-0 of 8 open, 3-3 of 8 taken, 4-4 of 8 open, job running; slot 2 of g10", true},
		{"recorded late", first(AppendMoveRecord(nil, &MoveRecord{[]NumberedRange{at(1, 2, 8)}})),
			"0-0 of 8 open, 3-3 of 8 taken, 4-4 of 8 open, job running; slot 2 of g10", false},
		{"closed as not empty", first(AppendMoveClose(nil, &MoveClose{[]MoveEnd{{at(4, 4, 8), false, ClosedNotEmpty}}})),
			"0-0 of 8 open, 3-3 of 8 taken, job running, kept 4-4; slot 2 of g10", true},
		{"the job cancelled", first(AppendJobState(nil, &SetJobState{7, JobCancelled, "no"})),
			"0-0 of 8 open cancelled, 3-3 of 8 taken, job being cancelled, kept 4-4; slot 2 of g10", true},
		{"again", first(AppendJobState(nil, &SetJobState{7, JobCancelled, "no"})),
			"0-0 of 8 open cancelled, 3-3 of 8 taken, job being cancelled, kept 4-4; slot 2 of g10", false},
		{"taken all the same", first(AppendMoveRecord(nil, &MoveRecord{[]NumberedRange{at(0, 0, 8)}})),
			"0-0 of 8 taken cancelled, 3-3 of 8 taken, job being cancelled, kept 4-4; slot 2 of g10", true},
		{"the last closed", first(AppendMoveClose(nil, &MoveClose{[]MoveEnd{{at(0, 3, 8), true, ClosedTaken}}})),
			"job being cancelled, kept 4-4; slot 2 of g10", true},
		{"the job cancelled, and ended", first(AppendJobState(nil, &SetJobState{7, JobCancelled, "no"})),
			"job cancelled; slot 2 of g10", true},
	} {
		made := allowed(t, table, step.b, nil)
		if got := show(made); got != step.want || (made != table) != step.changed {
			t.Fatalf("%s: got %s, another table: %t; want %s, %t", step.what, got, made != table, step.want, step.changed)
		}
		back, err := ReadTable(made.AppendTo(nil))
		if err != nil || !reflect.DeepEqual(back, made) {
			t.Fatalf("%s: through its bytes it becomes another one, %v: %s", step.what, err, unlike(back, made))
		}
		table = made
	}
	if got := (&Table{Slots: table.Slots}).Ranges()[:3]; got[0] != (OwnedRange{SlotRange{0, 3}, 10}) || got[1].Group != 1 {
		t.Errorf("the slots are %v", got)
	}
	if j, _ := table.Job(7); len(j.Targets)+len(j.Kept) > 0 || j.Cancelled {
		t.Errorf("the job that has ended has %+v", j)
	}
}

// A slot has at most one open move; one that is recorded is not open any more.
func TestOpenMoves(t *testing.T) {
	table := allowed(t, movingTable(t), first(AppendMoveRecord(nil, &MoveRecord{[]NumberedRange{{SlotRange{2, 2}, 8}}})), nil)
	if m, ok := table.MoveOf(3); !ok || m.Number != 8 || m.From != 1 || m.To != 10 || m.Job != 7 {
		t.Errorf("slot 3 moves by %+v, %t", m, ok)
	}
	for _, s := range []Slot{2, 5, 4000} {
		if m, ok := table.MoveOf(s); ok {
			t.Errorf("slot %d has the open move %+v", s, m)
		}
	}
	if !table.Open(4, 8) || table.Open(4, 7) || table.Open(2, 8) {
		t.Error("other moves are open")
	}
}

// A new group has to stand well from the first: no server that leaves, no two replicas in
// one zone while there is another one, and where the fewest are.
func TestGroupIsPlaced(t *testing.T) {
	zone := func(n *TableNode, z string) { n.Labels, n.Announced = []Label{{ZoneLabel, z}}, []Label{{ZoneLabel, z}} }
	server := func(id raft.NodeID, z string) TableNode {
		n := TableNode{ID: id, Addr: fmt.Sprint("h:", id), Role: NodeServer, Level: Level, Weight: WeightDefault}
		zone(&n, z)
		return n
	}
	base := *testTable(t).Table()
	base.Nodes = []TableNode{server(1, "a"), server(2, "a"), server(3, "b"), server(4, "b"), server(5, "c"), server(6, "d"), server(97, "d"), server(98, "d"), server(99, "d")}
	base.Nodes[4].Draining, base.Nodes[5].Role = true, NodeClient
	base.Index, base.Jobs = 20, []Job{{ID: 19, Kind: JobReplace, State: JobRunning, Node: 97}}
	made := allowed(t, &base, first(AppendGroupCreate(nil, &GroupCreate{Group: 12})), nil)
	g, _ := made.Group(12)
	// 98 and 99 have nine replicas each; 1 to 4 have none.
	if want := []TableReplica{{1, 1, ReplicaVoter}, {2, 3, ReplicaVoter}, {3, 98, ReplicaVoter}}; !slices.Equal(g.Replicas, want) || !slices.Equal(g.Founders, want) {
		t.Errorf("it stands on %v, want %v", g.Replicas, want)
	}
	if g.Preferred != 1 || g.Next != 4 || g.Incarnation != raft.Incarnation(made.Index) || len(g.FirstSlots) > 0 || len(made.SlotsOf(12)) > 0 {
		t.Errorf("it is %+v", g)
	}
	for range 3 {
		made = allowed(t, made, first(AppendGroupCreate(nil, &GroupCreate{})), nil)
	}
	for _, id := range []raft.GroupID{10, 11, 13} {
		if _, ok := made.Group(id); !ok {
			t.Errorf("%s is not made; the lowest that are free are 10, 11, 13", id)
		}
	}
	holds := map[raft.NodeID]int{}
	for _, g := range made.Groups[9:] {
		for _, r := range g.Replicas {
			holds[r.Node]++
		}
	}
	for n := raft.NodeID(1); n <= 4; n++ {
		if holds[n] != 2 {
			t.Errorf("of four new groups %s has %d replicas, want 2", n, holds[n])
		}
	}
	base.Nodes = base.Nodes[:2]
	few := allowed(t, &base, first(AppendGroupCreate(nil, &GroupCreate{Group: 12})), nil)
	if g, _ := few.Group(12); len(g.Replicas) != 2 {
		t.Errorf("on two servers it has %d replicas", len(g.Replicas))
	}
	if err := made.check(); err != nil {
		t.Error(err)
	}
}

// All slots may move at once, and no more: the table goes to each node with each change.
func TestMovesMax(t *testing.T) {
	m := testTable(t)
	applyTable(t, m, 6, first(AppendGroupCreate(nil, &GroupCreate{})), nil)
	// The worst table: no two slots that go the same way lie side by side.
	var targets []SlotTarget
	for s := range Slot(Slots) {
		targets = append(targets, SlotTarget{SlotRange{s, s}, 0, raft.GroupID(1 + (int(m.Table().Slots[s])+int(s)%2)%10)})
	}
	order := first(AppendNewJob(nil, &NewJob{Kind: JobMove, Targets: targets}))
	const orderMax = 64 << 10 // of the protocol
	if len(order) > orderMax {
		t.Errorf("to order that each slot moves takes %d bytes, an order has %d", len(order), orderMax)
	}
	applyTable(t, m, 7, order, nil)
	index := uint64(7)
	for g := raft.GroupID(1); g <= 10; g++ {
		var slots []Slot
		for _, to := range targets {
			if to.To == g && m.Table().Slots[to.SlotRange.From] != g {
				slots = append(slots, to.SlotRange.From)
			}
		}
		if len(slots) > 0 {
			index++
			applyTable(t, m, index, first(AppendMoveBegin(nil, &MoveBegin{Job: 7, Slots: SlotRanges(slots), To: g})), nil)
		}
	}
	table := m.Table()
	j, _ := table.Job(7)
	if n := moveList(table.Moves).slots(); uint64(n) != j.Total || n < Slots/2 {
		t.Errorf("%d slots move, the job is for %d", n, j.Total)
	}
	if b := table.AppendTo(nil); len(b) > 128<<10 {
		t.Errorf("the table takes %d bytes", len(b))
	} else {
		t.Logf("%d moves in %d runs, %d bytes", moveList(table.Moves).slots(), len(table.Moves), len(b))
	}
	// Those that are taken count too: a second round may have to wait for the first.
	full := *table
	full.Moves = nil
	for s := range Slot(Slots) {
		full.Moves = append(full.Moves, Move{SlotRange: SlotRange{s, s}, Number: 7 + uint64(s)%2, From: 1, To: 2, State: MoveTaken, Job: 7})
	}
	to := j.Targets[0]
	if _, r := tried(t, &full, first(AppendMoveBegin(nil, &MoveBegin{Job: 7, Slots: []SlotRange{to.SlotRange}, To: to.To})), nil); r == nil || !strings.Contains(r.Found, "4096 slots are on their way, as many as may be") {
		t.Errorf("one slot too many: %v", r)
	}
}

// A group of today's must not be taken for one that was removed: slots remember their
// former owners by number, and a client's log ids and positions name groups by it. So a
// number is given once, also by a machine that began with a snapshot, and after nodes were
// lost for good. Below the level members of the older build give it again, so all must.
func TestGroupNumbersAreGivenOnce(t *testing.T) {
	for _, level := range []uint32{LeasesLevel - 1, LeasesLevel} {
		m := NewTableMachine()
		f := testFound(4, 9)
		f.Level = level
		for i := range f.Nodes {
			f.Nodes[i].Level = level
		}
		index := uint64(3)
		do := func(b []byte, err error) TableResult {
			index++
			return applyTable(t, m, index, b, err)
		}
		do(AppendFound(nil, f))
		create := func(g raft.GroupID) (made []raft.GroupID) {
			do(AppendGroupCreate(nil, &GroupCreate{Group: g}))
			for _, g := range m.Table().Groups[9:] {
				made = append(made, g.ID)
			}
			return made
		}
		create(0)
		create(40)
		do(AppendGroupRemove(nil, &GroupRemove{10}))
		do(AppendGroupRemove(nil, &GroupRemove{40}))
		back := NewTableMachine()
		if err := back.Load(bytes.NewReader(tableBytes(t, m)), raft.LogID{Term: 1, Index: index}); err != nil {
			t.Fatal(err)
		}
		m = back
		lost := *m.Table().WithoutLost(7, raft.LogID{Term: 2, Index: index + 1}, []raft.NodeID{f.Nodes[3].ID})
		if got := len(lost.RemovedGroups); got != len(m.Table().RemovedGroups) {
			t.Errorf("level %d: without lost nodes %d groups were removed", level, got)
		}
		if level < LeasesLevel {
			if got := create(0); !slices.Equal(got, []raft.GroupID{10}) {
				t.Errorf("level %d: made are %d, a member of the older build makes group 10", level, got)
			}
			continue
		}
		if got := create(40); got != nil {
			t.Errorf("level %d: group 40 was removed and is made again: %d", level, got)
		}
		if got := create(0); !slices.Equal(got, []raft.GroupID{11}) {
			t.Errorf("level %d: made are %d, want group 11", level, got)
		}
	}
}
