package block_test

import (
	"bytes"
	"io"
	"syscall"
	"testing"
	"time"

	"muster/shardmap/points/block"
	"muster/shardmap/points/pointstest"
)

// jitters are how regular the times of the figures are.
var jitters = []struct {
	name           string
	longest, steps time.Duration
}{
	{"regular", 0, 1},
	{"10 ms of jitter, in ms", 10 * time.Millisecond, time.Millisecond},
	{"1 s of jitter, in ns", time.Second, 1},
}

// write writes a set into a file, a block for each field of each series.
func write(t testing.TB, to io.Writer, all []*pointstest.Series) block.Info {
	w, err := block.NewWriter(to)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		for _, f := range s.Fields {
			if err := w.Add(&block.Block{Series: []byte(s.Key), Field: []byte(f.Name), Times: s.Times, Values: f.Values}); err != nil {
				t.Fatal(err)
			}
		}
	}
	info, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func collect(set pointstest.Set) (all []*pointstest.Series) {
	for s := range set.Series() {
		all = append(all, s)
	}
	return all
}

// Counters, walks of two decimals and percentages take at most a byte and a half for each value, with times, index and
// checksums, even when their times have jitter to the nanosecond.
func TestBytesOfAValue(t *testing.T) {
	for _, j := range jitters {
		set := pointstest.Standard()
		set.Hosts, set.Jitter, set.Step = 5, j.longest, j.steps
		info := write(t, io.Discard, collect(set))
		each := float64(info.Size) / float64(info.Values)
		t.Logf("%s: %.3f bytes a value", j.name, each)
		if each > 1.5 || info.Values != uint64(set.Values()) {
			t.Errorf("%s: %d values in %d bytes, %.3f each; want at most 1.5", j.name, info.Values, info.Size, each)
		}
	}
}

// BenchmarkFile writes and reads files of the standard set, and finds single blocks in one. The command and its figures
// are in docs/performance.md.
func BenchmarkFile(b *testing.B) {
	for _, j := range jitters {
		set := pointstest.Standard()
		set.Jitter, set.Step = j.longest, j.steps
		benchmark(b, j.name, set)
	}
	noise := pointstest.Standard()
	noise.Sources = []pointstest.Source{pointstest.Noise}
	benchmark(b, "noise of 53 bits, regular", noise)
}

func benchmark(b *testing.B, name string, set pointstest.Set) {
	all := collect(set)
	var file bytes.Buffer
	info := write(b, &file, all)
	report := func(b *testing.B, began time.Duration) {
		b.ReportMetric(float64(info.Size)/float64(info.Values), "B/value")
		b.ReportMetric(float64(processorTime(b)-began)/float64(int(info.Values)*b.N), "cpu-ns/value")
	}
	b.Run(name+"/write", func(b *testing.B) {
		began := processorTime(b)
		for b.Loop() {
			write(b, io.Discard, all)
		}
		report(b, began)
	})
	r, err := block.Open(bytes.NewReader(file.Bytes()), info.Size)
	if err != nil {
		b.Fatal(err)
	}
	var got block.Block
	b.Run(name+"/read", func(b *testing.B) {
		began := processorTime(b)
		for b.Loop() {
			c := r.All()
			for c.Next() {
				if err := c.Read(&got); err != nil {
					b.Fatal(err)
				}
			}
			if c.Err() != nil {
				b.Fatal(c.Err())
			}
		}
		report(b, began)
	})
	b.Run(name+"/find", func(b *testing.B) {
		began := processorTime(b)
		for i := 0; b.Loop(); i++ {
			s := all[i*7919%len(all)]
			c := r.Field([]byte(s.Key), []byte(s.Fields[i%len(s.Fields)].Name))
			if !c.Next() {
				b.Fatalf("not found: %v", c.Err())
			}
			if err := c.Read(&got); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(processorTime(b)-began)/float64(b.N), "cpu-ns/op")
	})
}

// processorTime is what this process has used: other work of the machine is left out.
func processorTime(t testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
