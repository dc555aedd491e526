package logstore

import (
	"testing"

	"muster/logstore/vfs"
	"muster/raft"
)

// A commit that is written as state is on disk with everything else of its
// append. It must be: a data group's replica is made because the meta group
// committed the entry that says so, and a start that finds the one after a crash
// must find the other.
func TestStateKeepsItsCommit(t *testing.T) {
	fs := vfs.NewMem()
	o := Options{Dir: "d", Chance: 7}
	s := mustOpen(t, fs, o)
	meta, made := testReplica(0), testReplica(1)
	must(t, s.Append([]Write{founding(meta)}))
	must(t, s.Append([]Write{{Replica: meta, State: raft.HardState{Term: 1, Vote: 10}, HasState: true, Entries: span(meta, 1, 1, 2, 10)}}))
	must(t, s.Append([]Write{
		{Replica: meta, State: raft.HardState{Term: 1, Vote: 10, Commit: 2}, HasState: true},
		founding(made),
	}))
	fs.Crash(vfs.DropUnsynced, 0)
	s = mustOpen(t, fs, o)
	if got := len(s.Replicas()); got != 2 {
		t.Fatalf("%d replicas after the crash, want 2", got)
	}
	r, err := s.Restore(meta)
	must(t, err)
	if r.State.Commit != 2 {
		t.Errorf("commit after the crash: got %d, want 2", r.State.Commit)
	}
	must(t, s.Close())
}
