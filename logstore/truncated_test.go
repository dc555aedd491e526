package logstore

import (
	"errors"
	"testing"

	"muster/logstore/vfs"
)

// A segment that ends before its time is damage like any other, also under a
// process that has it open. One would doubt it: to read past the end is an error
// of its own, which looked like the disk's and stopped the log.
func TestTruncatedUnderRead(t *testing.T) {
	disk := vfs.NewMem()
	r := testReplica(1)
	s := mustOpen(t, disk, Options{})
	must(t, s.Append([]Write{founding(r), {Replica: r, Entries: span(r, 1, 1, 4, 100)}}))
	if _, err := disk.Damage(s.active.name, segmentHeader, vfs.Truncated); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Read(r, 1, 4, 1<<20); !errors.Is(err, ErrDamaged) {
		t.Errorf("read of what was cut off: %v, want damage", err)
	}
	must(t, s.Append([]Write{{Replica: r, Entries: span(r, 1, 5, 5, 100)}}))
}
