// Package pointstest makes series of points for tests, the same ones from the same seed.
//
// The data is that by which muster's points are measured: hosts with measurements, whose fields are counters, random
// walks of two decimals and percentages, at regular times or with jitter. It knows nothing of how points are stored,
// and makes no load: a test or a benchmark does with the series what it is about.
//
// Start with [Set].
package pointstest

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"time"

	"muster/shardmap/points/column"
)

// Source is how the values of a field come about.
type Source int

const (
	// Counter is an integer that grows by 0 to 1,000 with each point.
	Counter Source = iota
	// Walk is a float of two decimals that goes up or down by at most 1.00 with each point.
	Walk
	// Percent is an integer from 0 to 100, each of its own.
	Percent
	// Noise is a float from 0 to 1 with 53 random bits: nothing that could be packed.
	Noise
)

func (s Source) String() string {
	return [...]string{"counter", "walk", "percent", "noise"}[s]
}

// Thirds are the sources of which each has a third of the fields.
var Thirds = []Source{Counter, Walk, Percent}

// Set is a set of series: one for each host and measurement.
type Set struct {
	Seed                        uint64
	Hosts, Measurements, Fields int
	Sources                     []Source // of the fields, by turns

	Points   int           // of each series
	Begin    int64         // the time of the first one, in nanoseconds since 1970
	Interval time.Duration // from one to the next
	// Jitter is how much later than regular a time may be, in steps of Step; less than the interval.
	Jitter, Step time.Duration
}

// Standard is the set of the figures in docs/performance.md: 100 hosts with ten measurements of ten fields, and 1,000
// points of each, one in ten seconds.
func Standard() Set {
	return Set{
		Seed: 1, Hosts: 100, Measurements: 10, Fields: 10, Sources: Thirds,
		Points: 1000, Begin: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano(), Interval: 10 * time.Second, Step: 1,
	}
}

// Values is how many values all series have, times aside.
func (s *Set) Values() int { return s.Hosts * s.Measurements * s.Fields * s.Points }

// Series is a series with its points. Each field has a value at each time.
type Series struct {
	Key    string // measurement and tags, as in line protocol
	Times  []int64
	Fields []Field
}

// Field is a field of a series.
type Field struct {
	Name   string
	Source Source
	Values column.Values
}

// Series makes the series one after the other, in the order of their keys, each with memory of its own. A series depends
// on the seed and its place alone.
func (s *Set) Series() iter.Seq[*Series] {
	return func(yield func(*Series) bool) {
		for m := range s.Measurements {
			for h := range s.Hosts {
				if !yield(s.series(m, h)) {
					return
				}
			}
		}
	}
}

func (s *Set) series(m, h int) *Series {
	random := rand.New(rand.NewPCG(s.Seed, uint64(m)<<32|uint64(h)))
	x := &Series{Key: fmt.Sprintf("measurement_%03d,host=host_%06d,region=eu-west-%d", m, h, h%3), Times: make([]int64, s.Points)}
	for i := range x.Times {
		x.Times[i] = s.Begin + int64(i)*int64(s.Interval)
		if s.Jitter > 0 {
			x.Times[i] += int64(s.Step) * random.Int64N(int64(s.Jitter/s.Step))
		}
	}
	for f := range s.Fields {
		source := s.Sources[f%len(s.Sources)]
		x.Fields = append(x.Fields, Field{fmt.Sprintf("field_%03d", f), source, source.values(random, s.Points)})
	}
	return x
}

func (s Source) values(random *rand.Rand, n int) column.Values {
	v := column.Values{Kind: column.Integer}
	switch s {
	case Counter:
		count := random.Int64N(1e9)
		for range n {
			count += random.Int64N(1001)
			v.Integers = append(v.Integers, count)
		}
	case Percent:
		for range n {
			v.Integers = append(v.Integers, random.Int64N(101))
		}
	case Walk:
		v.Kind = column.Float
		hundredths := random.Int64N(100_000)
		for range n {
			hundredths += random.Int64N(201) - 100
			v.Floats = append(v.Floats, float64(hundredths)/100)
		}
	case Noise:
		v.Kind = column.Float
		for range n {
			v.Floats = append(v.Floats, random.Float64())
		}
	}
	return v
}
