package shard

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"muster/shardmap/points"
	"muster/shardmap/points/block"
	"muster/shardmap/points/column"
	"muster/shardmap/points/pointstest"
)

// sharesOfSet returns the shares of a set, each of which has some points of each series: a client that sends them in order of
// time.
func sharesOfSet(set pointstest.Set, each int) (shares [][]byte) {
	var all []*pointstest.Series
	for s := range set.Series() {
		all = append(all, s)
	}
	var c points.Collector
	for from := 0; from < set.Points; from += each {
		c.Reset()
		for _, s := range all {
			for _, f := range s.Fields {
				c.Add([]byte(s.Key), []byte(f.Name), f.Values.Kind, s.Times[from:from+each], bitsOf(&f.Values, from, from+each), nil)
			}
		}
		x := c.Share()
		shares = append(shares, x.Append(nil))
	}
	return shares
}

func bitsOf(v *column.Values, from, to int) (bits []uint64) {
	for i := from; i < to; i++ {
		if v.Kind == column.Float {
			bits = append(bits, math.Float64bits(v.Floats[i]))
		} else {
			bits = append(bits, uint64(v.Integers[i]))
		}
	}
	return bits
}

// applyAll applies shares to a new shard.
func applyAll(t testing.TB, shares [][]byte) *Shard {
	s := New(always)
	var r points.ShareReader
	for _, b := range shares {
		batch, err := r.Read(b, always)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Apply(batch, Write); got.Dropped > 0 {
			t.Fatalf("%+v", got)
		}
	}
	return s
}

// A million series must not take a node's memory: with a point of one field each, and of ten fields, they take at most 400
// bytes each, all in: keys, tables, values, and the free room of lists.
func TestMemoryOfAMillionSeries(t *testing.T) {
	for _, c := range []struct{ series, fields int }{{1_000_000, 1}, {100_000, 10}} {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.GC() // what other tests put into pools goes with the second one
		runtime.ReadMemStats(&before)
		s := New(always)
		var r points.ShareReader
		const each = 10_000
		for from := 0; from < c.series; from += each {
			var x points.Collector
			x.Reset()
			for i := from; i < from+each; i++ {
				key := fmt.Appendf(nil, "measurement_%03d,host=host_%06d,region=eu-west-%d", i%10, i/10, i/10%3)
				for f := range c.fields {
					x.Add(key, fmt.Appendf(nil, "field_%03d", f), column.Integer, []int64{1e18}, []uint64{uint64(i)}, nil)
				}
			}
			share := x.Share()
			batch, err := r.Read(share.Append(nil), always)
			if err != nil {
				t.Fatal(err)
			}
			s.Apply(batch, Write)
		}
		r = points.ShareReader{}
		runtime.GC()
		runtime.ReadMemStats(&after)
		heap, told := float64(after.HeapAlloc-before.HeapAlloc)/float64(c.series), float64(s.Bytes())/float64(c.series)
		t.Logf("%d series of %d fields: %.0f bytes of memory each, %.0f told", c.series, c.fields, heap, told)
		if told > 400 || heap > 400 {
			t.Errorf("%d series of %d fields take %.0f bytes each, and tell of %.0f; want at most 400", c.series, c.fields, heap, told)
		}
		if told < 0.75*heap || told > 1.25*heap {
			t.Errorf("a shard tells of %.0f bytes for each series, and takes %.0f", told, heap)
		}
		runtime.KeepAlive(s)
	}
}

// BenchmarkShard applies shares, reads, seals and tells of the standard set. The command and its figures are in
// docs/performance.md.
func BenchmarkShard(b *testing.B) {
	set := pointstest.Standard()
	set.Hosts, set.Points = 20, 500 // 200 series of ten fields, a million values
	values := set.Values()
	run := func(name string, values int, f func()) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			began := processorTime(b)
			for b.Loop() {
				f()
			}
			used := processorTime(b) - began
			b.ReportMetric(float64(used)/float64(b.N*values), "cpu-ns/value")
		})
	}
	for _, each := range []int{1, 10, 100} {
		shares := sharesOfSet(set, each)
		run(fmt.Sprintf("apply/points=%d", each), values, func() { applyAll(b, shares) })
		var r points.ShareReader
		run(fmt.Sprintf("readshares/points=%d", each), values, func() {
			for _, x := range shares {
				if _, err := r.Read(x, always); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	shares := sharesOfSet(set, 1)
	s := applyAll(b, shares)
	b.Logf("%.1f bytes a value", float64(s.Bytes())/float64(values))
	late := applyAll(b, append(shares[1:len(shares):len(shares)], shares[0]))
	for _, x := range []struct {
		name string
		s    *Shard
	}{{"in order", s}, {"with a late point in each column", late}} {
		v := x.s.Copy()
		run("read/"+x.name, values, func() { readAll(b, v, nil) })
		run("digest/"+x.name, values, func() { v.Digest() })
		run("snapshot/"+x.name, values, func() { v.WriteTo(io.Discard) })
	}
	var snapshot bytes.Buffer
	s.Copy().WriteTo(&snapshot)
	run("load", values, func() {
		if _, err := Load(bytes.NewReader(snapshot.Bytes())); err != nil {
			b.Fatal(err)
		}
	})
	run("view", 1, func() { s.View() })
	replica := replica{s, map[block.Sum][]byte{}, block.NewKeys(1 << 20)}
	generation := s.Freeze()
	v := s.View()
	run("seal", values, func() { replica.sealed(b, v, generation, 0, BlockPoints) })
	beside := sideBySide(b, set)
	v, generation = beside.shard.View(), beside.shard.Frozen()[0]
	run("seal/of writers side by side", values, func() { beside.sealed(b, v, generation, 0, BlockPoints) })
	v, generation = s.View(), s.Frozen()[0]
	file, _ := replica.sealed(b, v, generation, 0, BlockPoints)
	if _, err := s.Confirm(generation, file, 0); err != nil {
		b.Fatal(err)
	}
	for _, kept := range []*block.Keys{nil, replica.keys} {
		replica := replica
		replica.keys = kept
		find := func(tags ...points.Tag) {
			n := 0
			for _, err := range s.View().Read(replica.open).Series("measurement_000", tags...) {
				if n++; err != nil {
					b.Fatal(err)
				}
			}
			if n == 0 {
				b.Fatal("no series are found")
			}
		}
		name := map[bool]string{true: "keys of files not kept", false: "keys of files kept"}[kept == nil]
		run("series/of a measurement/"+name, set.Hosts, func() { find() })
		run("series/with a tag/"+name, set.Hosts, func() { find(points.Tag{Name: "host", Value: "host_000007"}) })
	}
	later := set
	later.Begin += int64(time.Hour)
	var r points.ShareReader
	for _, x := range sharesOfSet(later, 1) { // most of them replace a value, or stand between two
		batch, err := r.Read(x, always)
		if err != nil {
			b.Fatal(err)
		}
		s.Apply(batch, Write)
	}
	run("read/head and file", 2*values, func() { readAll(b, s.View(), replica.open) })
	generation = s.Freeze()
	v = s.View()
	run("seal/merged with a file", 2*values, func() { replica.sealed(b, v, generation, 1, BlockPoints) })
}

// sideBySide returns a shard with a frozen head whose points four writers have brought at once: of four requests of five points
// of each series the last one comes first.
func sideBySide(t testing.TB, set pointstest.Set) replica {
	shares := sharesOfSet(set, 5)
	for four := range slices.Chunk(shares, 4) {
		slices.Reverse(four)
	}
	s := applyAll(t, shares)
	s.Freeze()
	return replica{s, map[block.Sum][]byte{}, block.NewKeys(1 << 20)}
}

// readAll reads all columns of a view.
func readAll(t testing.TB, v *View, open Opener) {
	r := v.Read(open)
	names, _ := r.Measurements()
	for _, name := range names {
		fields, _ := r.Fields(name)
		for key, err := range r.Series(name) {
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range fields {
				for _, err := range r.Columns(key, f.Name, math.MinInt64, math.MaxInt64) {
					if err != nil {
						t.Fatal(err)
					}
				}
			}
		}
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
