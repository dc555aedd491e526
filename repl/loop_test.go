package repl

import (
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
		store, err := logstore.Open(logstore.Options{FS: vfs.NewMem(), Dir: "data", Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
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

// nowhere is a transport that loses everything.
type nowhere struct{}

func (nowhere) Send(raft.NodeID, *wire.Envelope)               {}
func (nowhere) Fetch(raft.NodeID, *wire.Envelope, func() bool) {}
func (nowhere) SendBeat(raft.NodeID, *wire.Beat, bool)         {}
func (nowhere) SendRepair(raft.NodeID, *wire.Repair)           {}
func (nowhere) AnswerRepair(raft.NodeID, *wire.RepairAnswer, logstore.Replica, []wire.RepairSpan) {
}
func (nowhere) SendSnapshotRequest(raft.NodeID, *wire.SnapshotRequest) {}
func (nowhere) SendSnapshot(raft.NodeID, *SnapshotStream)              {}
func (nowhere) Flush()                                                 {}
