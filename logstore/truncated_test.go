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
	if _, err := disk.Damage(s.index.active.name, segmentHeader, vfs.Truncated); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Read(r, 1, 4, 1<<20); !errors.Is(err, ErrDamaged) {
		t.Errorf("read of what was cut off: %v, want damage", err)
	}
	must(t, s.Append([]Write{{Replica: r, Entries: span(r, 1, 5, 5, 100)}}))
}

// A segment that is missing after the last that is there has no header to be
// mended. One would doubt it: its place among the others is made up, and a panic
// kept the node from starting.
func TestMissingNewest(t *testing.T) {
	disk := vfs.NewMem()
	r := testReplica(1)
	s := mustOpen(t, disk, Options{})
	must(t, s.Append([]Write{founding(r), {Replica: r, Entries: span(r, 1, 1, 4, 100)}}))
	for i := uint64(5); len(s.index.segments) < 2 || s.index.active.number < 3; i++ {
		must(t, s.Append([]Write{{Replica: r, Entries: span(r, 1, i, i, 1000)}}))
		must(t, s.Idle())
	}
	newest := s.index.active.number
	must(t, s.Close())
	for n := newest; n <= newest+1; n++ {
		if _, err := disk.Damage("d/log/"+segmentName(n), 0, vfs.Missing); err != nil && n == newest {
			t.Fatal(err)
		}
	}
	s = mustOpen(t, disk, Options{})
	if len(s.Damaged()) == 0 {
		t.Error("a log whose newest segment is missing says that it is whole")
	}
	must(t, s.Close())
}
