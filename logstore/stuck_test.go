package logstore

import (
	"errors"
	"math"
	"testing"

	"muster/logstore/vfs"
)

// While a sync is stuck, what is durable can be read, and what needs no disk
// answers: a lock that is held over the sync would stop the whole node for as
// long. What waits is neither acknowledged nor visible. Once the disk continues, so
// does the log.
func TestStuckSync(t *testing.T) {
	disk := vfs.NewFaulty(vfs.NewMem())
	s := mustOpen(t, disk, Options{})
	kept := span(one, 1, 1, 3, 50)
	must(t, s.Append([]Write{founding(one), {Replica: one, Entries: kept}}))
	stuck := disk.Add(vfs.Rule{Fault: vfs.Stuck, Op: "sync", Name: "*.log"})
	done := make(chan error)
	more := span(one, 1, 4, 5, 50)
	go func() { done <- s.Append([]Write{{Replica: one, Entries: more}}) }()
	<-stuck.Held()
	got, err := s.Read(one, 1, 3, math.MaxInt)
	must(t, err)
	sameEntries(t, got, kept)
	if _, err := s.Read(one, 4, 4, math.MaxInt); !errors.Is(err, ErrRange) {
		t.Errorf("an entry that is not synced: got %v, want ErrRange", err)
	}
	if n := s.Stats(); n.Replicas != 1 {
		t.Errorf("stats: got %+v", n)
	}
	if len(s.Replicas()) != 1 || len(s.Damaged()) != 0 || len(s.Snapshots(one)) != 0 || s.Space().Full {
		t.Error("what needs no disk is not as it was")
	}
	select {
	case err := <-done:
		t.Fatalf("it was acknowledged while the sync was stuck: %v", err)
	default:
	}
	stuck.Release()
	must(t, <-done)
	got, err = s.Read(one, 4, 5, math.MaxInt)
	must(t, err)
	sameEntries(t, got, more)
	must(t, s.Close())
}
