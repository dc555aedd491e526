package query_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"muster/shardmap/points"
	"muster/shardmap/points/pointstest"
	"muster/shardmap/points/query"
	"muster/shardmap/points/query/querytest"
)

// figure is a query of which docs/performance.md has figures.
type figure struct {
	name   string
	hosts  int
	points int
	query  string
}

// The data is one point in ten seconds.
var figures = []figure{
	{"series=1/hours=1/mean", 1, 360, "SELECT mean(v) FROM m WHERE time >= 0s AND time < 1h GROUP BY time(1m)"},
	{"series=1/hours=1/plain", 1, 360, "SELECT v FROM m WHERE time >= 0s AND time < 1h"},
	{"series=1000/hours=12/mean", 1000, 4320, "SELECT mean(v) FROM m WHERE time >= 0s AND time < 12h GROUP BY time(1h), host"},
	{"series=1000/hours=12/max-of-all", 1000, 4320, "SELECT max(v) FROM m WHERE time >= 0s AND time < 12h GROUP BY time(1h)"},
	{"series=1000/hours=12/filtered", 1000, 4320, "SELECT mean(v) FROM m WHERE time >= 0s AND time < 12h AND v > 10 GROUP BY time(1h), host"},
	{"series=100000/points=1/count", 100_000, 1, "SELECT count(v) FROM m"},
	{"series=100000/points=1/by-host", 100_000, 1, "SELECT last(v) FROM m GROUP BY host"},
	{"series=100/hours=12/percentile", 100, 4320, "SELECT percentile(v, 95) FROM m WHERE time >= 0s AND time < 12h GROUP BY time(1h), host"},
	{"series=100/hours=12/derivative", 100, 4320, "SELECT derivative(mean(v), 1s) FROM m WHERE time >= 0s AND time < 12h GROUP BY time(1m), host"},
}

// shard returns the figure's points, in pieces of as many values as a block has.
func (f figure) shard() query.Shard {
	s := querytest.New()
	s.Piece = 1000
	set := pointstest.Set{Seed: 1, Hosts: f.hosts, Measurements: 1, Fields: 1, Sources: []pointstest.Source{pointstest.Walk},
		Points: f.points, Interval: 10 * time.Second, Step: 1}
	host := 0
	for x := range set.Series() {
		for i, t := range x.Times {
			s.Add(fmt.Sprintf("m,host=h%04d", host), "v", t, points.FloatValue(x.Fields[0].Values.Floats[i]))
		}
		host++
	}
	return s
}

// The values that a query goes over in a second of one core, from columns in memory: planning, requests and answers as
// bytes, and rows included.
func BenchmarkQuery(b *testing.B) {
	for _, f := range figures {
		b.Run(f.name, func(b *testing.B) {
			all := []query.Shard{f.shard()}
			b.ReportAllocs()
			begin := processorTime(b)
			for b.Loop() {
				got, err := querytest.Run(f.query, 1<<50, all)
				if err != nil || len(got) == 0 {
					b.Fatal(len(got), err)
				}
			}
			values := float64(f.hosts) * float64(f.points) * float64(b.N)
			b.ReportMetric(values/b.Elapsed().Seconds(), "values/s")
			b.ReportMetric(values/(processorTime(b)-begin).Seconds(), "values/cpu-s")
		})
	}
}

// processorTime returns how long the process has had processors, of all goroutines and of the collector of garbage.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
