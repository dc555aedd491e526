package health

import (
	"testing"
	"time"
)

// What 5,000 checks cost both cores for one second of a steady registry, with all their
// probes, results and polls: beside the probes themselves it should be nothing.
func BenchmarkSecond(b *testing.B) {
	x := newAlone(b, 1000, 5)
	for x.now = 0; x.now < 10*time.Second; x.now += tickEvery {
		x.turn()
	}
	b.ReportAllocs()
	for b.Loop() {
		for end := x.now + time.Second; x.now < end; x.now += tickEvery {
			x.turn()
		}
	}
}

// What it costs a leader that one of 1,000 services has changed.
func BenchmarkServices(b *testing.B) {
	x := newAlone(b, 1000, 5)
	for x.now = 0; x.now < 10*time.Second; x.now += tickEvery {
		x.turn()
	}
	b.ReportAllocs()
	for b.Loop() {
		next := *x.rows[500].Service
		x.rows[500].Service = &next
		x.rows[500].Version++
		x.assigner.Services(x.now, 1, 1, x.rows)
		x.turn()
	}
}
