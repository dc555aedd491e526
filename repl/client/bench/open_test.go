package bench

import (
	"testing"
	"time"
)

// counted is how many operations of r took at least d, as far as its buckets
// tell.
func counted(r *Result, d time.Duration) (n uint64) {
	for _, b := range r.Buckets {
		if b.ToMicros >= micros(d) {
			n += b.Count
		}
	}
	return n
}

// What falls due while a server stands still must be counted from when it was
// due. A loop that waits for its answers would show as many slow ones as it has
// callers, here eight, where users would have met two hundred and more.
func TestOpenLoopStandstill(t *testing.T) {
	for _, pipelined := range []bool{false, true} {
		n, c := newFakeNode(t)
		p := Plan{
			Op: OpMixed, ReadPercent: 50, InFlight: 8, Pipelined: pipelined, Rate: 2000, KeyBytes: 16, Keys: 100,
			Duration: 700 * time.Millisecond, Grace: 10 * time.Second,
		}
		const stand, slow = 250 * time.Millisecond, 100 * time.Millisecond
		time.AfterFunc(100*time.Millisecond, func() {
			n.stand(true)
			time.AfterFunc(stand, func() { n.stand(false) })
		})
		r, err := Run(t.Context(), c, p)
		if err != nil {
			t.Fatal(err)
		}
		o := r.Open
		if o == nil || o.Due != 1400 || r.Errors != 0 || r.Done+o.Missed != o.Due || o.Rate != 2000 {
			t.Fatalf("pipelined %v: done %d, %d errors, %+v; want 1400 due", pipelined, r.Done, r.Errors, o)
		}
		// All that fell due between the stop and the last 100 ms before it went
		// on took as long; a tenth is for the clock of a busy machine.
		if got, want := counted(&r, slow), uint64(0.9*2000*(stand-slow).Seconds()); got < want {
			t.Errorf("pipelined %v: %d took %s and longer, want %d", pipelined, got, slow, want)
		}
		if o.Late < 200 || r.Max < micros(stand)*0.9 {
			t.Errorf("pipelined %v: %d were late and the longest took %v µs; want 200 and %s at least", pipelined, o.Late, r.Max, stand)
		}
		if r.Sets == nil || r.Gets == nil || r.Sets.Done+r.Gets.Done != r.Done || r.Sets.Done == 0 || r.Gets.Done == 0 {
			t.Errorf("pipelined %v: %d done, of it %+v and %+v", pipelined, r.Done, r.Sets, r.Gets)
		}
	}
}

// What could not be started before the end must be told, and be in the figures
// with the time that it waited: else the worst standstill, which never ends,
// would look best.
func TestOpenLoopMissed(t *testing.T) {
	for _, pipelined := range []bool{false, true} {
		n, c := newFakeNode(t)
		n.muteAfter(100)
		r, err := Run(t.Context(), c, Plan{
			Op: OpSet, InFlight: 4, Pipelined: pipelined, Rate: 1000, KeyBytes: 16, Keys: 100,
			Duration: 500 * time.Millisecond, Grace: 100 * time.Millisecond,
		})
		if err != nil {
			t.Fatal(err)
		}
		o := r.Open
		if o.Due != 500 || r.Errors != 4 || r.Done+r.Errors+o.Missed != 500 || o.Missed < 300 {
			t.Errorf("pipelined %v: done %d, %d errors, %+v; want 500 due, 4 errors and the most missed", pipelined, r.Done, r.Errors, o)
		}
		if got, want := counted(&r, 200*time.Millisecond), uint64(100); got < want {
			t.Errorf("pipelined %v: %d waited 200 ms and more, want %d", pipelined, got, want)
		}
	}
}

// Where nothing stands in the way all must be done, hardly late, and take what
// an answer takes: the clock of the loop must not add a millisecond to each.
func TestOpenLoopQuick(t *testing.T) {
	_, c := newFakeNode(t)
	for _, p := range []Plan{
		{Op: OpSet, InFlight: 64, Rate: 500},
		{Op: OpGet, InFlight: 64, Rate: 500, Pipelined: true},
		{Op: OpSet, InFlight: 4096, Rate: 20000, Pipelined: true},
		{Op: OpList, Rows: 2, InFlight: 64, Rate: 500},
	} {
		p.KeyBytes, p.Keys, p.Duration, p.Grace = 16, 100, 200*time.Millisecond, 10*time.Second
		want := uint64(p.Rate / 5)
		var r Result
		// What this machine stands still, at the end of one run, is missed by it:
		// not by each.
		for try := 0; try < 5 && r.Done < want/2; try++ {
			var err error
			if r, err = Run(t.Context(), c, p); err != nil {
				t.Fatal(err)
			}
			if r.Open.Due != want || r.Done+r.Open.Missed != want {
				t.Errorf("%s at %v: done %d, %+v; want %d", p.Op, p.Rate, r.Done, r.Open, want)
			}
		}
		if r.Done < want/2 {
			t.Errorf("%s at %v: done %d, %+v; want %d", p.Op, p.Rate, r.Done, r.Open, want)
		}
		t.Logf("%s at %v: p50 %v µs, %d late", p.Op, p.Rate, r.P50, r.Open.Late)
		if p.Op == OpList && (r.Rows == nil || *r.Rows != 2) {
			t.Errorf("a list has %v rows, want 2", r.Rows)
		}
	}
}

// When what is due must be a matter of arithmetic, whatever the rate: no
// operation more or less than the rate says.
func TestDue(t *testing.T) {
	for _, rate := range []float64{RateMin, 0.3, 1, 3, 7.7, 999, 1000, 3333.3, 250_000, RateMax} {
		p := Plan{Rate: rate}
		for _, d := range []time.Duration{1, 999, time.Millisecond, 700 * time.Millisecond, time.Second, 3*time.Second + 7} {
			n := p.dueBy(d)
			if n > 0 && p.due(n-1) >= d || p.due(n) < d {
				t.Errorf("rate %v: %d are due in %s, of which the last is at %s, and the next at %s", rate, n, d, p.due(max(n-1, 0)), p.due(n))
			}
		}
	}
}

// A pipelined closed loop must have as many under way as it may, and no more
// time in its figures than an answer takes.
func TestPipelined(t *testing.T) {
	_, c := newFakeNode(t)
	r, err := Run(t.Context(), c, Plan{
		Op: OpSet, InFlight: 100, Pipelined: true, KeyBytes: 16, Keys: 100, Exponent: 0.99,
		Warmup: 10 * time.Millisecond, Duration: 200 * time.Millisecond, Grace: 10 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	// Little's law: what is under way is the rate times the time of one.
	if underway := r.OpsPerS * r.Mean / 1e6; r.Errors > 0 || underway > 101 || r.Done == 0 || r.Distribution != "zipf:0.99" || !r.Pipelined || r.Open != nil {
		t.Errorf("got %+v, with %.1f under way; want 100 at most", r, underway)
	}
}

// BenchmarkAlarm shows how much too long a sleep is.
func BenchmarkAlarm(b *testing.B) {
	const d = 200 * time.Microsecond
	a, err := newAlarm()
	if err != nil {
		b.Fatal(err)
	}
	defer a.close()
	for _, x := range []struct {
		name  string
		sleep func(time.Duration) error
	}{{"alarm", a.sleep}, {"runtime", func(d time.Duration) error { time.Sleep(d); return nil }}} {
		b.Run(x.name, func(b *testing.B) {
			for b.Loop() {
				if err := x.sleep(d); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed()-d*time.Duration(b.N))/float64(b.N)/1000, "late-µs/op")
		})
	}
}
