package shardmap

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"muster/raft"
)

// tried returns what a command would make of a table, or its refusal.
func tried(t *testing.T, table *Table, b []byte, err error) (*Table, *Refusal) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	made, err := table.Try(b)
	var r *Refusal
	if err != nil && !errors.As(err, &r) {
		t.Fatal(err)
	}
	return made, r
}

// allowed returns what a command makes of a table.
func allowed(t *testing.T, table *Table, b []byte, err error) *Table {
	t.Helper()
	made, r := tried(t, table, b, err)
	if r != nil {
		t.Fatal(r)
	}
	return made
}

// What can't be is refused in one line: what was found, and what to do next. Its kind
// decides the code that is answered.
func TestTableRefusals(t *testing.T) {
	table := testTable(t).Table() // servers 97, 98, 99 ("n"), client 100; groups 1 to 9 of three replicas, founded at 3
	removed := *table
	removed.Removed = []raft.NodeID{50}
	older := *table
	older.Level, older.Nodes = tableJobsLevel-1, clone(table.Nodes)
	older.Nodes[1].Level = tableJobsLevel - 1
	below5 := *table
	below5.Level, below5.Nodes = LeasesLevel-1, clone(table.Nodes)
	below5.Nodes[1].Level = LeasesLevel - 1
	drained := *table
	drained.Nodes = clone(table.Nodes)
	drained.Nodes[0].Draining, drained.Nodes[1].Draining = true, true
	leaving := *table
	leaving.Nodes = clone(table.Nodes)
	leaving.Nodes[3].Draining = true
	busy := allowed(t, table, first(AppendNewJob(nil, &NewJob{Kind: JobDrain, Node: 97})), nil)
	busyGroup := allowed(t, table, first(AppendNewJob(nil, &NewJob{Kind: JobDel, Node: 97, Group: 1})), nil)
	alone := *table
	alone.Groups = clone(table.Groups)
	alone.Groups[0].Replicas = []TableReplica{{1, 97, ReplicaVoter}, {2, 98, ReplicaLearner}}
	moving := movingTable(t)
	cancelling := allowed(t, moving, first(AppendJobState(nil, &SetJobState{7, JobCancelled, ""})), nil)
	paused := allowed(t, moving, first(AppendJobState(nil, &SetJobState{7, JobPaused, ""})), nil)
	ended := allowed(t, table, first(AppendNewJob(nil, &NewJob{Kind: JobAssign, Targets: []SlotTarget{{SlotRange{0, 9}, 1, 2}}})), nil)
	lone := *table
	lone.Groups = clone(table.Groups[:1])
	nobodys := *table
	nobodys.Slots[5] = 0
	gone := *moving // group 10 has all that it is to get, and group 1 gives nothing more
	gone.Jobs, gone.Moves = nil, nil
	manyGroups := *table
	for id := range GroupsMax {
		manyGroups.Groups = append(manyGroups.Groups, TableGroup{ID: raft.GroupID(100 + id)})
	}
	nowhere := *table
	nowhere.Nodes = clone(table.Nodes)
	for i := range nowhere.Nodes {
		nowhere.Nodes[i].Draining = true
	}
	slotJob := func(k JobKind, targets ...SlotTarget) []byte {
		return first(AppendNewJob(nil, &NewJob{Kind: k, Targets: targets}))
	}
	begin := func(m MoveBegin) []byte { return first(AppendMoveBegin(nil, &m)) }
	state := func(id uint64, s JobState) []byte { return first(AppendJobState(nil, &SetJobState{id, s, ""})) }
	create := func(g raft.GroupID) []byte { return first(AppendGroupCreate(nil, &GroupCreate{Group: g})) }
	remove := func(g raft.GroupID) []byte { return first(AppendGroupRemove(nil, &GroupRemove{g})) }
	incident := func(change func(*Incident)) []byte {
		i := exampleIncident(IncidentFenced)
		change(&i)
		return first(AppendNoteIncident(nil, &NoteIncident{i}))
	}
	without10 := allowed(t, allowed(t, table, create(10), nil), remove(10), nil)
	numbered := *table
	for g := raft.GroupID(10); g <= raft.GroupMax; g++ {
		numbered.RemovedGroups = append(numbered.RemovedGroups, g)
	}
	host := TableNode{ID: 7, Name: "n7", Addr: "h:7", Role: NodeServer, Level: Level}
	join := func(change func(*TableNode)) []byte {
		n := host
		change(&n)
		return first(AppendJoin(nil, &Join{n}))
	}
	for _, c := range []struct {
		name  string
		table *Table
		b     []byte
		kind  RefusalKind
		found string
		next  string
	}{
		{"join of a removed id", &removed, join(func(n *TableNode) { n.ID = 50 }), RefusedConflict, "never comes back", "node add"},
		{"join with a taken name", table, join(func(n *TableNode) { n.Name = "n2" }), RefusedConflict, "node n2 (0000000000000062) at h:3 has the name n2", "node remove 0000000000000062 --force"},
		{"join with a taken address", table, join(func(n *TableNode) { n.Addr = "h:3" }), RefusedConflict, "has the address h:3", "node remove 0000000000000062 --force"},
		{"join of an older build", table, join(func(n *TableNode) { n.Level-- }), RefusedLevel, fmt.Sprintf("understands level %d, the cluster is at level %d", Level-1, Level), "start the newer muster there"},
		{"join below the level", &older, join(func(*TableNode) {}), RefusedLevel, fmt.Sprintf("it needs level %d, the cluster is at level %d", tableJobsLevel, tableJobsLevel-1), "start the newer muster on node n2"},
		{"announcement of a removed node", &removed, first(AppendAnnounce(nil, &Announce{Node: 50, Start: 1, Addr: "h:50", Level: Level})), RefusedConflict, "removed", "node add"},
		{"drain of a stranger", table, first(AppendNewJob(nil, &NewJob{Kind: JobDrain, Node: 5})), RefusedAbsent, "no member", "node list"},
		{"drain of a removed node", &removed, first(AppendNewJob(nil, &NewJob{Kind: JobDrain, Node: 50})), RefusedAbsent, "removed", "node list"},
		{"drain of the last server", &drained, first(AppendNewJob(nil, &NewJob{Kind: JobDrain, Node: 99})), RefusedConflict, "last server", "node add"},
		{"removal of the last server", &drained, first(AppendNewJob(nil, &NewJob{Kind: JobRemove, Node: 99})), RefusedConflict, "last server", "node add"},
		{"the last server as a client", &drained, first(AppendNewJob(nil, &NewJob{Kind: JobRole, Node: 99, Role: NodeClient})), RefusedConflict, "last server", "node add"},
		{"draining of the last server", &drained, first(AppendDrain(nil, &Drain{99, true})), RefusedConflict, "last server", "node add"},
		{"undrain of one that is removed", allowed(t, table, first(AppendNewJob(nil, &NewJob{Kind: JobRemove, Node: 97})), nil), first(AppendDrain(nil, &Drain{97, false})), RefusedConflict, "removes it", "job cancel 6"},
		{"forced removal of the last voter", &alone, first(AppendNewJob(nil, &NewJob{Kind: JobRemove, Node: 97, Force: true})), RefusedConflict, "last voter of g1", "muster recover"},
		{"an unknown role", table, first(AppendNewJob(nil, &NewJob{Kind: JobRole, Node: 97, Role: 9})), RefusedRequest, "role 9", "node promote"},
		{"a second job about a node", busy, first(AppendNewJob(nil, &NewJob{Kind: JobRole, Node: 97, Role: NodeClient})), RefusedConflict, "job 6 (drain) is running", "job wait 6"},
		{"a second job about a group", busyGroup, first(AppendNewJob(nil, &NewJob{Kind: JobDel, Node: 98, Group: 1})), RefusedConflict, "job 6 (del) is running", "job wait 6"},
		{"a replica where one is", table, first(AppendNewJob(nil, &NewJob{Kind: JobAdd, Node: 97, Group: 1})), RefusedConflict, "has replica 1 of it", "group list"},
		{"a replica on a drained node", &leaving, first(AppendNewJob(nil, &NewJob{Kind: JobAdd, Node: 100, Group: 1})), RefusedConflict, "is drained", "node undrain"},
		{"no replica to take away", table, first(AppendNewJob(nil, &NewJob{Kind: JobDel, Node: 100, Group: 1})), RefusedConflict, "no replica of it", "group list"},
		{"the last voter taken away", &alone, first(AppendNewJob(nil, &NewJob{Kind: JobDel, Node: 97, Group: 1})), RefusedConflict, "last voter", "group add 1"},
		{"a copy of the table taken away", table, first(AppendNewJob(nil, &NewJob{Kind: JobDel, Node: 97, Group: 0})), RefusedConflict, "each node has a copy", "node remove"},
		{"a stranger promoted", table, first(AppendNewJob(nil, &NewJob{Kind: JobPromote, Node: 100, Group: 1})), RefusedConflict, "no replica of it", "group add 1"},
		{"a copy promoted", &alone, first(AppendNewJob(nil, &NewJob{Kind: JobPromote, Node: 98, Group: 1})), RefusedConflict, "does not vote", "group list"},
		{"a group that is none", table, first(AppendNewJob(nil, &NewJob{Kind: JobAdd, Node: 100, Group: 77})), RefusedAbsent, "no group", "group list"},
		{"leaving with replicas", table, first(AppendLeave(nil, &Leave{97})), RefusedConflict, "has a replica of g0", "node remove"},
		{"a job that is none", table, first(AppendJobState(nil, &SetJobState{9, JobPaused, ""})), RefusedAbsent, "none", "job list"},
		{"a finished job", allowed(t, busy, first(AppendJobState(nil, &SetJobState{6, JobDone, ""})), nil), first(AppendJobState(nil, &SetJobState{6, JobPaused, ""})), RefusedConflict, "it is done already", "job show 6"},
		{"a long reason", busy, first(AppendJobState(nil, &SetJobState{6, JobPaused, strings.Repeat("x", 256)})), RefusedRequest, "256 bytes, the limit is 255", "fewer"},
		{"a setting that is none", table, first(AppendSetting(nil, &Setting{"replica", "3"})), RefusedAbsent, "none of that name", "setting list"},
		{"a setting out of limits", table, first(AppendSetting(nil, &Setting{"replicas", "4"})), RefusedRequest, "want 1, 3 or 5", "setting list"},
		{"a label without a key", table, first(AppendSetLabels(nil, &SetLabels{97, []Label{{"", "x"}}})), RefusedRequest, "label key", "node label"},
		{"a label in two words", table, first(AppendSetLabels(nil, &SetLabels{97, []Label{{"a b", "x"}}})), RefusedRequest, "label key", "node label"},
		{"a label twice", table, first(AppendSetLabels(nil, &SetLabels{97, []Label{{"a", "x"}, {"a", "y"}}})), RefusedRequest, "twice", "once"},
		{"a membership of another incarnation", table, first(AppendMembers(nil, &Members{Group: 1, Incarnation: 2, Seen: raft.LogID{Term: 1, Index: 9}, Next: 9, Replicas: []TableReplica{{1, 97, ReplicaVoter}}})), RefusedConflict, "incarnation", "again"},
		{"nobody votes", table, first(AppendMembers(nil, &Members{Group: 1, Incarnation: 3, Seen: raft.LogID{Term: 1, Index: 9}, Next: 9, Replicas: []TableReplica{{1, 97, ReplicaLearner}}})), RefusedConflict, "no voter", "again"},
		{"a node twice in a group", table, first(AppendMembers(nil, &Members{Group: 1, Incarnation: 3, Seen: raft.LogID{Term: 1, Index: 9}, Next: 9, Replicas: []TableReplica{{1, 97, ReplicaVoter}, {2, 97, ReplicaVoter}}})), RefusedRequest, "another one", "node list"},
		{"a move below the level", &older, slotJob(JobMove, SlotTarget{SlotRange{0, 9}, 0, 2}), RefusedLevel, "it needs level 3, the cluster is at level 2", "start the newer muster on node n2"},
		{"a move to a group that is none", table, slotJob(JobMove, SlotTarget{SlotRange{0, 9}, 0, 77}), RefusedAbsent, "it is no group of the cluster", "group list"},
		{"a move to the meta group", table, slotJob(JobMove, SlotTarget{SlotRange{0, 9}, 0, 0}), RefusedRequest, "holds the cluster's table", "group list"},
		{"a move of no slots", table, slotJob(JobMove), RefusedRequest, "names no slots", "muster slot move FROM-TO GROUP"},
		{"a move of slots that are none", table, slotJob(JobMove, SlotTarget{SlotRange{9, 3}, 0, 2}), RefusedRequest, "9-3 is no run of slots; they are 0 to 4095", "slot move"},
		{"a slot twice", table, slotJob(JobMove, SlotTarget{SlotRange{8, 9}, 0, 2}, SlotTarget{SlotRange{0, 8}, 0, 2}), RefusedRequest, "named twice", "once"},
		{"slots that are there", table, slotJob(JobMove, SlotTarget{SlotRange{0, 9}, 0, 1}), RefusedConflict, "all of them are there already, so there is nothing to do", "slot list"},
		{"a rebalance that changes nothing", table, slotJob(JobRebalance, SlotTarget{SlotRange{0, 9}, 1, 1}), RefusedConflict, "nothing to do", "slot list"},
		{"a slot that moves", moving, slotJob(JobAssign, SlotTarget{SlotRange{9, 12}, 0, 2}), RefusedConflict, "it moves already: job 7 (move) is running", "muster job wait 7, or muster job cancel 7"},
		{"a slot whose move is being cancelled", cancelling, slotJob(JobMove, SlotTarget{SlotRange{3, 3}, 0, 2}), RefusedConflict, "job 7 (move) is being cancelled", "muster job wait 7"},
		{"a plan that is old", table, slotJob(JobRebalance, SlotTarget{SlotRange{0, 9}, 2, 3}), RefusedConflict, "it is of g1, and the plan has it of g2: the plan is old", "make a new one"},
		{"a slot of nobody", &nobodys, slotJob(JobMove, SlotTarget{SlotRange{4, 6}, 0, 2}), RefusedConflict, "no group owns it", "slot list"},
		{"a begin of no job", table, begin(MoveBegin{Job: 9, Slots: []SlotRange{{0, 0}}, To: 2}), RefusedAbsent, "none", "job list"},
		{"a begin of a job about a node", busy, begin(MoveBegin{Job: 6, Slots: []SlotRange{{0, 0}}, To: 2}), RefusedConflict, "it is a drain, which moves no slots", "job show 6"},
		{"a begin of a paused job", paused, begin(MoveBegin{Job: 7, Slots: []SlotRange{{5, 5}}, To: 10}), RefusedConflict, "it is paused", "job show 7"},
		{"a begin of one that is being cancelled", cancelling, begin(MoveBegin{Job: 7, Slots: []SlotRange{{5, 5}}, To: 10}), RefusedConflict, "it is being cancelled", "job show 7"},
		{"a begin of what must not be empty", moving, begin(MoveBegin{Job: 7, Slots: []SlotRange{{5, 5}}, To: 10, Empty: true}), RefusedRequest, "another kind of job", "job show 7"},
		{"a begin of no slots", moving, begin(MoveBegin{Job: 7, To: 10}), RefusedRequest, "no runs, or none", "job show 7"},
		{"a begin of another slot", moving, begin(MoveBegin{Job: 7, Slots: []SlotRange{{9, 10}}, To: 10}), RefusedConflict, "slot 10 is not to move to g10", "job show 7"},
		{"a begin to another group", moving, begin(MoveBegin{Job: 7, Slots: []SlotRange{{5, 5}}, To: 2}), RefusedConflict, "slot 5 is not to move to g2", "job show 7"},
		{"a begin of a slot that moves", moving, begin(MoveBegin{Job: 7, Slots: []SlotRange{{4, 5}}, To: 10}), RefusedConflict, "slot 4 moves already, begun by entry 8", "job show 7"},
		{"the end of a job with slots on their way", moving, state(7, JobDone), RefusedConflict, "5 of its slots are on their way", "job wait 7"},
		{"its failure", moving, state(7, JobFailed), RefusedConflict, "5 of its slots are on their way", "job wait 7"},
		{"a pause of one that is being cancelled", cancelling, state(7, JobPaused), RefusedConflict, "it is being cancelled", "job wait 7"},
		{"bytes of a job about a node", busy, first(AppendJobBytes(nil, &JobBytes{ID: 6})), RefusedRequest, "it is a drain, which moves no slots", "job show 6"},
		{"a group that exists", table, create(3), RefusedConflict, "there is one of this id", "or none, which takes 10: muster group create"},
		{"a group that was removed", without10, create(10), RefusedConflict, "its log ids must not be taken for another one's", "or none, which takes 11: muster group create"},
		{"a group when all numbers were given", &numbered, create(0), RefusedConflict, "each number from 1 to 9999 was given", "group list"},
		{"a group that was removed when all were given", &numbered, create(10), RefusedConflict, "was removed", "group list"},
		{"a group of too high an id", table, create(raft.GroupMax + 1), RefusedRequest, "they are 1 to 9999", "group create"},
		{"a group too many", &manyGroups, create(99), RefusedConflict, "as many as may be", "group remove"},
		{"a group on no server", &nowhere, create(99), RefusedConflict, "no server could hold its replicas", "node list"},
		{"a group of which two of three are away", table, first(AppendGroupCreate(nil, &GroupCreate{Away: []raft.NodeID{97, 99}})), RefusedConflict, "nothing is heard of 2 of the 3 servers that would hold it, node n3 among them", "node list"},
		{"a group while one is away, below the level", &below5, first(AppendGroupCreate(nil, &GroupCreate{Away: []raft.NodeID{97}})), RefusedLevel, "it needs level 5, the cluster is at level 4", "start the newer muster on node n2"},
		{"removal of the meta group", table, remove(0), RefusedRequest, "holds the cluster's table", "group list"},
		{"removal of a group that is none", table, remove(77), RefusedAbsent, "no group", "group list"},
		{"removal of the last group", &lone, remove(1), RefusedConflict, "the last data group", "group create"},
		{"removal of a group with slots", table, remove(2), RefusedConflict, "it owns 455 slots: 456-910", "muster slot move 456-910 GROUP"},
		{"removal of a group that gets slots", moving, remove(10), RefusedConflict, "slots 0-4 are on the way from g1 to g10", "job wait 7"},
		{"removal of a group that is to get some", allowed(t, &gone, slotJob(JobMove, SlotTarget{SlotRange{0, 0}, 0, 10}), nil), remove(10), RefusedConflict, "job 9 (move) is running", "job wait 9"},
		{"removal of a group that is to get a replica", allowed(t, &gone, first(AppendNewJob(nil, &NewJob{Kind: JobAdd, Node: 100, Group: 10})), nil), remove(10), RefusedConflict, "job 9 (add) is running", "job wait 9"},
		{"the weight of a stranger", table, first(AppendWeight(nil, &SetWeight{5, 1})), RefusedAbsent, "no member", "node list"},
		{"a weight out of limits", table, first(AppendWeight(nil, &SetWeight{97, WeightMax + 1})), RefusedRequest, "a weight of 1001; want 0 to 1000", "100"},
		{"a run of moves that is none", moving, first(AppendMoveRecord(nil, &MoveRecord{[]NumberedRange{{SlotRange{3, 1}, 8}}})), RefusedRequest, "no run", "node list"},
		{"an incident of a group that is none", table, incident(func(i *Incident) { i.Group = 77 }), RefusedAbsent, "no group", "group list"},
		{"an incident of another incarnation", table, incident(func(i *Incident) { i.Incarnation = 2 }), RefusedConflict, "its incarnation is 3, the incident is of 2", "forget"},
		{"an incident on a stranger", table, incident(func(i *Incident) { i.Node = 5 }), RefusedAbsent, "no member", "node list"},
		{"an incident of no replica", table, incident(func(i *Incident) { i.Replica = 0 }), RefusedRequest, "replica 0", "docs/storage.md"},
		{"an incident in no state", table, incident(func(i *Incident) { i.State = 3 }), RefusedRequest, "state 3", "docs/storage.md"},
		{"an incident with too many parts", table, incident(func(i *Incident) { i.Parts, i.PartsCount = make([]Part, IncidentPartsMax+1), 17 }), RefusedRequest, "17 parts, the limit is 16", "docs/storage.md"},
		{"an incident below the level", &below5, incident(func(*Incident) {}), RefusedLevel, "it needs level 7, the cluster is at level 4", "start the newer muster on node n2"},
		{"an acknowledgement of nothing", table, first(AppendAcknowledge(nil, &Acknowledge{8})), RefusedAbsent, "none of that number", "muster status"},
		{"an assigned slot that moves", ended, slotJob(JobMove, SlotTarget{SlotRange{9, 9}, 1, 3}), RefusedConflict, "job 6 (assign) is running", "job cancel 6"},
	} {
		made, r := tried(t, c.table, c.b, nil)
		if r == nil || made != nil || r.Kind != c.kind || !strings.Contains(r.Found, c.found) || !strings.Contains(r.Next, c.next) || strings.Contains(r.Error(), "\n") {
			t.Errorf("%s: got %+v, want kind %d, %q, %q", c.name, r, c.kind, c.found, c.next)
		}
	}
	if _, r := tried(t, &Table{}, first(AppendLeave(nil, &Leave{1})), nil); r == nil || !strings.Contains(r.Found, "no cluster yet") {
		t.Errorf("a command before the founding: got %v", r)
	}
}

// A refusal about one slot names it as a person did, who would not write 5-5.
func TestTableRefusalsOfOneSlot(t *testing.T) {
	table := *testTable(t).Table()
	for s := range table.Slots {
		if table.Slots[s] == 2 && s != 500 {
			table.Slots[s] = 1
		}
	}
	to := func(targets ...SlotTarget) []byte {
		return first(AppendNewJob(nil, &NewJob{Kind: JobMove, Targets: targets}))
	}
	onItsWay := allowed(t, &table, to(SlotTarget{SlotRange{500, 500}, 0, 3}), nil)
	onItsWay = allowed(t, onItsWay, first(AppendMoveBegin(nil, &MoveBegin{Job: onItsWay.Index, Slots: []SlotRange{{500, 500}}, To: 3})), nil)
	given := *onItsWay // as between a group's giving a slot up and the close of its move
	given.Slots[500] = 3
	for _, c := range []struct {
		name  string
		table *Table
		b     []byte
		want  string
	}{
		{"a move to where it is", &table, to(SlotTarget{SlotRange{500, 500}, 0, 2}), "slot 500: it is there already, so there is nothing to do; see muster slot list"},
		{"a move of two runs", &table, to(SlotTarget{SlotRange{500, 500}, 0, 2}, SlotTarget{SlotRange{3, 5}, 0, 1}), "slots 3-5, 500: all of them are there already, so there is nothing to do; see muster slot list"},
		{"removal of a group that owns it", &table, first(AppendGroupRemove(nil, &GroupRemove{2})), "g2: it owns 1 slot: 500; move them first: muster slot move 500 GROUP"},
		{"removal of a group that it leaves", &given, first(AppendGroupRemove(nil, &GroupRemove{2})), "g2: slot 500 is on the way from g2 to g3; wait until it has ended: muster job wait"},
	} {
		if _, r := tried(t, c.table, c.b, nil); r == nil || !strings.Contains(r.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", c.name, r, c.want)
		}
	}
}

func first(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

// A membership is what is, not what ought to be: its row must follow it even where it
// names a node that is on no list, or the group could never be mended.
func TestMembershipOfUnknownNode(t *testing.T) {
	table := testTable(t).Table()
	made := allowed(t, table, first(AppendMembers(nil, &Members{Group: 1, Incarnation: 3, Seen: raft.LogID{Term: 4, Index: 9}, Next: 6,
		Replicas: []TableReplica{{5, 12345, ReplicaVoter}, {2, 98, ReplicaVoter}}})), nil)
	g, _ := made.Group(1)
	if want := []TableReplica{{2, 98, ReplicaVoter}, {5, 12345, ReplicaVoter}}; !slices.Equal(g.Replicas, want) || g.Next != 6 || g.Seen.Index != 9 || g.Preferred == 97 {
		t.Errorf("got %+v", g)
	}
	if back, err := ReadTable(made.AppendTo(nil)); err != nil {
		t.Errorf("read back %v, %v", back, err)
	}
	if again := allowed(t, made, first(AppendMembers(nil, &Members{Group: 1, Incarnation: 3, Seen: g.Seen, Next: 6, Replicas: g.Replicas})), nil); again != made {
		t.Error("told again, it makes another table")
	}
}

// A node that is to be removed needs no other job, and nobody has to cancel one first:
// least of all the replacement that begins by itself when the node is dead.
func TestRemovalTakesPlace(t *testing.T) {
	table := testTable(t).Table()
	for _, c := range []struct {
		was, then NewJob
		want      bool
	}{
		{NewJob{Kind: JobDrain}, NewJob{Kind: JobRemove}, true},
		{NewJob{Kind: JobReplace}, NewJob{Kind: JobRemove}, true},
		{NewJob{Kind: JobReplace}, NewJob{Kind: JobRemove, Force: true}, true},
		{NewJob{Kind: JobJoin}, NewJob{Kind: JobRemove, Force: true}, true},
		{NewJob{Kind: JobRemove}, NewJob{Kind: JobRemove, Force: true}, true},
		{NewJob{Kind: JobRemove}, NewJob{Kind: JobRemove}, false},
		{NewJob{Kind: JobRemove, Force: true}, NewJob{Kind: JobRemove, Force: true}, false},
		{NewJob{Kind: JobRole, Role: NodeClient}, NewJob{Kind: JobRemove}, false},
		{NewJob{Kind: JobReplace}, NewJob{Kind: JobDrain}, false},
	} {
		c.was.Node, c.then.Node = 97, 97
		busy := allowed(t, table, first(AppendNewJob(nil, &c.was)), nil)
		made, r := tried(t, busy, first(AppendNewJob(nil, &c.then)), nil)
		if (r == nil) != c.want {
			t.Errorf("%s after %s: got %v", c.then.describe(), c.was.describe(), r)
		}
		if r != nil {
			continue
		}
		old, _ := made.Job(6)
		n, _ := made.Node(97)
		if newer, ok := made.Job(7); !ok || newer.State != JobRunning || old.State != JobCancelled || old.Why != "job 7 removes the node" || !n.Draining {
			t.Errorf("%s after %s: %+v and %+v, draining %t", c.then.describe(), c.was.describe(), old, newer, n.Draining)
		}
	}
}

// Everything that the table keeps has a limit, or one mover that runs wild would fill it
// on every node. A job that somebody waits for must not be forgotten as it ends.
func TestTableLimits(t *testing.T) {
	table := testTable(t).Table()
	removed := *table
	for i := range RemovedMax {
		removed.Removed = append(removed.Removed, raft.NodeID(1000+i))
	}
	removed.Nodes = append(clone(table.Nodes), TableNode{ID: 500, Addr: "h:500", Role: NodeServer, Level: Level})
	if _, r := tried(t, &removed, first(AppendLeave(nil, &Leave{500})), nil); r == nil || !strings.Contains(r.Found, "65536") {
		t.Errorf("one removed node too many: got %v", r)
	}
	removed.Removed = removed.Removed[1:]
	if made := allowed(t, &removed, first(AppendLeave(nil, &Leave{500})), nil); len(made.Removed) != RemovedMax || made.Removed[0] != 500 {
		t.Errorf("%d removed nodes", len(made.Removed))
	}

	var labels []Label
	for i := range GivenMax {
		labels = append(labels, Label{fmt.Sprint("k", i), "v"})
	}
	labelled := allowed(t, table, first(AppendSetLabels(nil, &SetLabels{97, labels})), nil)
	if _, r := tried(t, labelled, first(AppendSetLabels(nil, &SetLabels{97, []Label{{"one", "more"}}})), nil); r == nil || !strings.Contains(r.Found, fmt.Sprint(GivenMax)) {
		t.Errorf("one label too many: got %v", r)
	}
	allowed(t, labelled, first(AppendSetLabels(nil, &SetLabels{97, []Label{{"k0", ""}, {"one", "more"}}})), nil)

	full := *table
	for i := range JobsMax {
		full.Jobs = append(full.Jobs, Job{ID: uint64(i + 1), Kind: JobJoin, State: JobRunning, Node: raft.NodeID(5000 + i)})
	}
	full.Index = JobsMax
	if _, r := tried(t, &full, first(AppendNewJob(nil, &NewJob{Kind: JobBalance})), nil); r == nil || !strings.Contains(r.Found, "256 jobs") {
		t.Errorf("one job too many: got %v", r)
	}
	made := &full
	for i := JobsMax; i > 0; i-- { // the newest first, so that each ends as the oldest of all
		made = allowed(t, made, first(AppendJobState(nil, &SetJobState{uint64(i), JobDone, ""})), nil)
		if j, ok := made.Job(uint64(i)); !ok || j.State != JobDone {
			t.Fatalf("job %d is forgotten as it ends", i)
		}
		if want := min(JobsMax-i+1, JobsKept); len(made.Jobs) != i-1+want {
			t.Fatalf("%d jobs with %d unfinished, want %d finished", len(made.Jobs), i-1, want)
		}
	}
	if err := made.check(); err != nil {
		t.Error(err)
	}
}

// What a setting may be, and what it then means to who reads it.
func TestSettings(t *testing.T) {
	table := testTable(t).Table()
	for _, c := range []struct {
		name   string
		good   []string
		bad    []string
		reads  func(*Table) any
		values []any // of the default, then of the good ones
	}{
		{"replicas", []string{"1", "3", "5"}, []string{"0", "2", "7", "03", "+3", "x", "3 "}, func(t *Table) any { return t.Replicas() }, []any{3, 1, 3, 5}},
		{"meta-voters", []string{"5"}, []string{"4", "-1"}, func(t *Table) any { return t.MetaVoters() }, []any{3, 5}},
		{"dead-after", []string{"10s", "24h", "90m"}, []string{"9s", "25h", "5", "1.5h", "1h30m", "10ms", "m", "99999999999999999999h"},
			func(t *Table) any { return t.DeadAfter() }, []any{5 * time.Minute, 10 * time.Second, 24 * time.Hour, 90 * time.Minute}},
		{"move-rate", []string{"0", "1MiB", "10GiB", "1048576", "2048KiB"}, []string{"1", "1048575", "11GiB", "10737418241", "1MB", "-1", "9223372036854775807GiB", "MiB"},
			func(t *Table) any { return t.MoveRate() }, []any{int64(0), int64(0), int64(1 << 20), int64(10 << 30), int64(1 << 20), int64(2 << 20)}},
		{"move-parallel", []string{"1", "64"}, []string{"0", "65"}, func(t *Table) any { return t.MoveParallel() }, []any{4, 1, 64}},
		{"slot-rate", []string{"0", "64KiB", "10GiB", "65536"}, []string{"1", "65535", "63KiB", "11GiB", "1MB", "-1"},
			func(t *Table) any { return t.SlotRate() }, []any{int64(0), int64(0), int64(64 << 10), int64(10 << 30), int64(64 << 10)}},
		{"slot-parallel", []string{"1", "4096"}, []string{"0", "4097", "x"}, func(t *Table) any { return t.SlotParallel() }, []any{512, 1, 4096}},
		{"audit-pace", []string{"off", "1s", "24h"}, []string{"0", "0s", "25h", "1", "Off", "500ms"},
			func(t *Table) any { return t.AuditPace() }, []any{time.Minute, time.Duration(0), time.Second, 24 * time.Hour}},
		{"walk-pace", []string{"off", "1s", "24h"}, []string{"0", "0s", "25h", "1", "Off", "500ms"},
			func(t *Table) any { return t.WalkPace() }, []any{10 * time.Minute, time.Duration(0), time.Second, 24 * time.Hour}},
		{"trail-policy", []string{"none", "metadata", "request"}, []string{"all", "None", "0"},
			func(t *Table) any { return t.TrailPolicy() }, []any{TrailNone, TrailNone, TrailMetadata, TrailRequest}},
		{"trail-budget", []string{"8MiB", "10GiB"}, []string{"0", "7MiB", "11GiB", "x"},
			func(t *Table) any { return t.TrailBudget() }, []any{int64(64 << 20), int64(8 << 20), int64(10 << 30)}},
		{"balance", []string{"off", "on"}, []string{"true", "ON", "0"}, func(t *Table) any { return t.Balance() }, []any{true, false, true}},
	} {
		if got := c.reads(table); got != c.values[0] {
			t.Errorf("%s is %v by default, want %v", c.name, got, c.values[0])
		}
		for i, value := range c.good {
			made := allowed(t, table, first(AppendSetting(nil, &Setting{c.name, value})), nil)
			if got := c.reads(made); got != c.values[i+1] {
				t.Errorf("%s set to %s is %v, want %v", c.name, value, got, c.values[i+1])
			}
			if text, ok := made.Setting(c.name); text != value || !ok {
				t.Errorf("%s set to %s is %q", c.name, value, text)
			}
			back := allowed(t, made, first(AppendSetting(nil, &Setting{c.name, ""})), nil)
			if got := c.reads(back); got != c.values[0] || len(back.Settings) != 0 {
				t.Errorf("%s changed back is %v, %v", c.name, got, back.Settings)
			}
		}
		for _, value := range c.bad {
			if _, r := tried(t, table, first(AppendSetting(nil, &Setting{c.name, value})), nil); r == nil || r.Kind != RefusedRequest || !strings.Contains(r.Found, "; want ") {
				t.Errorf("%s set to %q: got %v; want a refusal that says what the setting takes", c.name, value, r)
			}
		}
	}
	for _, row := range Settings() {
		if err := row.check(row.Default); err != nil || row.About == "" || row.Level < 3 || row.Level > Level {
			t.Errorf("setting %s: default %q: %v; level %d, %q", row.Name, row.Default, err, row.Level, row.About)
		}
		for _, limit := range []string{row.Min, row.Max} {
			if limit != "" && row.check(limit) != nil {
				t.Errorf("setting %s: its own limit %s is refused", row.Name, limit)
			}
		}
	}
	if value, ok := table.Setting("none"); ok {
		t.Errorf("a setting that is none is %q", value)
	}
}

// The table in docs/operating.md must have each setting as it is: it is what an operator
// reads in place of the code.
func TestSettingsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	want := "| setting | default | from | to | |\n|---|---|---|---|---|\n"
	for _, row := range Settings() {
		want += fmt.Sprintf("| `%s` | `%s` | %s | %s | %s |\n", row.Name, row.Default, row.Min, row.Max, row.About)
	}
	if !strings.Contains(string(page), want+"\n") {
		t.Errorf("docs/operating.md does not have, in one piece:\n%s", want)
	}
}
