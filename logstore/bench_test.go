package logstore

import (
	"fmt"
	"math"
	"testing"
	"time"

	"muster/logstore/vfs"
	"muster/raft"
)

// Append is on the path of each write: it copies the entries once and makes
// nothing for the garbage collector, save the index as it grows.
func TestAppendAllocations(t *testing.T) {
	s := mustOpen(t, vfs.OS{}, Options{Dir: t.TempDir(), SegmentBytes: SegmentBytesDefault})
	defer s.Close()
	a := testReplica(1)
	must(t, s.Append([]Write{founding(a)}))
	const rounds, each = 50, 64
	entries := span(a, 1, 1, each*(rounds+3), 128)
	p := s.index.replicas[a]
	p.runs = make([]run, 0, 2*rounds)
	at := 0
	ws := make([]Write, 1)
	step := func() {
		ws[0] = Write{Replica: a, Commit: uint64(at), Entries: entries[at : at+each]}
		at += each
		if err := s.Append(ws); err != nil {
			t.Fatal(err)
		}
	}
	step()
	// The pieces of the next segment are prepared while this one fills; that
	// it is there keeps them out of the count.
	must(t, s.room.prepare(untilFull))
	if n := testing.AllocsPerRun(rounds, step); n != 0 {
		t.Errorf("%v allocations for an Append of %d entries, want 0", n, each)
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, each := range []int{1, 64, 1024} {
		b.Run(fmt.Sprintf("%d entries of 128 B", each), func(b *testing.B) {
			s := mustOpen(b, vfs.OS{}, Options{Dir: b.TempDir(), SegmentBytes: SegmentBytesDefault})
			defer s.Close()
			a := testReplica(1)
			must(b, s.Append([]Write{founding(a)}))
			must(b, s.room.prepare(untilFull))
			b.ReportAllocs()
			b.SetBytes(int64(each * (128 + raft.EntryHeaderSize)))
			index := uint64(0)
			for b.Loop() {
				b.StopTimer()
				entries := span(a, 1, index+1, index+uint64(each), 128)
				index += uint64(each)
				w := []Write{{Replica: a, Commit: index, Entries: entries}}
				if index%(64*uint64(each)) == 0 {
					w[0].Base = &Base{ID: raft.LogID{Term: 1, Index: index - uint64(each)}, Membership: voters(11)}
				}
				b.StartTimer()
				if err := s.Append(w); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkStageAppend is the log's stage of a write: a batch of entries, in one
// write and one sync, into a file in memory. TestAppendAllocations says what it
// allocates.
func BenchmarkStageAppend(b *testing.B) {
	const each = 64
	s := mustOpen(b, vfs.NewMem(), Options{SegmentBytes: 1 << 20})
	defer s.Close()
	a := testReplica(1)
	must(b, s.Append([]Write{founding(a)}))
	w := make([]Write, 1)
	index := uint64(0)
	took := time.Duration(0)
	for b.Loop() {
		entries := span(a, 1, index+1, index+each, 190)
		index += each
		w[0] = Write{Replica: a, Commit: index, Entries: entries}
		if index%(64*each) == 0 {
			w[0].Base = &Base{ID: raft.LogID{Term: 1, Index: index - each}, Membership: voters(11)}
		}
		began := time.Now()
		if err := s.Append(w); err != nil {
			b.Fatal(err)
		}
		took += time.Since(began)
	}
	b.ReportMetric(float64(took.Nanoseconds())/float64(b.N)/each, "ns/entry")
	b.ReportMetric(0, "ns/op") // it has the making of the entries in it
}

// BenchmarkEncode is Append without a disk: what it costs the processor.
func BenchmarkEncode(b *testing.B) {
	s := mustOpen(b, vfs.NewMem(), Options{SegmentBytes: SegmentBytesDefault})
	a := testReplica(1)
	must(b, s.Append([]Write{founding(a)}))
	entries := span(a, 1, 1, 64, 128)
	b.ReportAllocs()
	for b.Loop() {
		if err := s.writer.put(&Write{Replica: a, Entries: entries}); err != nil {
			b.Fatal(err)
		}
		for i := range s.writer.records {
			sealRecord(s.writer.buf[s.writer.records[i].at:], uint32(i))
		}
		s.writer.buf, s.writer.records = s.writer.buf[:0], s.writer.records[:0]
	}
}

func BenchmarkRead(b *testing.B) {
	s := mustOpen(b, vfs.OS{}, Options{Dir: b.TempDir(), SegmentBytes: SegmentBytesDefault})
	defer s.Close()
	a := testReplica(1)
	must(b, s.Append([]Write{founding(a), {Replica: a, Entries: span(a, 1, 1, 10000, 128)}}))
	b.SetBytes(10000 * 168)
	for b.Loop() {
		if _, err := s.Read(a, 1, 10000, math.MaxInt); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkMoveSmallRuns moves a segment of small batches forward in a log that
// has very many of them: what it costs must not grow with the log's index.
func BenchmarkMoveSmallRuns(b *testing.B) {
	for _, runs := range []int{1000, 100000} {
		b.Run(fmt.Sprintf("%d runs", runs), func(b *testing.B) {
			s := mustOpen(b, vfs.NewMem(), Options{SegmentBytes: SegmentBytesDefault})
			a := testReplica(1)
			must(b, s.Append([]Write{founding(a)}))
			p := s.index.replicas[a]
			at := p.stateAt
			if at.size == 0 {
				at = p.baseAt
			}
			for i := range runs {
				s.index.hold(at)
				p.runs = append(p.runs, run{first: uint64(i + 1), term: 1, at: at, count: 1})
			}
			for i := 0; b.Loop(); i++ {
				s.index.take(&record{replica: p, kind: kindMoved, first: uint64(i%runs + 1), term: 1, count: 1}, at)
			}
		})
	}
}
