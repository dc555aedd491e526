package bench

import (
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
)

// BenchmarkFloor measures what no design can do without: one write of 4 KiB over
// bytes that were written before, and the sync after it. With three files side
// by side, as three nodes on one disk have, a turn ends when two are done
// (a majority) or all. docs/performance.md puts it beside the figures of a
// cluster; TMPDIR says which disk.
func BenchmarkFloor(b *testing.B) {
	for _, x := range []struct {
		name  string
		files int
		wait  int // for so many of them
	}{{"one", 1, 1}, {"two_of_three", 3, 2}, {"three", 3, 3}} {
		b.Run(x.name, func(b *testing.B) { floor(b, x.files, x.wait) })
	}
}

const (
	floorFileBytes = 16 << 20
	floorBytes     = 4 << 10
)

func floor(b *testing.B, n, wait int) {
	files := make([]*os.File, n)
	for i := range files {
		f, err := os.Create(filepath.Join(b.TempDir(), "floor"))
		if err != nil {
			b.Fatal(err)
		}
		defer f.Close()
		if _, err := f.Write(make([]byte, floorFileBytes)); err != nil {
			b.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
		files[i] = f
	}
	block := make([]byte, floorBytes)
	took := make([]time.Duration, 0, b.N)
	each := make([]time.Duration, n)
	for turn := 0; b.Loop(); turn++ {
		at := int64(turn * floorBytes % floorFileBytes)
		began := time.Now()
		var wg sync.WaitGroup
		for i, f := range files {
			write := func() {
				_, err := f.WriteAt(block, at)
				if err == nil {
					err = syscall.Fdatasync(int(f.Fd()))
				}
				if err != nil {
					b.Error(err)
				}
				each[i] = time.Since(began)
			}
			if n == 1 {
				write() // a goroutine more would be measured too
				continue
			}
			wg.Go(write)
		}
		wg.Wait()
		slices.Sort(each)
		took = append(took, each[wait-1])
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Nanoseconds())/1000, "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds())/1000, "p99-µs")
}
