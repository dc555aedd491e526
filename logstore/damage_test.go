package logstore

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"muster/logstore/vfs"
	"muster/raft"
)

// What is wrong with a log is said with file, offset and record.
func TestDamageIsNamed(t *testing.T) {
	a := testReplica(1)
	const one, two, three = "d/log/0000000000000001.log", "d/log/0000000000000002.log", "d/log/0000000000000003.log"
	for _, test := range []struct {
		name   string
		mutate func(*vfs.Mem)
		want   []string
	}{
		{"entry in the middle", func(fs *vfs.Mem) { fs.Corrupt(one, 1024+batchHeaderSize+recordHeaderSize+60, 1) },
			[]string{one, "offset 1024", "batch 2", "entries of g1 incarnation 1 replica 11", "checksum"}},
		{"batch header in the middle, and a record", func(fs *vfs.Mem) {
			fs.Corrupt(one, 1024, 1)
			fs.Corrupt(one, 1024+batchHeaderSize+recordHeaderSize+60, 1)
		},
			[]string{one, "offset 1024", "batch 2", "there is no batch", "batch 3 follows"}},
		{"last batch of a segment with entries", func(fs *vfs.Mem) { fs.Corrupt(one, lastBatch(t, fs, one)+80, 1) },
			[]string{one, "follows at offset"}},
		{"first batch of a segment", func(fs *vfs.Mem) { fs.Corrupt(two, 512+70, 1) },
			[]string{two, "offset 512", "follows at offset"}},
		{"both headers of a segment", func(fs *vfs.Mem) {
			fs.Corrupt(two, 17, 1)
			fs.Corrupt(two, SegmentBytesMin-segmentHeader+17, 1)
		}, []string{two, "header", "checksum", "follows at offset"}},
		{"newer format", func(fs *vfs.Mem) { setFormat(t, fs, two, byte(segmentFormats.newest+1)) }, []string{two, "newer muster", "format 4"}},
		{"older format", func(fs *vfs.Mem) { setFormat(t, fs, two, byte(segmentFormats.newest-1)) }, []string{two, "older muster", "format 2", "export"}},
		{"first segment missing", func(fs *vfs.Mem) { must(t, fs.Remove(one)) }, []string{one, "missing"}},
		{"segment in the middle missing", func(fs *vfs.Mem) { must(t, fs.Remove(two)) }, []string{two, "missing"}},
		{"segment cut short", func(fs *vfs.Mem) {
			f, err := fs.Open(three)
			must(t, err)
			must(t, f.Truncate(1000))
		}, []string{three, "1000 bytes"}},
		{"segment of another place", func(fs *vfs.Mem) {
			must(t, fs.Rename(three, "d/log/x.log"))
			must(t, fs.Rename(two, three))
			must(t, fs.Rename("d/log/x.log", two))
		}, []string{two, "header", "it is that of segment 3"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			fs := vfs.NewMem()
			s := mustOpen(t, fs, Options{Chance: 3})
			must(t, s.Append([]Write{founding(a)}))
			for i := uint64(0); i < 200; i++ {
				must(t, s.Append([]Write{{Replica: a, Entries: span(a, 1, 5*i+1, 5*i+5, 100)}}))
			}
			must(t, s.Close())
			test.mutate(fs)
			s, err := Open(Options{FS: fs, Dir: "d", SegmentBytes: SegmentBytesMin})
			if err == nil {
				d, ok := s.DamageOf(a)
				if !ok {
					t.Fatal("got no damage")
				}
				err = d.Err()
				must(t, s.Close())
			}
			if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNewerFormat) && !errors.Is(err, ErrOlderFormat) {
				t.Fatalf("got %v, want damage", err)
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %q, want %q in it", err, want)
				}
			}
			t.Log(err)
		})
	}
}

// lastBatch finds where the last batch of a segment begins before the one that
// closes it.
func lastBatch(t *testing.T, fs *vfs.Mem, name string) int64 {
	t.Helper()
	seg, err := openSegment(fs, "d/log", 1)
	must(t, err)
	b, _, err := seg.read(nil)
	must(t, err)
	last := int64(0)
	for at := int64(segmentHeader); at < seg.size; {
		h, ok := readBatchHeader(b[at:], seg.at(at))
		if !ok {
			break
		}
		if h.next == 0 {
			last = at
		}
		at += batchSize(h.length)
	}
	return last
}

// setFormat makes a segment one of another format.
func setFormat(t *testing.T, fs *vfs.Mem, name string, format byte) {
	t.Helper()
	f, err := fs.Open(name)
	must(t, err)
	b := make([]byte, segmentHeader)
	if _, err := f.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	b[8] = format
	sum := segmentHeaderSum(b)
	b[12], b[13], b[14], b[15] = byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24)
	if _, err := f.WriteAt(b, 0); err != nil {
		t.Fatal(err)
	}
}

// What rots while the node runs is noticed by the Read that meets it, which
// serves none of it; the entries beside it can still be read.
func TestReadNoticesRot(t *testing.T) {
	fs := vfs.NewMem()
	s := mustOpen(t, fs, Options{})
	a := testReplica(1)
	must(t, s.Append([]Write{founding(a)}))
	entries := span(a, 1, 1, 30, 100)
	for i := range 3 {
		must(t, s.Append([]Write{{Replica: a, Entries: entries[10*i : 10*i+10]}}))
	}
	at := int64(s.index.replicas[a].runs[1].at.offset)
	fs.Corrupt(s.index.active.name, at+300, 4)
	var d *Damage
	if got, err := s.Read(a, 5, 15, math.MaxInt); !errors.As(err, &d) || got != nil {
		t.Fatalf("got %d entries, %v; want damage", len(got), err)
	}
	if want := fmt.Sprintf("%s is damaged at offset %d: entries 11 to 20 of term 1 of %s: its checksum does not fit", s.index.active.name, at, a); d.Error() != want {
		t.Errorf("got %q, want %q", d, want)
	}
	for _, beside := range []int{0, 20} {
		got, err := s.Read(a, uint64(beside)+1, uint64(beside)+10, math.MaxInt)
		must(t, err)
		sameEntries(t, got, entries[beside:beside+10])
	}
	must(t, s.Close())
}

// A record that can't be read does not keep its segment: that it is lost is
// written again, as it would have been itself.
func TestRotAtTheTail(t *testing.T) {
	fs := vfs.NewMem()
	s := mustOpen(t, fs, Options{})
	a, b := testReplica(1), testReplica(2)
	must(t, s.Append([]Write{founding(a), founding(b), {Replica: b, Entries: span(b, 1, 1, 1, 50)}}))
	fs.Corrupt(s.index.active.name, int64(s.index.replicas[b].runs[0].at.offset)+50, 1)
	for i := uint64(1); s.index.active.number < 5; i++ {
		e := span(a, 1, i, i, 3000)
		must(t, s.Append([]Write{{Replica: a, Commit: i, Entries: e}}))
		must(t, s.Compact(a, Base{ID: e[0].ID, Membership: voters(11)}))
	}
	for range 2 {
		if first := s.index.segments[0].number; first == 1 {
			t.Error("the log still begins with segment 1")
		}
		d, _ := s.DamageOf(b)
		if want := []Span{{1, 1, 1}}; !slices.Equal(d.Lost, want) {
			t.Errorf("lost %v, want %v", d.Lost, want)
		}
		must(t, s.Close())
		s = mustOpen(t, fs, Options{})
	}
	must(t, s.Append([]Write{{Replica: b, Mended: span(b, 1, 1, 1, 50)}}))
	if d, _ := s.DamageOf(b); len(d.Lost) > 0 {
		t.Errorf("mended, and still lost: %v", d.Lost)
	}
	must(t, s.Close())
}

// A batch that was cut short is dropped, and what an unfinished batch left
// behind never becomes part of the one that takes its place: here both have
// records of the same size at the same offsets, the first life wrote only the
// second record, the second life only header and first.
func TestLeftoverOfTornBatch(t *testing.T) {
	a := testReplica(1)
	fs := vfs.NewMem()
	s := mustOpen(t, fs, Options{})
	must(t, s.Append([]Write{founding(a)}))
	batch := func(s *Store, fill byte) []byte {
		e := append(span(a, 1, 1, 1, 600), sealed(a, raft.LogID{Term: 1, Index: 2}, raft.EntryNormal, make([]byte, 600)))
		e[0].Raw[raft.EntryHeaderSize] = fill
		e[0] = sealed(a, e[0].ID, raft.EntryNormal, e[0].Payload())
		for i := range e {
			if i == 1 {
				e[i] = sealed(a, e[i].ID, raft.EntryNormal, append([]byte{fill}, e[i].Payload()[1:]...))
			}
			must(t, s.writer.put(&Write{Replica: a, Entries: e[i : i+1]}))
		}
		at := s.index.active.end
		must(t, s.writer.flush(promises, behind))
		b := make([]byte, 2048)
		if _, err := s.index.active.file.ReadAt(b, at); err != nil {
			t.Fatal(err)
		}
		return b
	}
	at := s.index.active.end
	first := batch(s, 'x')
	fs.Crash(vfs.KeepUnsynced, 0)
	// The same place again, with other bytes.
	fs2 := vfs.NewMem()
	s2 := mustOpen(t, fs2, Options{})
	must(t, s2.Append([]Write{founding(a)}))
	second := batch(s2, 'y')
	fs2.Crash(vfs.KeepUnsynced, 0)
	cut := batchHeaderSize + recordHeaderSize + raft.EntryHeaderSize + 600
	f, err := fs.Open("d/log/0000000000000001.log")
	must(t, err)
	mixed := append(append([]byte(nil), second[:cut]...), first[cut:]...)
	if _, err := f.WriteAt(mixed, at); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, fs, Options{})
	r, err := s.Restore(a)
	must(t, err)
	if r.Last.Index != 0 {
		t.Errorf("the log ends with %s, want the mixed batch dropped", r.Last)
	}
	must(t, s.Close())
}
