package logstore

import (
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"muster/logstore/vfs"
	"muster/raft"
)

// BenchmarkSyncsBesideSnapshot measures what the writing of a snapshot of 160 MiB
// does to the log's syncs on the same disk: a loop that overwrites 4 KiB of a
// file that is filled, and syncs, in turns beside nothing, beside a snapshot, and
// beside a file of that size that is written and synced as a whole. The figures
// are of the loop's steps in microseconds; MiB/s is the snapshot's.
//
// "paced" sleeps for 10 ms after each 1 MiB, as an owner does that wants less of
// the disk.
func BenchmarkSyncsBesideSnapshot(b *testing.B) {
	const bytes = 160 << 20
	chunk := stream(1 << 20)
	for _, c := range []struct {
		name string
		run  func(b *testing.B, s *Store)
	}{
		{"nothing", func(*testing.B, *Store) { time.Sleep(time.Second) }},
		{"snapshot", func(b *testing.B, s *Store) { benchWrite(b, s, chunk, bytes, 0) }},
		{"paced", func(b *testing.B, s *Store) { benchWrite(b, s, chunk, bytes, 10*time.Millisecond) }},
		{"whole", func(b *testing.B, s *Store) {
			f, err := os.Create(filepath.Join(b.TempDir(), "whole"))
			must(b, err)
			for range bytes / len(chunk) {
				_, err := f.Write(chunk)
				must(b, err)
			}
			must(b, f.Sync())
			must(b, f.Close())
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			s := fillStore(b, mustOpen(b, vfs.OS{}, Options{Dir: b.TempDir()}), testReplica(1))
			defer s.Close()
			var stop atomic.Bool
			steps := make(chan []time.Duration)
			go func() { steps <- syncLoop(b, filepath.Join(b.TempDir(), "log"), &stop) }()
			time.Sleep(300 * time.Millisecond)
			b.SetBytes(bytes)
			for b.Loop() {
				c.run(b, s)
			}
			b.StopTimer()
			stop.Store(true)
			all := <-steps
			slices.Sort(all)
			for name, part := range map[string]float64{"p50-us": 0.5, "p99-us": 0.99, "max-us": 1} {
				b.ReportMetric(float64(all[int(part*float64(len(all)-1))].Microseconds()), name)
			}
		})
	}
}

func benchWrite(b *testing.B, s *Store, chunk []byte, bytes int, pause time.Duration) {
	r := testReplica(1)
	w, err := s.CreateSnapshot(r, baseAt(r, 1, 7))
	must(b, err)
	for range bytes / len(chunk) {
		_, err := w.Write(chunk)
		must(b, err)
		time.Sleep(pause)
	}
	_, err = w.Commit()
	must(b, err)
	must(b, s.RemoveSnapshots(r, raft.LogID{Term: 1, Index: 8}))
}

// syncLoop overwrites and syncs until it is stopped, and returns how long each
// step took.
func syncLoop(b *testing.B, name string, stop *atomic.Bool) []time.Duration {
	const size = 16 << 20
	f, err := vfs.OS{}.Create(name)
	must(b, err)
	defer f.Close()
	_, err = f.WriteAt(make([]byte, size), 0)
	must(b, err)
	must(b, f.Sync())
	var all []time.Duration
	page := stream(pageSize)
	for at := int64(0); !stop.Load(); at = (at + pageSize) % size {
		begun := time.Now()
		_, err := f.WriteAt(page, at)
		must(b, err)
		must(b, f.Sync())
		all = append(all, time.Since(begun))
	}
	return all
}
