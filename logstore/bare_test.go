package logstore

import (
	"path"
	"slices"
	"testing"
	"time"

	"muster/logstore/vfs"
	"muster/raft"
)

// BenchmarkAppendBare compares Append with a loop that does nothing but the
// same writes and syncs over a file that was written before: what is lost to
// records, checksums, index, preparing segments and using them again. The two
// take turns in one run, because the disk drifts; "%-of-bare" is what is left.
//
//	go test -run xxx -bench AppendBare -benchtime 20x ./logstore
func BenchmarkAppendBare(b *testing.B) {
	const waiting, turn = 64, 256 // entries in a batch, batches in a turn
	sizes := &sizing{FS: vfs.OS{}}
	dir := b.TempDir()
	s := mustOpen(b, sizes, Options{Dir: dir, SegmentBytes: SegmentBytesDefault})
	defer s.Close()
	a := testReplica(1)
	must(b, s.Append([]Write{founding(a)}))
	index := uint64(0)
	appends := func() {
		for range turn {
			b.StopTimer()
			w := []Write{{Replica: a, Commit: index, Entries: span(a, 1, index+1, index+waiting, 128)}}
			if index%(turn*waiting) == 0 && index > 0 {
				w[0].Base = &Base{ID: raft.LogID{Term: 1, Index: index}, Membership: voters(11)}
			}
			index += waiting
			b.StartTimer()
			must(b, s.Append(w))
		}
	}
	for s.Stats().Recycled < 2 { // until it writes to files that were written before
		appends()
	}

	bare, err := vfs.OS{}.Create(path.Join(dir, "bare"))
	must(b, err)
	defer bare.Close()
	_, err = bare.WriteAt(make([]byte, SegmentBytesDefault), 0)
	must(b, err)
	must(b, bare.Sync())
	zeros := aligned(SegmentBytesDefault)
	writes := func() {
		for _, w := range sizes.taken {
			must(b, bare.(vfs.SyncWriter).WriteSync(zeros[:w.size], w.at))
		}
	}

	var ours, theirs []time.Duration
	for b.Loop() {
		sizes.taken = sizes.taken[:0]
		before := b.Elapsed()
		appends()
		ours = append(ours, b.Elapsed()-before)
		b.StopTimer()
		begun := time.Now()
		writes()
		theirs = append(theirs, time.Since(begun))
		b.StartTimer()
	}
	slices.Sort(ours)
	slices.Sort(theirs)
	us, them := ours[len(ours)/2], theirs[len(theirs)/2]
	b.ReportMetric(100*float64(them)/float64(us), "%-of-bare")
	b.ReportMetric(float64(us.Microseconds())/turn, "µs/batch")
	b.ReportMetric(float64(them.Microseconds())/turn, "bare-µs/batch")
	b.Logf("%d of %d segments were used again; the last turn wrote %d times, first %d bytes", s.Stats().Recycled, s.Stats().Recycled+s.Stats().Filled, len(sizes.taken), sizes.taken[0].size)
}

// sizing notes the writes to segments in use.
type sizing struct {
	vfs.FS
	taken []struct {
		at   int64
		size int
	}
}

func (s *sizing) Open(name string) (vfs.File, error) {
	f, err := s.FS.Open(name)
	return &sizingFile{f, s}, err
}

type sizingFile struct {
	vfs.File
	of *sizing
}

// WriteSync implements [vfs.SyncWriter].
func (f *sizingFile) WriteSync(b []byte, at int64) error {
	f.of.taken = append(f.of.taken, struct {
		at   int64
		size int
	}{at, len(b)})
	return f.File.(vfs.SyncWriter).WriteSync(b, at)
}

// Unit implements [vfs.SyncWriter].
func (f *sizingFile) Unit() int64 { return f.File.(vfs.SyncWriter).Unit() }
