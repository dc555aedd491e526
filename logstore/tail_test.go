package logstore

import (
	"testing"

	"muster/logstore/vfs"
)

// An idle moment frees two segments, and the batch that said so is the last in
// the log, for as long as the node rests or is down. If that batch rots, the one
// before it says that the segments are needed, and they are gone. That is one
// place that is damaged, in a batch that promised nothing: no replica may be
// hurt by it.
func TestRotInTheBatchThatFreed(t *testing.T) {
	for _, end := range []string{"rests", "was closed"} {
		t.Run(end, func(t *testing.T) {
			fs := vfs.NewMem()
			s := mustOpen(t, fs, Options{})
			a, b := testReplica(1), testReplica(2)
			must(t, s.Append([]Write{founding(a), founding(b)}))
			next := map[Replica]uint64{}
			fill := func(r Replica, until uint64) {
				for s.index.active.number < until {
					next[r]++
					i := next[r]
					must(t, s.Append([]Write{{Replica: r, Commit: i, Entries: span(r, 1, i, i, 3000)}}))
				}
			}
			free := func(r Replica) {
				must(t, s.Compact(r, Base{ID: span(r, 1, next[r], next[r], 1)[0].ID, Membership: voters(r.ID)}))
			}
			rest := func() {
				for range 10 {
					must(t, s.Idle())
				}
			}
			fill(a, 5)
			fill(b, 7)
			fill(a, 8)
			free(a)
			rest()
			first := s.index.segments[0].number
			if n := len(s.room.free); n < FreeSegmentsDefault {
				t.Fatalf("only %d files wait to be used again: the others would not be removed", n)
			}
			free(b)
			if end == "rests" {
				rest()
			} else {
				must(t, s.Close())
			}
			if tail := s.index.tail(); tail < first+2 {
				t.Fatalf("the log needs the segments from %d on, before it were those from %d", tail, first)
			}
			name, at := s.index.active.name, s.writer.synced.offset-1
			fs.Crash(vfs.KeepUnsynced, 0)
			if changed, err := fs.Damage(name, at, vfs.ZeroPage); err != nil || !changed {
				t.Fatalf("damage: %t, %v", changed, err)
			}
			s = mustOpen(t, fs, Options{})
			for _, d := range s.Damaged() {
				if d.Promises || len(d.Lost) > 0 {
					t.Error(d.Err())
				}
			}
			must(t, s.Close())
		})
	}
}
