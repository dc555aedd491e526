package node

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"muster/logstore"
	"muster/logstore/vfs"
	"muster/raft"
	"muster/repl/client"
	"muster/repl/wire"
)

// Two logs are compared by what their nodes say of them. So a node must list
// every entry that it holds, once and in order, in however many answers, and
// what it says of one must be what was written.
func TestLogRange(t *testing.T) {
	r := serving(t, defaultLimits())
	cl := r.library()
	ctx := t.Context()
	const writes = wire.LogRangeEntriesMax + 100 // of one group: they are of one slot
	key := []byte("k")
	at, err := cl.Set(ctx, key, []byte("v"), client.WriteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 16)
	for range cap(done) {
		go func() {
			for range writes / cap(done) {
				if _, err := cl.Set(ctx, key, []byte("value"), client.WriteOptions{}); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range cap(done) {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	var got []wire.LogEntry
	pages := 0
	for from := uint64(0); ; pages++ {
		a, err := cl.LogRange(ctx, r.addr, wire.LogRange{Group: at.Group, From: from, To: ^uint64(0)})
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, a.Entries...)
		if from = a.Next; from == 0 {
			if a.Commit != a.Last.Index || a.Last != got[len(got)-1].ID() || a.Base.Index != 0 || a.Lost != nil {
				t.Errorf("got %+v, and the last entry is %s", a, got[len(got)-1].ID())
			}
			break
		}
	}
	if pages == 0 || len(got) < writes {
		t.Errorf("got %d entries in %d answers", len(got), pages+1)
	}
	checksums := make(map[uint32]bool)
	for i, e := range got {
		if e.Index != uint64(i)+1 {
			t.Fatalf("entry %d is %+v", i, e)
		}
		checksums[e.Checksum] = true
	}
	// Of so many entries two have the same checksum of 32 bits in one run of five hundred.
	if len(checksums) < len(got)-2 {
		t.Errorf("%d entries have %d checksums", len(got), len(checksums))
	}
	if kind := got[0].Kind; kind != raft.EntryNoOp {
		t.Errorf("the first entry is a %s", kind)
	}
	one, err := cl.LogRange(ctx, r.addr, wire.LogRange{Group: at.Group, From: 17, To: 17})
	if err != nil || len(one.Entries) != 1 || one.Entries[0] != got[16] || one.Next != 0 {
		t.Errorf("entry 17 alone: got %+v, %v, want %+v", one, err, got[16])
	}
	_, err = cl.LogRange(ctx, r.addr, wire.LogRange{Group: 77, To: 1})
	if !errors.Is(err, &wire.Error{Code: wire.CodeNotFound}) {
		t.Errorf("a group that is not there: got %v", err)
	}
	_, err = cl.LogRange(ctx, r.addr, wire.LogRange{From: 2, To: 1})
	if !errors.Is(err, &wire.Error{Code: wire.CodeBadRequest}) {
		t.Errorf("a range of nothing: got %v", err)
	}
}

// What the doctor is told of a node must be of this node: its disk, its log's
// writes, its replicas.
func TestDoctorOfOneNode(t *testing.T) {
	r := serving(t, defaultLimits())
	cl := r.library()
	if _, err := cl.Set(t.Context(), []byte("k"), []byte("v"), client.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	a, err := cl.Doctor(t.Context(), r.addr)
	if err != nil {
		t.Fatal(err)
	}
	if a.Addr != r.addr || a.Version != Version || a.Start != 1 || len(a.Links) != 0 || a.Damaged != nil {
		t.Errorf("got %+v", a)
	}
	if s := a.Syncs; s.Count == 0 || s.Total < s.Count || s.P50 == 0 || s.P99 < s.P50 || s.Max < s.P50 {
		t.Errorf("the log's writes are %+v", s)
	}
	if d := a.Disk; d.Dir == "" || d.Segments == 0 || d.Log < d.Needed || d.Needed == 0 {
		t.Errorf("the disk is %+v", d)
	}
	for _, g := range a.Groups {
		if g.Role != raft.RoleLeader || g.Leader != a.Node || len(g.Voters) != 1 || g.Voters[0].Node != a.Node || g.Stopped != "" {
			t.Errorf("group %s is %+v", g.ID, g)
		}
	}
	if len(a.Groups) < 2 {
		t.Errorf("%d groups", len(a.Groups))
	}
}

// An entry that can't be read must be named, alone: what stands before and behind
// it on the same disk is as good as ever, and a comparison needs it.
func TestListLogAroundDamage(t *testing.T) {
	disk := vfs.NewMem()
	s, err := logstore.Open(logstore.Options{FS: disk, Dir: "d"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	id := logstore.Replica{Group: 1, Incarnation: 1, ID: 1}
	member := raft.Member{Replica: 1, Node: 7, Goal: raft.GoalVoter}
	writes := []logstore.Write{{Replica: id, Base: &logstore.Base{Membership: raft.Membership{Voters: []raft.Member{member}, Next: 2}},
		State: raft.HardState{Term: 1}, HasState: true}}
	const entries, bad = 40, 17
	for i := uint64(1); i <= entries; i++ {
		e := raft.SealedEntry(raft.EntrySeed(1, 1), raft.LogID{Term: 1, Index: i}, 0, raft.EntryNormal, fmt.Appendf(nil, "payload %d.", i))
		writes = append(writes, logstore.Write{Replica: id, Entries: []raft.Entry{e}})
		if err := s.Append(writes); err != nil {
			t.Fatal(err)
		}
		writes = writes[:0]
	}
	const name = "d/log/0000000000000001.log"
	disk.Corrupt(name, int64(bytes.Index(disk.Bytes(name), fmt.Appendf(nil, "payload %d.", bad))), 1)
	a, err := ListLog(s, id, &wire.LogRange{Group: 1, To: ^uint64(0)})
	if err != nil {
		t.Fatal(err)
	}
	if len(a.Lost) != 1 || a.Lost[0] != (wire.LogSpan{First: bad, Last: bad}) || len(a.Entries) != entries-1 || a.Next != 0 {
		t.Errorf("lost %v, and %d entries, next %d", a.Lost, len(a.Entries), a.Next)
	}
}
