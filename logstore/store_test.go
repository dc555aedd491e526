package logstore

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"muster/logstore/vfs"
	"muster/raft"
)

// What was appended is read back, before and after the log is opened again, on
// a real disk and on one in memory. Several groups share each batch.
func TestAppendReadReopen(t *testing.T) {
	for name, fs := range map[string]vfs.FS{"mem": vfs.NewMem(), "os": vfs.OS{}} {
		t.Run(name, func(t *testing.T) {
			dir := "d"
			if name == "os" {
				dir = t.TempDir() + "/made/here"
			}
			o := Options{Dir: dir, Chance: 7}
			s := mustOpen(t, fs, o)
			a, b := testReplica(1), testReplica(2)
			must(t, s.Append([]Write{founding(a), founding(b)}))
			change := sealed(a, raft.LogID{Term: 2, Index: 4}, raft.EntryMembership, voters(11, 12).Append(nil))
			wantA := append(span(a, 1, 1, 3, 50), change)
			wantA = append(wantA, span(a, 2, 5, 400, 300)...)
			wantB := span(b, 1, 1, 2, 0)
			must(t, s.Append([]Write{
				{Replica: a, State: raft.HardState{Term: 2, Vote: 11}, HasState: true, Entries: wantA},
				{Replica: b, Entries: wantB, Commit: 1},
			}))
			must(t, s.Append([]Write{{Replica: a, Commit: 5}})) // no write of its own
			for range 2 {
				got, err := s.Read(a, 1, 400, math.MaxInt)
				must(t, err)
				sameEntries(t, got, wantA)
				got, err = s.Read(a, 5, 400, 1000)
				must(t, err)
				sameEntries(t, got, wantA[4:6])
				got, err = s.Read(b, 2, 2, 1)
				must(t, err)
				sameEntries(t, got, wantB[1:])
				must(t, s.Close())
				s = mustOpen(t, fs, o)
			}
			if got, want := fmt.Sprint(s.Replicas()), fmt.Sprint([]Replica{a, b}); got != want {
				t.Errorf("replicas: got %s, want %s", got, want)
			}
			r, err := s.Restore(a)
			must(t, err)
			want := fmt.Sprint(raft.Restored{
				State: raft.HardState{Term: 2, Vote: 11, Commit: 5}, Membership: voters(11),
				Changes: []raft.Entry{change}, Terms: []raft.TermRun{{First: 1, Term: 1}, {First: 4, Term: 2}},
				Last: raft.LogID{Term: 2, Index: 400}, Time: 400_000,
			})
			if got := fmt.Sprint(r); got != want {
				t.Errorf("restored: got %s\nwant %s", got, want)
			}
			must(t, s.Close())
		})
	}
}

// The end of a log is replaced, by fewer entries than before, and stays so
// after opening: the old ones are still in the file.
func TestTruncate(t *testing.T) {
	fs := vfs.NewMem()
	s := mustOpen(t, fs, Options{})
	a := testReplica(1)
	must(t, s.Append([]Write{founding(a)}))
	old := span(a, 1, 1, 10, 40)
	must(t, s.Append([]Write{{Replica: a, Entries: old}}))
	state := raft.HardState{Term: 3}
	must(t, s.Append([]Write{{Replica: a, State: state, HasState: true, Entries: span(a, 2, 7, 9, 30)}}))
	must(t, s.Append([]Write{{Replica: a, Entries: span(a, 3, 8, 8, 20)}}))
	want := append(append(old[:6:6], span(a, 2, 7, 7, 30)...), span(a, 3, 8, 8, 20)...)
	for range 2 {
		got, err := s.Read(a, 1, 8, math.MaxInt)
		must(t, err)
		sameEntries(t, got, want)
		if _, err := s.Read(a, 1, 9, math.MaxInt); !errors.Is(err, ErrRange) {
			t.Errorf("read past the end: got %v", err)
		}
		must(t, s.Close())
		s = mustOpen(t, fs, Options{})
	}
}

// A commit alone waits for company; one that comes as state does not, though
// term and vote are the same: what rests on it may be in the same Append.
func TestCommitAlone(t *testing.T) {
	a := testReplica(1)
	for _, test := range []struct {
		name string
		w    Write
		want uint64
	}{
		{"commit", Write{Replica: a, Commit: 2}, 1},
		{"state", Write{Replica: a, State: raft.HardState{Term: 1, Vote: a.ID, Commit: 2}, HasState: true}, 2},
		{"state that is known", Write{Replica: a, State: raft.HardState{Term: 1, Vote: a.ID, Commit: 1}, HasState: true}, 1},
	} {
		fs := vfs.NewMem()
		s := mustOpen(t, fs, Options{})
		must(t, s.Append([]Write{founding(a), {Replica: a, Entries: span(a, 1, 1, 3, 5), Commit: 1}}))
		before := s.Stats().Batches
		must(t, s.Append([]Write{test.w}))
		if wrote := s.Stats().Batches > before; wrote != (test.want == 2) {
			t.Errorf("%s: wrote %v", test.name, wrote)
		}
		fs.Crash(vfs.DropUnsynced, 0)
		s = mustOpen(t, fs, Options{})
		r, err := s.Restore(a)
		must(t, err)
		if r.State.Commit != test.want {
			t.Errorf("%s: commit %d after the crash, want %d", test.name, r.State.Commit, test.want)
		}
	}
}

// A snapshot from the leader replaces the entries of other terms, even those after the
// snapshot's end: keeping them would let entries count with which no leader agrees.
func TestSnapshotOverTail(t *testing.T) {
	a := testReplica(1)
	for _, test := range []struct {
		name string
		base raft.LogID
		last raft.LogID
	}{
		{"an entry that the log holds", raft.LogID{Term: 1, Index: 5}, raft.LogID{Term: 1, Index: 9}},
		{"another term at the index", raft.LogID{Term: 2, Index: 5}, raft.LogID{Term: 2, Index: 5}},
		{"past the end", raft.LogID{Term: 2, Index: 20}, raft.LogID{Term: 2, Index: 20}},
	} {
		t.Run(test.name, func(t *testing.T) {
			fs := vfs.NewMem()
			s := mustOpen(t, fs, Options{})
			must(t, s.Append([]Write{founding(a), {Replica: a, Entries: span(a, 1, 1, 9, 10), Commit: 3}}))
			must(t, s.Append([]Write{{
				Replica: a, Base: &Base{ID: test.base, Time: 77, Membership: voters(11, 12)},
				State: raft.HardState{Term: 2}, HasState: true,
			}}))
			for range 2 {
				r, err := s.Restore(a)
				must(t, err)
				if r.Base != test.base || r.Last != test.last || r.State.Commit != test.base.Index {
					t.Errorf("got base %s, last %s, commit %d; want %s, %s, %d", r.Base, r.Last, r.State.Commit, test.base, test.last, test.base.Index)
				}
				if _, err := s.Read(a, test.base.Index, test.base.Index, 1); !errors.Is(err, ErrCompacted) {
					t.Errorf("read of the base: got %v, want ErrCompacted", err)
				}
				must(t, s.Close())
				s = mustOpen(t, fs, Options{})
			}
			must(t, s.Append([]Write{{Replica: a, Entries: span(a, 2, test.last.Index+1, test.last.Index+1, 5)}}))
		})
	}
}

// A replica that contradicts its own log is broken: its write is refused, and
// the store stops rather than keep half of it.
func TestRefusedWrites(t *testing.T) {
	a := testReplica(1)
	broken := span(a, 2, 6, 6, 10)
	broken[0].Raw[45] ^= 1
	renamed := span(a, 2, 6, 6, 10)
	renamed[0].ID.Index = 5
	removed := testReplica(3)
	for _, test := range []struct {
		name string
		w    Write
		want string
	}{
		{"no base", Write{Replica: testReplica(2), Entries: span(testReplica(2), 1, 1, 1, 1)}, "has a base"},
		{"gap", Write{Replica: a, Entries: span(a, 2, 7, 7, 1)}, "leaves a gap"},
		{"gap inside", Write{Replica: a, Entries: append(span(a, 2, 6, 6, 1), span(a, 2, 8, 8, 1)...)}, "does not follow"},
		{"before the beginning", Write{Replica: a, Entries: span(a, 2, 0, 0, 1)}, "begins after"},
		{"committed", Write{Replica: a, Entries: span(a, 2, 3, 3, 1)}, "committed up to 3"},
		{"term back in the log", Write{Replica: a, Entries: span(a, 1, 6, 6, 1)}, "after 2.5"},
		{"term back inside", Write{Replica: a, Entries: append(span(a, 2, 6, 6, 1), span(a, 1, 7, 7, 1)...)}, "after 2.6"},
		{"entry of a term not kept", Write{Replica: a, Entries: span(a, 3, 6, 6, 1)}, "in term 2"},
		{"term back", Write{Replica: a, HasState: true, State: raft.HardState{Term: 1}}, "term 1 after term 2"},
		{"second vote", Write{Replica: a, HasState: true, State: raft.HardState{Term: 2, Vote: 9}}, "vote for replica 9"},
		{"vote forgotten", Write{Replica: a, HasState: true, State: raft.HardState{Term: 2}}, "vote for replica 0"},
		{"damaged entry", Write{Replica: a, Entries: broken}, "checksum"},
		{"entry under another id", Write{Replica: a, Entries: renamed}, "holds 2.6"},
		{"entry of another group", Write{Replica: a, Entries: span(testReplica(2), 2, 6, 6, 1)}, "checksum"},
		{"base that contradicts", Write{Replica: a, Base: &Base{ID: raft.LogID{Term: 2, Index: 2}, Membership: voters(1)}}, "is committed"},
		{"removed", Write{Replica: removed, Base: &Base{Membership: voters(1)}}, "removed"},
		{"older than one removed", Write{Replica: Replica{removed.Group, removed.Incarnation, removed.ID - 1}, Base: &Base{Membership: voters(1)}}, "removed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			fs := vfs.NewMem()
			s := mustOpen(t, fs, Options{})
			must(t, s.Append([]Write{founding(a), founding(removed)}))
			must(t, s.Append([]Write{{Replica: removed, Remove: true}}))
			must(t, s.Append([]Write{{Replica: a, Entries: span(a, 1, 1, 4, 9)}}))
			must(t, s.Append([]Write{{Replica: a, HasState: true, State: raft.HardState{Term: 2, Vote: 11}, Entries: span(a, 2, 5, 5, 9), Commit: 3}}))
			err := s.Append([]Write{test.w})
			if !errors.Is(err, ErrWrite) || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v, want ErrWrite with %q", err, test.want)
			}
			if err := s.Append([]Write{{Replica: a, Commit: 4}}); !errors.Is(err, ErrStopped) {
				t.Errorf("after it: got %v, want ErrStopped", err)
			}
			if err := s.Idle(); !errors.Is(err, ErrStopped) {
				t.Errorf("idle after it: got %v, want ErrStopped", err)
			}
			must(t, s.Close())
			s = mustOpen(t, fs, Options{})
			r, err := s.Restore(a)
			must(t, err)
			if r.Last != (raft.LogID{Term: 2, Index: 5}) {
				t.Errorf("last: got %s, want 2.5", r.Last)
			}
		})
	}
}

// One entry may be larger than a segment. It gets a segment of its own size, and the
// log continues after it.
func TestEntryLargerThanSegment(t *testing.T) {
	fs := vfs.NewMem()
	s := mustOpen(t, fs, Options{})
	a := testReplica(1)
	must(t, s.Append([]Write{founding(a)}))
	want := span(a, 1, 1, 1, 20)
	want = append(want, span(a, 1, 2, 3, 5*SegmentBytesMin)...)
	want = append(want, span(a, 1, 4, 900, 20)...)
	must(t, s.Append([]Write{{Replica: a, Entries: want}}))
	for range 2 {
		got, err := s.Read(a, 1, 900, math.MaxInt)
		must(t, err)
		sameEntries(t, got, want)
		must(t, s.Close())
		s = mustOpen(t, fs, Options{})
	}
}

// The largest entry that raft lets through fits, with the standard sizes.
func TestLargestEntry(t *testing.T) {
	fs := vfs.NewMem()
	o := Options{SegmentBytes: SegmentBytesDefault}
	s := mustOpen(t, fs, o)
	a := testReplica(1)
	want := []raft.Entry{sealed(a, raft.LogID{Term: 1, Index: 1}, raft.EntryNormal, make([]byte, raft.PayloadSizeMax))}
	w := founding(a)
	w.Entries = want
	must(t, s.Append([]Write{w}))
	must(t, s.Close())
	s = mustOpen(t, fs, o)
	got, err := s.Read(a, 1, 1, 0)
	must(t, err)
	sameEntries(t, got, want)
}

// Two processes on one directory would write over each other.
func TestInUse(t *testing.T) {
	for name, fs := range map[string]vfs.FS{"mem": vfs.NewMem(), "os": vfs.OS{}} {
		dir := t.TempDir()
		if name == "mem" {
			dir = "d"
		}
		s := mustOpen(t, fs, Options{Dir: dir})
		if _, err := Open(Options{FS: fs, Dir: dir}); !errors.Is(err, ErrInUse) {
			t.Errorf("%s: got %v, want ErrInUse", name, err)
		}
		must(t, s.Close())
		lock, err := Lock(fs, dir)
		must(t, err)
		s = mustOpen(t, fs, Options{Dir: dir, Lock: lock})
		must(t, s.Close())
		if _, err := Lock(fs, dir); !errors.Is(err, ErrInUse) {
			t.Errorf("%s: Close took the caller's lock: got %v", name, err)
		}
		must(t, lock.Close())
	}
}
