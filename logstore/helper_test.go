package logstore

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"testing"

	"muster/logstore/vfs"
	"muster/raft"
)

// sealed makes an entry as a leader would, from the layout that raft/entry.go
// draws.
func sealed(r Replica, id raft.LogID, kind raft.EntryKind, payload []byte) raft.Entry {
	e := raft.NewEntry(kind, payload)
	e.ID, e.Time = id, raft.GroupTime(id.Index*1000)
	binary.LittleEndian.PutUint32(e.Raw[4:], uint32(len(payload)))
	binary.LittleEndian.PutUint64(e.Raw[8:], id.Term)
	binary.LittleEndian.PutUint64(e.Raw[16:], id.Index)
	binary.LittleEndian.PutUint64(e.Raw[24:], uint64(e.Time))
	e.Raw[32] = byte(kind)
	binary.LittleEndian.PutUint32(e.Raw, crc32.Update(uint32(raft.EntrySeed(r.Group, r.Incarnation)), castagnoli, e.Raw[4:]))
	return e
}

// span makes the entries first to last of a term. Their payload tells them
// apart and has size bytes.
func span(r Replica, term, first, last uint64, size int) []raft.Entry {
	var entries []raft.Entry
	for i := first; i <= last; i++ {
		p := fmt.Appendf(nil, "%s %d.%d ", r.Group, term, i)
		for len(p) < size {
			p = append(p, byte(len(p)), byte(i), byte(term))
		}
		entries = append(entries, sealed(r, raft.LogID{Term: term, Index: i}, raft.EntryNormal, p))
	}
	return entries
}

func testReplica(n int) Replica {
	return Replica{Group: raft.GroupID(n), Incarnation: 1, ID: raft.ReplicaID(10 + n)}
}

func voters(ids ...raft.ReplicaID) raft.Membership {
	m := raft.Membership{Next: 1}
	for _, id := range ids {
		m.Voters = append(m.Voters, raft.Member{Replica: id, Node: raft.NodeID(id), Goal: raft.GoalVoter})
		m.Next = id + 1
	}
	return m
}

// founding is the first write of a replica.
func founding(r Replica) Write {
	return Write{Replica: r, Base: &Base{Membership: voters(r.ID)}, State: raft.HardState{Term: 1, Vote: r.ID}, HasState: true}
}

func mustOpen(t testing.TB, fs vfs.FS, o Options) *Store {
	t.Helper()
	o.FS = fs
	if o.Dir == "" {
		o.Dir = "d"
	}
	if o.SegmentBytes == 0 {
		o.SegmentBytes = SegmentBytesMin
	}
	s, err := Open(o)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func sameEntries(t testing.TB, got, want []raft.Entry) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("got %d entries, want %d", len(got), len(want))
	}
	for i := range got {
		if got[i].ID != want[i].ID || string(got[i].Raw) != string(want[i].Raw) || got[i].Kind != want[i].Kind {
			t.Fatalf("entry %d: got %s, want %s", i, got[i].ID, want[i].ID)
		}
	}
}

// closedLog makes a small log, closed in order, and says what it holds.
func closedLog(t *testing.T) (*vfs.Mem, model) {
	t.Helper()
	fs := vfs.NewMem()
	r := newRun(11, mustOpen(t, fs, Options{Chance: 9}))
	r.groups = 2
	for range 12 {
		must(t, r.step())
	}
	must(t, r.store.Close())
	return fs, r.done
}
