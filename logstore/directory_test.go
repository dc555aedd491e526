package logstore

import (
	"fmt"
	"testing"

	"muster/logstore/vfs"
)

// A directory is made with every batch. It makes nothing for the garbage
// collector once its lists have grown; its bytes are what decisions/0006 says
// that it costs.
func BenchmarkDirectory(b *testing.B) {
	for _, groups := range []int{1, 8, 64, 1000} {
		b.Run(fmt.Sprintf("%d groups", groups), func(b *testing.B) {
			s := mustOpen(b, vfs.NewMem(), Options{SegmentBytes: SegmentBytesDefault})
			var ws []Write
			for g := range groups {
				ws = append(ws, founding(testReplica(g+1)))
			}
			must(b, s.Append(ws))
			for round := range uint64(9) {
				for i := range ws {
					ws[i] = Write{Replica: ws[i].Replica, Entries: span(ws[i].Replica, 1, round+1, round+1, 128)}
				}
				must(b, s.Append(ws))
			}
			batch := s.writer.synced.offset - int64(s.writer.directory.batches[len(s.writer.directory.batches)-1].durable.offset)
			var buf []byte
			b.ReportAllocs()
			for b.Loop() {
				buf, _ = s.writer.putDirectory(buf[:0], 1<<20)
			}
			b.ReportMetric(float64(len(buf)), "B/directory")
			b.ReportMetric(float64(batch), "B/batch")
		})
	}
}

// What is not a directory is refused, and a directory where nothing was lost
// changes nothing: else one that is met behind a hole could undo what the log
// said itself.
func TestDirectoryChangesNothing(t *testing.T) {
	for seed := range uint64(3) {
		fs := vfs.NewMem()
		r := newRun(seed, mustOpen(t, fs, Options{Chance: seed}))
		for range 300 {
			must(t, r.step())
		}
		s := r.store
		before := fmt.Sprint(s.index.needed, s.index.graves)
		b, rows := s.writer.putDirectory(nil, 1<<20)
		if rows == 0 {
			t.Fatal("the directory has no rows: the test shows nothing")
		}
		rec := &recovery{s: s, hole: &hole{from: s.writer.synced, at: place{s.index.active.number, 0, recordHeaderSize}}, directory: b[recordHeaderSize:], rows: uint32(rows)}
		rec.applyDirectory()
		if rec.hole != nil {
			t.Error("the directory does not cover the batch before it")
		}
		if after := fmt.Sprint(s.index.needed, s.index.graves); after != before || len(s.reclaimer.repair) > 0 || len(lossesOf(s)) > 0 {
			t.Errorf("seed %d: %s became %s, %v is lost", seed, before, after, lossesOf(s))
		}
		if err := r.check(); err != nil {
			t.Error(err)
		}
		for n := range len(b) - recordHeaderSize {
			d, err := readDirectory(b[recordHeaderSize:recordHeaderSize+n], uint32(rows))
			if err == nil {
				err = d.check()
			}
			if err == nil {
				t.Errorf("%d of %d bytes are taken for a directory", n, len(b)-recordHeaderSize)
			}
		}
		must(t, s.Close())
	}
}

// Scrub finds what rots in a segment that nobody reads, and says what is lost;
// what is in memory, the next batch writes again.
func TestScrubFindsRot(t *testing.T) {
	fs := vfs.NewMem()
	s := mustOpen(t, fs, Options{})
	a, b := testReplica(1), testReplica(2)
	must(t, s.Append([]Write{founding(a), founding(b), {Replica: b, Entries: span(b, 1, 1, 3, 50)}}))
	for i := uint64(1); s.index.active.number < 3; i++ {
		must(t, s.Append([]Write{{Replica: a, Entries: span(a, 1, i, i, 3000)}}))
	}
	scrub := func() {
		t.Helper()
		for calls := 0; ; calls++ {
			done, err := s.Scrub(10_000)
			must(t, err)
			if done {
				if calls < 3 {
					t.Errorf("the walk took %d calls, want it in steps", calls)
				}
				return
			}
		}
	}
	if scrub(); len(s.faults.found) > 0 {
		t.Fatalf("found %v in a whole log", s.faults.found)
	}
	fs.Corrupt(s.index.segments[0].name, int64(s.index.replicas[b].runs[0].at.offset)+50, 1)
	fs.Corrupt(s.index.segments[0].name, int64(s.index.replicas[a].stateAt.offset)+10, 1)
	old := s.index.replicas[a].stateAt
	scrub()
	if d, _ := s.DamageOf(b); len(d.Lost) != 1 || d.Lost[0] != (Span{1, 3, 1}) {
		t.Errorf("got %+v, want entries 1 to 3 lost", d)
	}
	must(t, s.Append([]Write{{Replica: b, Mended: span(b, 1, 1, 3, 50)}}))
	if s.index.replicas[a].stateAt == old {
		t.Error("the state was not written again")
	}
	if d := lossesOf(s); len(d) > 0 {
		t.Errorf("mended, and still lost: %v", d)
	}
	must(t, s.Close())
	s = mustOpen(t, fs, Options{})
	if d := lossesOf(s); len(d) > 0 {
		t.Errorf("opened again: %v", d)
	}
	must(t, s.Close())
}
