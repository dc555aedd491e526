package column_test

import (
	"syscall"
	"testing"
	"time"

	"muster/shardmap/points/column"
	"muster/shardmap/points/pointstest"
)

// few is a part of the standard set: each of its series is like the others.
func few() pointstest.Set {
	set := pointstest.Standard()
	set.Hosts, set.Measurements = 10, 1
	return set
}

// BenchmarkColumn measures columns of 1,000 values: their length, and how fast they are written and read. The command
// and its figures are in docs/performance.md.
func BenchmarkColumn(b *testing.B) {
	for _, source := range []pointstest.Source{pointstest.Counter, pointstest.Walk, pointstest.Percent, pointstest.Noise} {
		set := few()
		set.Sources = []pointstest.Source{source}
		var all []column.Values
		for s := range set.Series() {
			for _, f := range s.Fields {
				all = append(all, f.Values)
			}
		}
		measure(b, source.String(), all)
	}
	for _, jitter := range []struct {
		name           string
		longest, steps time.Duration
	}{{"regular", 0, 1}, {"jitter of 1 s in ms", time.Second, time.Millisecond}, {"jitter of 1 s in ns", time.Second, 1}} {
		set := few()
		set.Jitter, set.Step, set.Hosts, set.Fields = jitter.longest, jitter.steps, 100, 0
		var all []column.Values
		for s := range set.Series() {
			all = append(all, column.Values{Integers: s.Times})
		}
		measure(b, "times/"+jitter.name, all)
	}
}

// measure writes and reads columns. Columns of times have no kind.
func measure(b *testing.B, name string, all []column.Values) {
	const n = 1000
	var written [][]byte
	size := 0
	for i := range all {
		c := appendAny(nil, &all[i])
		written = append(written, c)
		size += len(c)
	}
	report := func(b *testing.B, began time.Duration) {
		b.ReportMetric(float64(size)/float64(n*len(all)), "B/value")
		b.ReportMetric(float64(processorTime(b)-began)/float64(n*b.N), "cpu-ns/value")
		b.ReportMetric(0, "ns/op")
	}
	b.Run(name+"/write", func(b *testing.B) {
		began := processorTime(b)
		var dst []byte
		for i := 0; b.Loop(); i++ {
			dst = appendAny(dst[:0], &all[i%len(all)])
		}
		report(b, began)
	})
	b.Run(name+"/read", func(b *testing.B) {
		began := processorTime(b)
		var v column.Values
		var err error
		for i := 0; b.Loop(); i++ {
			if c := written[i%len(written)]; all[0].Kind == 0 {
				v.Integers, _, err = column.ReadTimes(c, v.Integers[:0], n)
			} else {
				_, err = v.Read(c, all[0].Kind, n)
			}
			if err != nil {
				b.Fatal(err)
			}
		}
		report(b, began)
	})
}

func appendAny(dst []byte, v *column.Values) []byte {
	if v.Kind == 0 {
		return column.AppendTimes(dst, v.Integers)
	}
	return v.Append(dst)
}

// processorTime is what this process has used: other work of the machine is left out.
func processorTime(t testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
