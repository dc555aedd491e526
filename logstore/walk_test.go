package logstore

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"muster/logstore/vfs"
	"muster/raft"
)

// walked lists what a walk visits, without the kinds left out.
func walked(t testing.TB, fs vfs.FS, without ...string) []Walked {
	t.Helper()
	var all []Walked
	must(t, Walk(fs, "d", func(w *Walked) error {
		if !slices.Contains(without, w.Kind) {
			v := *w
			v.Entries = nil
			for _, e := range w.Entries {
				e.Raw = slices.Clone(e.Raw)
				v.Entries = append(v.Entries, e)
			}
			all = append(all, v)
		}
		return nil
	}))
	return all
}

// Who reads a log record by record must come to what the log comes to: what is
// printed is what is there. The obvious way to apply records is written out
// here once more.
func TestWalkSaysWhatTheLogHolds(t *testing.T) {
	fs, want := closedLog(t)
	before := fs.Ops()
	got := model{}
	for _, w := range walked(t, fs, WalkedSegment, WalkedBatch) {
		l := got[w.Replica]
		switch w.Kind {
		case "state":
			l.state.Term, l.state.Vote = w.State.Term, w.State.Vote
		case "base":
			l.base = *w.Base
			l.entries = slices.DeleteFunc(slices.Clone(l.entries), func(e raft.Entry) bool {
				return e.ID.Index <= w.Base.ID.Index || e.ID.Index > w.End
			})
		case "entries":
			l.entries = slices.DeleteFunc(slices.Clone(l.entries), func(e raft.Entry) bool { return e.ID.Index >= w.First })
			l.entries = append(l.entries, w.Entries...)
		case "removal":
			delete(got, w.Replica)
			continue
		case "moved entries":
		default:
			if w.Damage != nil || strings.HasPrefix(w.Kind, WalkedDamage) {
				t.Fatalf("got %+v", w)
			}
			continue
		}
		l.state.Commit = max(l.state.Commit, w.Commit)
		got[w.Replica] = l
	}
	if fs.Ops() != before {
		t.Error("Walk changed something")
	}
	s := mustOpen(t, fs, Options{})
	if err := want.differs(s); err != nil {
		t.Fatal(err)
	}
	if err := got.differs(s); err != nil {
		t.Error(err)
	}
}

// Any byte may be bad, and just then somebody wants to see what is there. The
// walk must continue, show nothing that was not written, say where the damage is, and
// show all other batches.
func TestWalkGoesOnBehindDamage(t *testing.T) {
	fs, _ := closedLog(t)
	const name = "d/log/0000000000000001.log"
	whole := walked(t, fs)
	known := map[string]bool{}
	say := func(w *Walked) string {
		text := fmt.Sprintf("%s %d %d %s %d-%d %v", w.Kind, w.Offset, w.Bytes, w.Replica, w.First, w.Last, w.State)
		for _, e := range w.Entries {
			text += fmt.Sprintf(" %x", e.Raw)
		}
		return text
	}
	for i := range whole {
		known[say(&whole[i])] = true
	}
	last := whole[len(whole)-1]
	batches := last.Batch
	for at := int64(0); at < last.Offset+last.Bytes; at += 7 {
		fs.Corrupt(name, at, 0x10)
		bad, seen := 0, map[uint64]bool{}
		for _, w := range walked(t, fs) {
			if w.Damage != nil {
				bad++
				if w.Damage.File != name || w.Damage.Reason == "" || w.Kind != WalkedDamage && w.Kind != WalkedTorn {
					t.Errorf("byte %d: got %+v", at, w)
				}
				continue
			}
			if !known[say(&w)] {
				t.Errorf("byte %d: %s was not written", at, say(&w))
			}
			seen[w.Batch] = true
		}
		missing := int(batches) - len(seen)
		if seen[0] { // the segment itself
			missing++
		}
		switch {
		case bad > 1, at >= segmentHeader && missing > 1:
			t.Errorf("byte %d: %d damages, %d batches not shown", at, bad, missing)
		case bad == 0 && missing > 0 && seen[batches]:
			t.Errorf("byte %d: a batch is missing and nothing said", at)
		}
		fs.Corrupt(name, at, 0x10)
	}
}

// Whole files may be gone, cut, or of another muster.
func TestWalkOfMissingSegments(t *testing.T) {
	a := testReplica(1)
	made := func() *vfs.Mem {
		fs := vfs.NewMem()
		s := mustOpen(t, fs, Options{Chance: 3})
		must(t, s.Append([]Write{founding(a)}))
		for i := uint64(0); i < 200; i++ {
			must(t, s.Append([]Write{{Replica: a, Entries: span(a, 1, 5*i+1, 5*i+5, 100)}}))
		}
		must(t, s.Close())
		return fs
	}
	const one, two, three = "d/log/0000000000000001.log", "d/log/0000000000000002.log", "d/log/0000000000000003.log"
	for _, tt := range []struct {
		name   string
		mutate func(*vfs.Mem)
		wants  []string
	}{
		{"none", func(fs *vfs.Mem) {}, nil},
		{"first", func(fs *vfs.Mem) { must(t, fs.Remove(one)) }, []string{one + " is damaged at offset 0: segment: the file is missing"}},
		{"second", func(fs *vfs.Mem) { must(t, fs.Remove(two)) }, []string{two + " is damaged at offset 0: segment: the file is missing", "batches "}},
		{"cut", func(fs *vfs.Mem) {
			f, err := fs.Open(two)
			must(t, err)
			must(t, f.Truncate(1000))
		}, []string{two, two, "batches "}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fs := made()
			tt.mutate(fs)
			var said []string
			entries := 0
			for _, w := range walked(t, fs) {
				if w.Damage != nil {
					said = append(said, w.Damage.Error())
				}
				entries += len(w.Entries)
			}
			if len(said) != len(tt.wants) {
				t.Fatalf("got %q, want %q", said, tt.wants)
			}
			for i, want := range tt.wants {
				if !strings.Contains(said[i], want) {
					t.Errorf("got %q, want %q in it", said[i], want)
				}
			}
			if entries < 200 {
				t.Errorf("%d entries of 1,000 are shown", entries)
			}
		})
	}
	for _, dir := range []string{"d", "elsewhere"} {
		fs := vfs.NewMem()
		if dir == "d" {
			must(t, fs.MkdirAll("d/log"))
		}
		if err := Walk(fs, "d", func(*Walked) error { return nil }); !errors.Is(err, ErrNoLog) {
			t.Errorf("%s: got %v, want %v", dir, err, ErrNoLog)
		}
	}
}

// Of the files that wait to be used again some have been removed, and some are in
// use again: what is missing between them was freed, and is no damage.
func TestWalkOfFreedSegments(t *testing.T) {
	fs := vfs.NewMem()
	a := testReplica(1)
	s := mustOpen(t, fs, Options{Chance: 3, FreeSegments: 8})
	must(t, s.Append([]Write{founding(a)}))
	last := uint64(0)
	write := func(times int) {
		for range times {
			must(t, s.Append([]Write{{Replica: a, Entries: span(a, 1, last+1, last+5, 100), Commit: last + 5}}))
			last += 5
		}
	}
	write(600)
	must(t, s.Compact(a, Base{ID: raft.LogID{Term: 1, Index: last}, Membership: founding(a).Base.Membership}))
	write(60)
	must(t, s.Close())
	freed := map[uint64]bool{}
	for _, w := range walked(t, fs) {
		if w.Kind == WalkedSegment && w.Freed {
			freed[w.Segment] = true
		}
		if w.Damage != nil {
			t.Fatalf("got %+v", w)
		}
	}
	numbers := slices.Sorted(maps.Keys(freed))
	if len(numbers) < 4 {
		t.Fatalf("freed are %v: the test shows little", numbers)
	}
	must(t, fs.Remove("d/log/"+segmentName(numbers[1]))) // as if it were in use again
	must(t, fs.Remove("d/log/"+segmentName(numbers[len(numbers)-1])))
	for _, w := range walked(t, fs) {
		if w.Damage != nil {
			t.Errorf("got %s", w.Damage)
		}
	}
}

// An unfinished last batch is not damage, and what followed it is not there.
func TestWalkOfATornEnd(t *testing.T) {
	fs := vfs.NewMem()
	a := testReplica(1)
	s := mustOpen(t, fs, Options{})
	must(t, s.Append([]Write{founding(a), {Replica: a, Entries: span(a, 1, 1, 3, 1000)}}))
	must(t, s.closeFiles())
	all := walked(t, fs, WalkedSegment)
	last := all[len(all)-1]
	fs.Corrupt("d/log/0000000000000001.log", last.Offset+20, 1)
	all = walked(t, fs)
	if end := all[len(all)-1]; end.Kind != WalkedTorn || end.Offset != last.Offset || end.Damage == nil {
		t.Errorf("got %+v, want it torn", end)
	}
}

// Who compares two logs opens them without disturbing their owner: nothing is
// written, nothing locked, and all that a Store reads is read.
func TestOpenToRead(t *testing.T) {
	fs := vfs.NewMem()
	r := newRun(11, mustOpen(t, fs, Options{Chance: 9}))
	for range 30 {
		must(t, r.step())
	}
	before := fs.Ops()
	s, err := OpenToRead(fs, "d") // beside its owner
	must(t, err)
	if err := r.done.differs(s); err != nil {
		t.Error(err)
	}
	for id, l := range r.done {
		base, last, _, ok := s.Bounds(id)
		if !ok || base != l.base.ID || last != l.last() {
			t.Errorf("%s: got %s to %s, want %s to %s", id, base, last, l.base.ID, l.last())
		}
	}
	if err := s.Append([]Write{founding(testReplica(9))}); !errors.Is(err, ErrStopped) {
		t.Errorf("append: got %v", err)
	}
	must(t, s.Close())
	if fs.Ops() != before {
		t.Error("OpenToRead changed something")
	}
	if _, err := OpenToRead(fs, "elsewhere"); !errors.Is(err, ErrNoLog) {
		t.Errorf("got %v, want %v", err, ErrNoLog)
	}
}
