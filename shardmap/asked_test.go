package shardmap

import "testing"

// What a person may order decides what a program with the cluster's secret can do to it:
// each command, each kind of job and each state is decided on, none by mistake.
func TestAsked(t *testing.T) {
	command := func(b []byte, err error) []byte {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	check := func(payload []byte, what string, want bool) {
		t.Helper()
		got, asked, err := Asked(payload)
		if err != nil || got != what || asked != want {
			t.Errorf("%s: got %q, %t, %v, want %t", what, got, asked, err, want)
		}
		for n := range payload {
			if _, asked, err := Asked(payload[:n]); err == nil || asked {
				t.Errorf("%s: the first %d of %d bytes may be asked for", what, n, len(payload))
			}
		}
	}
	node := testFound(1, 1).Nodes[0]
	check(command(AppendFound(nil, testFound(3, 3))), "found", false)
	check(command(AppendAnnounce(nil, &Announce{Node: 1})), "announce", false)
	check(command(AppendJoin(nil, &Join{Node: node})), "join", false)
	check(command(AppendMembers(nil, &Members{})), "members", false)
	check(command(AppendLeave(nil, &Leave{Node: 1})), "leave", false)
	check(command(AppendDrain(nil, &Drain{Node: 1})), "drain", true)
	check(command(AppendSetLabels(nil, &SetLabels{Node: 1})), "label", true)
	check(command(AppendSetting(nil, &Setting{Name: "replicas", Value: "3"})), "setting", true)
	check(command(AppendPrefer(nil, &Prefer{})), "prefer", false)
	check(command(AppendJobProgress(nil, &JobProgress{ID: 1})), "job progress", false)
	check(command(AppendMoveBegin(nil, &MoveBegin{})), "move begin", false)
	check(command(AppendMoveRecord(nil, &MoveRecord{})), "move record", false)
	check(command(AppendMoveClose(nil, &MoveClose{})), "move close", false)
	check(command(AppendMoveCancel(nil, &MoveCancel{})), "move cancel", false)
	check(command(AppendGroupCreate(nil, &GroupCreate{})), "group create", true)
	check(command(AppendGroupRemove(nil, &GroupRemove{})), "group remove", true)
	check(command(AppendWeight(nil, &SetWeight{})), "weight", true)
	check(command(AppendJobBytes(nil, &JobBytes{})), "job bytes", false)
	check(command(AppendSetTLSMode(nil, &SetTLSMode{})), "tls mode", false)
	check(command(AppendSetRoot(nil, &SetRoot{})), "root", false)
	check(command(AppendSetPin(nil, &SetPin{})), "pin", false)
	check(command(AppendDeny(nil, &Deny{})), "deny", false)
	check(command(AppendNewToken(nil, &NewToken{})), "token", true)
	check(command(AppendUseToken(nil, &UseToken{})), "token use", false)
	check(command(AppendRevokeToken(nil, &RevokeToken{})), "token revoke", true)
	check(command(AppendChangeUser(nil, &ChangeUser{})), "user", true)
	check(command(AppendChangeUserRoles(nil, &ChangeUserRoles{})), "user roles", true)
	check(command(AppendChangeRole(nil, &ChangeRole{})), "role", true)
	check(command(AppendSetLimit(nil, &SetLimit{})), "limit", true)
	check(command(AppendNoteTrail(nil, &NoteTrail{})), "trail", false)
	check(command(AppendNoteErrand(nil, &NoteErrand{State: JobRunning})), "errand", false)
	check(command(AppendNewJob(nil, &NewJob{Kind: JobBackup, Asks: ErrandAsks{Scheduled: true}})), "job backup", false)
	jobs := map[JobKind]bool{JobDrain: true, JobRemove: true, JobAdd: true, JobDel: true, JobPromote: true, JobRole: true, JobMove: true, JobAssign: true, JobRebalance: true, JobDelete: true, JobBackup: true}
	for k := JobKind(1); k.row() != nil; k++ {
		check(command(AppendNewJob(nil, &NewJob{Kind: k})), "job "+k.String(), jobs[k])
	}
	states := map[JobState]bool{JobRunning: true, JobPaused: true, JobCancelled: true}
	for s := JobState(1); int(s) < len(jobStateNames); s++ {
		check(command(AppendJobState(nil, &SetJobState{ID: 1, State: s})), "job state "+s.String(), states[s])
	}
}
