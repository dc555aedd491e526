package repl

import (
	"bytes"
	"log/slog"
	"sync"
	"testing"
	"time"

	"muster/logstore"
	"muster/logstore/vfs"
	"muster/raft"
	"muster/repl/wire"
)

// Ask must be over when it returns: what f writes is the caller's. A loop that
// is closed meanwhile may be in the midst of f.
func TestAskWhileClosing(t *testing.T) {
	for range 200 {
		disk := vfs.NewMem()
		store, err := logstore.Open(logstore.Options{FS: disk, Dir: "data", Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		beginLife(t, disk, store, 1, 1)
		h, err := NewHost(HostConfig{Self: 1, Store: store, Transport: nowhere{}, ElectionTicks: 20, HeartbeatTicks: 2, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		l := StartLoop(h, 50*time.Millisecond, 0)
		var asked sync.WaitGroup
		for range 4 {
			asked.Go(func() {
				for {
					written := 0 // the race detector sees a late write
					ok := l.Ask(func(*Host) { written++ })
					if ok != (written == 1) {
						t.Errorf("Ask says %t, its function ran %d times", ok, written)
					}
					if !ok {
						return
					}
				}
			})
		}
		l.Close()
		asked.Wait()
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A snapshot rots, the scrub reads it, and the loop has it written again, though
// nothing was applied since: the file of that name is whole again, and nothing
// else has changed. One would doubt it: each of the three could wait for
// something that never comes in a group at rest.
func TestScrubOfRottenSnapshot(t *testing.T) {
	disk := vfs.NewMem()
	quiet := slog.New(slog.DiscardHandler)
	store, err := logstore.Open(logstore.Options{FS: disk, Dir: "data", Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	beginLife(t, disk, store, 1, 1)
	n := &testNode{c: &cluster{}, history: map[raft.GroupID][]uint64{}}
	h, err := NewHost(HostConfig{
		Self: 1, Store: store, Transport: nowhere{}, Addr: func(raft.NodeID) string { return "" }, Log: quiet,
		Machine:       func(r logstore.Replica) StateMachine { return &register{node: n, group: r.Group} },
		ElectionTicks: raft.ElectionTicksDefault, HeartbeatTicks: raft.HeartbeatTicksDefault, QuietTicks: 20,
	})
	if err != nil {
		t.Fatal(err)
	}
	l := StartLoop(h, 5*time.Millisecond, 0)
	until := func(what string, ok func(h *Host) bool) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); ; {
			done := false
			if !l.Ask(func(h *Host) { done = ok(h) }) {
				t.Fatal("the loop is over")
			}
			if done {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("never: %s", what)
			}
			time.Sleep(time.Millisecond)
		}
	}
	r := logstore.Replica{Group: 1, Incarnation: 1, ID: 1}
	members := raft.Membership{Voters: []raft.Member{{Replica: 1, Node: 1, Goal: raft.GoalVoter}}, Next: 2}
	l.Post(func(h *Host) { h.Place([]Placement{{Replica: r, Founders: members, Preferred: 1}}) })
	until("it leads", func(h *Host) bool { return h.groups[1] != nil && h.groups[1].role == raft.RoleLeader })
	var s said
	p := proposal(1, &s, 7)
	l.Propose([]Proposal{p})
	until("the write is applied", func(*Host) bool { return len(n.history[1]) == 1 })
	l.Post(func(h *Host) { h.AskSnapshot(1) })
	atRest := func(h *Host) bool {
		g := h.groups[1]
		return g.snap.base.Index > 0 && g.snap.base == g.applied && !h.chores.working && !h.underWay && len(h.chores.litter) == 0 && len(h.mending.list) == 0
	}
	until("all is in a snapshot", atRest)
	sn := store.Snapshots(r)[0]
	whole := bytes.Clone(disk.Bytes(sn.File))

	disk.Corrupt(sn.File, sn.Size/2, 1)
	for done := false; !done; {
		if done, err = store.Scrub(1 << 20); err != nil {
			t.Fatal(err)
		}
	}
	if d := store.Damaged(); len(d) != 1 || !d[0].State {
		t.Fatalf("the scrub finds %+v", d)
	}
	l.DamageFound()
	until("it is written again", func(h *Host) bool { return len(store.Snapshots(r)) == 1 && atRest(h) })
	if d := store.Damaged(); len(d) > 0 {
		t.Errorf("the store still says %+v", d)
	}
	if again := store.Snapshots(r)[0]; again.Base.ID != sn.Base.ID || !bytes.Equal(disk.Bytes(again.File), whole) {
		t.Errorf("it is at %s, was at %s; the bytes are the same: %t", again.Base.ID, sn.Base.ID, bytes.Equal(disk.Bytes(again.File), whole))
	}
	if err := logstore.VerifySnapshot(disk, sn.File); err != nil {
		t.Error(err)
	}
	l.Close()
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
}

// nowhere is a transport that loses everything.
type nowhere struct{}

func (nowhere) Send(raft.NodeID, *wire.Envelope)                                   {}
func (nowhere) Fetch(raft.NodeID, *wire.Envelope, func() bool)                     {}
func (nowhere) SendBeat(raft.NodeID, *wire.Beat, bool)                             {}
func (nowhere) SendRepair(raft.NodeID, *wire.Repair)                               {}
func (nowhere) SendForward(raft.NodeID, uint64, time.Duration, *wire.Forward) bool { return false }
func (nowhere) AnswerRepair(raft.NodeID, *wire.RepairAnswer, logstore.Replica, []wire.RepairSpan) {
}
func (nowhere) SendLife(raft.NodeID, wire.Type, wire.Body)             {}
func (nowhere) SendAudit(raft.NodeID, wire.Type, wire.Body)            {}
func (nowhere) SendSnapshotRequest(raft.NodeID, *wire.SnapshotRequest) {}
func (nowhere) SendSnapshot(raft.NodeID, *SnapshotStream)              {}
func (nowhere) Flush()                                                 {}
