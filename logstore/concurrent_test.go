package logstore

import (
	"errors"
	"math"
	"sync"
	"testing"

	"muster/logstore/vfs"
)

// Reads continue while the log is appended to and compacted, and its files are
// recycled and removed under them. What they return is whole and right, or they
// are told that it is gone.
func TestReadBesideAppend(t *testing.T) {
	fs := vfs.NewMem()
	s := mustOpen(t, fs, Options{Chance: 1})
	a, b := testReplica(1), testReplica(2)
	keep := span(b, 1, 1, 40, 60)
	must(t, s.Append([]Write{founding(a), founding(b), {Replica: b, Entries: keep}}))
	const last = 8000
	entries := span(a, 1, 1, last, 500)
	must(t, s.Append([]Write{{Replica: a, Commit: 10, Entries: entries[:10]}}))

	var readers sync.WaitGroup
	done := make(chan struct{})
	for range 3 {
		readers.Go(func() {
			lo := uint64(1)
			for {
				select {
				case <-done:
					return
				default:
				}
				got, err := s.Read(b, 1, 40, math.MaxInt)
				if err != nil || len(got) != 40 || string(got[39].Raw) != string(keep[39].Raw) {
					t.Errorf("entries that are moved about: got %d, %v", len(got), err)
					return
				}
				got, err = s.Read(a, lo, lo+5, 1500)
				switch {
				case errors.Is(err, ErrCompacted):
					lo += 10
				case errors.Is(err, ErrRange):
					lo = max(lo-min(lo-1, 5), 1)
				case err != nil:
					t.Error(err)
					return
				}
				for _, e := range got {
					if string(e.Raw) != string(entries[e.ID.Index-1].Raw) {
						t.Errorf("entry %s is not what was appended", e.ID)
						return
					}
				}
			}
		})
	}
	for i := uint64(10); i < last; i += 10 {
		w := Write{Replica: a, Commit: i + 10, Entries: entries[i : i+10]}
		if i > 50 && i%1000 == 0 {
			w.Base = &Base{ID: entries[i-50].ID, Membership: voters(11)}
		}
		must(t, s.Append([]Write{w}))
	}
	close(done)
	readers.Wait()
	if n := s.Stats(); n.Recycled < 5 || n.Removed == 0 || n.Moved == 0 {
		t.Errorf("%+v: the test shows nothing", n)
	}
	must(t, s.Close())
}
