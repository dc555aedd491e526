package points_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"muster/shardmap/points"
	"muster/shardmap/points/column"
	"muster/shardmap/points/line"
	"muster/shardmap/points/pointstest"
)

// writes are what a client sends at once, of the standard set: lines of ten fields. parts is how much shorter than they
// their share is at least.
var writes = []struct{ hosts, measurements, points, parts int }{
	{100, 1, 10, 14}, // a thousand lines of a hundred series
	{100, 10, 1, 5},  // a thousand series, each with a line
	{1, 1, 1, 1},     // one line
}

// text returns the points of a set as line protocol, time after time.
func text(set pointstest.Set) (lines []byte) {
	var all []*pointstest.Series
	for s := range set.Series() {
		all = append(all, s)
	}
	for i := range set.Points {
		for _, s := range all {
			lines = append(lines, s.Key...)
			for n, f := range s.Fields {
				before := byte(',')
				if n == 0 {
					before = ' '
				}
				lines = append(append(lines, before), f.Name...)
				if f.Values.Kind == column.Integer {
					lines = fmt.Appendf(lines, "=%di", f.Values.Integers[i])
				} else {
					lines = fmt.Appendf(lines, "=%v", f.Values.Floats[i])
				}
			}
			lines = fmt.Appendf(lines, " %d\n", s.Times[i])
		}
	}
	return lines
}

func shareOf(t testing.TB, text []byte) points.Share {
	batch, _, err := line.NewParser().Parse(text, line.Nanosecond, 0)
	if err != nil {
		t.Fatal(err)
	}
	return points.Split(batch, points.Every(7*24*time.Hour, 1))[0]
}

// A share takes much fewer bytes than its lines, and not more even if it is one line.
func TestBytesOfAShare(t *testing.T) {
	for _, w := range writes {
		set := pointstest.Standard()
		set.Hosts, set.Measurements, set.Points = w.hosts, w.measurements, w.points
		lines := text(set)
		s := shareOf(t, lines)
		written := len(s.Append(nil))
		t.Logf("%d series of %d points: %d bytes of lines, %d of a share: %.1f and %.2f a value", w.hosts*w.measurements, w.points, len(lines), written,
			float64(len(lines))/float64(set.Values()), float64(written)/float64(set.Values()))
		if most := len(lines) / w.parts; written > most {
			t.Errorf("%d bytes of lines make a share of %d; want at most %d", len(lines), written, most)
		}
	}
}

// BenchmarkShare makes and reads the bytes of shares. The command and its figures are in docs/performance.md.
func BenchmarkShare(b *testing.B) {
	for _, w := range writes {
		set := pointstest.Standard()
		set.Hosts, set.Measurements, set.Points = w.hosts, w.measurements, w.points
		s := shareOf(b, text(set))
		written := s.Append(nil)
		run := func(name string, f func()) {
			b.Run(fmt.Sprintf("series=%d/points=%d/%s", w.hosts*w.measurements, w.points, name), func(b *testing.B) {
				b.ReportAllocs()
				began := processorTime(b)
				for b.Loop() {
					f()
				}
				used := processorTime(b) - began
				b.ReportMetric(float64(used)/float64(b.N*set.Values()), "cpu-ns/value")
				b.ReportMetric(float64(len(written))/float64(set.Values()), "B/value")
			})
		}
		var dst []byte
		run("write", func() { dst = s.Append(dst[:0]) })
		var r points.ShareReader
		run("read", func() {
			if _, err := r.Read(written, s.Window); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// processorTime is what this process has used: other work of the machine is left out.
func processorTime(t testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
