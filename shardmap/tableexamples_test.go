package shardmap

import (
	"testing"

	"muster/raft"
)

// exampleIncident is one that fits the table of testTable.
func exampleIncident(s IncidentState) Incident {
	return Incident{IncidentKey: IncidentKey{Group: 1, Incarnation: 3, Replica: 2, At: raft.LogID{Term: 2, Index: 9}}, Node: 98,
		Found: FoundByComparison, Parts: []Part{12, 14}, PartsCount: 2, What: "two slots differ", State: s}
}

// tableExamples returns a command of each kind that came with level 3 and later, for the table
// of testTable.
func tableExamples(t testing.TB) (all [][]byte) {
	t.Helper()
	add := func(b []byte, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b)
	}
	add(AppendJoin(nil, &Join{TableNode{ID: 7, Name: "n7", Addr: "10.0.0.7:4166", Role: NodeServer, Labels: []Label{{"zone", "a"}}, Version: "0.1.0", Start: 1, Level: Level}}))
	add(AppendMembers(nil, &Members{Group: 1, Incarnation: 3, Seen: raft.LogID{Term: 2, Index: 9}, Next: 5,
		Replicas: []TableReplica{{1, 97, ReplicaVoter}, {4, 98, ReplicaLearner}}}))
	add(AppendLeave(nil, &Leave{97}))
	add(AppendDrain(nil, &Drain{97, true}))
	add(AppendDrain(nil, &Drain{97, false}))
	add(AppendSetLabels(nil, &SetLabels{97, []Label{{"zone", "b"}, {"rack", ""}}}))
	add(AppendSetting(nil, &Setting{"replicas", "5"}))
	add(AppendPrefer(nil, &Prefer{1, 97, true}))
	add(AppendNewJob(nil, &NewJob{Kind: JobRemove, Node: 97, Force: true}))
	add(AppendNewJob(nil, &NewJob{Kind: JobRole, Node: 97, Role: NodeClient}))
	add(AppendNewJob(nil, &NewJob{Kind: JobAdd, Node: 97, Group: 1}))
	add(AppendNewJob(nil, &NewJob{Kind: JobBalance}))
	add(AppendJobState(nil, &SetJobState{12, JobCancelled, "no longer wanted"}))
	add(AppendJobProgress(nil, &JobProgress{12, 2, 3, "g4 gets a replica on n7"}))
	add(AppendNewJob(nil, &NewJob{Kind: JobMove, Targets: []SlotTarget{{SlotRange{0, 99}, 0, 2}, {SlotRange{4095, 4095}, 9, 1}}}))
	add(AppendMoveBegin(nil, &MoveBegin{Job: 20, Slots: []SlotRange{{0, 63}, {4095, 4095}}, To: 2, Empty: true}))
	numbered := []NumberedRange{{SlotRange{0, 63}, 21}}
	add(AppendMoveRecord(nil, &MoveRecord{numbered}))
	add(AppendMoveCancel(nil, &MoveCancel{numbered}))
	add(AppendMoveClose(nil, &MoveClose{[]MoveEnd{{numbered[0], true, ClosedTaken}, {NumberedRange{SlotRange{7, 7}, 22}, false, ClosedNotEmpty}}}))
	add(AppendGroupCreate(nil, &GroupCreate{}))
	add(AppendGroupCreate(nil, &GroupCreate{Group: 9, Away: []raft.NodeID{97, 98}}))
	add(AppendGroupRemove(nil, &GroupRemove{9}))
	add(AppendWeight(nil, &SetWeight{97, 50}))
	add(AppendJobBytes(nil, &JobBytes{20, 3, 64, 1 << 20, 2 << 20, "slot 3 moves"}))
	add(AppendNewJob(nil, &NewJob{Kind: JobDelete, Asks: ErrandAsks{Prefix: "cart/", Keys: 1_000_000}}))
	add(AppendNewJob(nil, &NewJob{Kind: JobBackup, Asks: ErrandAsks{Scheduled: true}}))
	add(AppendNoteErrand(nil, &NoteErrand{ID: 20, State: JobRunning, Node: 97, Slot: 1024, Done: 250_000, Total: 1_000_000}))
	add(AppendNoteErrand(nil, &NoteErrand{ID: 20, State: JobDone, Node: 97, File: "muster-shop-20261130T120000Z.backup", At: 1796040000, Done: 3, Total: 3, Bytes: 4096}))
	add(AppendNoteIncident(nil, &NoteIncident{exampleIncident(IncidentFenced)}))
	add(AppendAcknowledge(nil, &Acknowledge{30}))
	add(AppendAcknowledge(nil, &Acknowledge{}))
	all = append(all, secure()...)
	add(AppendChangeRole(nil, &ChangeRole{Action: RoleDelete, Name: "reader"}))
	all = append(all, catalogued()...)
	add(AppendTruncateWindows(nil, &TruncateWindows{Time: 5}))
	add(AppendDropWindows(nil, &DropWindows{[]WindowID{10, 11}, 40 * 3600}))
	return all
}
