package repl

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"muster/raft"
)

// Each stage of a request is told from the others, on a clock that stands where the test puts
// it. One would doubt it where stages overlap: the leader's own disk and the other nodes
// work at the same time, and either may be the slow one.
func TestStages(t *testing.T) {
	c := newCluster(t, 3, 3)
	c.until("group 1 is led", func() bool { return c.leader(1) != nil && c.settled() })
	lead := c.leader(1)
	for _, n := range c.nodes {
		n.host.Stages.clock = func() time.Duration { return c.now + n.ahead }
	}
	quiet := func() {
		for slices.ContainsFunc(c.nodes, func(n *testNode) bool { return n.batch != nil }) || len(c.net) > 0 {
			for _, n := range c.nodes {
				n.sync()
				n.turn()
			}
			for len(c.net) > 0 {
				p := c.net[0]
				c.net = c.net[1:]
				c.deliver(p)
			}
		}
	}
	quiet()
	took := func(what string, stage Stage, want ...time.Duration) {
		t.Helper()
		h := lead.host.Stages.Ever(stage)
		sum := time.Duration(0)
		for _, d := range want {
			sum += d
		}
		if h.Total() != uint64(len(want)) || h.Sum() != sum {
			t.Errorf("%s: %d took %s, want %d that took %s", what, h.Total(), h.Sum(), len(want), sum)
		}
	}
	const ms = time.Millisecond
	write := func(v uint64, at time.Duration) {
		lead.host.Propose(Proposal{Group: 1, Entry: raft.NewEntry(raft.EntryNormal, []byte{byte(v), 0, 0, 0, 0, 0, 0, 0}),
			Reply: Reply{To: acks{c}, Request: v, At: at}})
		lead.turn()
	}

	// The leader's disk is quick, the others are slow.
	c.now += 50 * ms
	write(1, c.now-3*ms)
	took("the queue", WriteQueue, 3*ms)
	c.now += 7 * ms
	lead.sync()
	took("the log", WriteLog, 7*ms)
	took("the commit, before any other has it", WriteCommit)
	c.now += 5 * ms
	quiet()
	took("the commit", WriteCommit, 12*ms)
	took("the whole write", WriteWhole, 15*ms)
	took("what is applied", WriteApply, 0)

	// The node's own writes are in none.
	write(2, 0)
	quiet()
	took("the queue, after the node's own", WriteQueue, 3*ms)
	took("the log, after the node's own", WriteLog, 7*ms)
	took("the commit, after the node's own", WriteCommit, 12*ms)
	took("the whole write, after the node's own", WriteWhole, 15*ms)

	for _, n := range c.nodes {
		if h := n.host.Stages.Ever(WriteWhole); n != lead && h.Total() > 0 {
			t.Errorf("node %d did not answer, and counts %d writes", n.id, h.Total())
		}
	}

	// More than are counted as of one moment.
	const many = answeredMax + 5
	var s said
	for i := range many {
		lead.host.Read(Read{Group: 1, Query: anything{}, Reply: Reply{To: &s, Request: uint64(i + 1), At: c.now - 2*ms}})
	}
	lead.turn()
	c.now += 4 * ms
	quiet()
	took("reads in the queue", ReadQueue, slices.Repeat([]time.Duration{2 * ms}, many)...)
	took("their confirmation", ReadConfirm, slices.Repeat([]time.Duration{4 * ms}, many)...)
	took("whole reads", ReadWhole, slices.Repeat([]time.Duration{6 * ms}, many)...)
	took("their answers", ReadAnswer, slices.Repeat([]time.Duration{0}, many)...)

	// A person who looks is told of now.
	if l := lead.host.Stages.Lately(WriteWhole); l.Count != 1 || l.P99 < 15*ms || l.P99 > 19*ms {
		t.Errorf("lately: %+v, want one write of 15 ms", l)
	}
	c.now += 2 * stagesWindow
	if l := lead.host.Stages.Lately(WriteWhole); l.Count != 0 || l.P99 != 0 {
		t.Errorf("long after: %+v, want nothing", l)
	}
}

// Buckets must not say less than was measured, nor more than a quarter more, or 250 ns, and doublings
// are exact: a duration of 2 µs is at most 2 µs.
func TestDurations(t *testing.T) {
	chance := rand.New(rand.NewPCG(1, 2))
	var h Durations
	var all []time.Duration
	for range 3000 {
		d := time.Duration(chance.ExpFloat64() * float64(time.Duration(1)<<chance.IntN(36)))
		if chance.IntN(4) == 0 {
			d = time.Microsecond << chance.IntN(durationDoublings) // on an edge
		}
		all = append(all, d)
		h.add(d, 1)
	}
	slices.Sort(all)
	for i, got := range h.Doublings() {
		edge, want := time.Microsecond<<i, uint64(0)
		for _, d := range all {
			if d <= edge {
				want++
			}
		}
		if got != want {
			t.Errorf("%d are at most %s, want %d", got, edge, want)
		}
	}
	for p := uint64(1); p <= 100; p++ {
		want := all[(uint64(len(all))*p+99)/100-1]
		if got := h.percentile(p, all[len(all)-1]); got < want || got > max(want*5/4, want+durationUnit) {
			t.Errorf("percentile %d is %s, want %s or a quarter more, or 250 ns", p, got, want)
		}
	}
	if got := (&Durations{}).percentile(99, time.Hour); got != 0 {
		t.Errorf("the percentile of nothing is %s", got)
	}
	in := h.Doublings()[durationDoublings]
	h.add(time.Hour, 1) // longer than any bucket
	if got := h.Doublings()[durationDoublings]; got != in {
		t.Errorf("with an hour %d are in buckets that end, want %d", got, in)
	}
	if got := h.percentile(100, time.Hour); got != time.Hour {
		t.Errorf("the longest is %s, want 1h", got)
	}
}

// Counting must not show in what a request costs.
func TestStagesAllocateNothing(t *testing.T) {
	s := newStages()
	if n := testing.AllocsPerRun(1000, func() { countWrites(s, 64) }); n > 0 {
		t.Errorf("counting 64 writes allocates %v times", n)
	}
}

func newStages() *Stages {
	h, from := new(Host), time.Now()
	h.Stages.init(h)
	h.Stages.clock = func() time.Duration { return time.Since(from) }
	return &h.Stages
}

// countWrites counts so many writes that come, are written, committed and answered together.
func countWrites(s *Stages, writes int) {
	now := s.now()
	s.host.now = now
	w := waiter{proposed: now, reply: Reply{At: now - time.Millisecond}}
	for range writes {
		s.queued(WriteQueue, &w.reply)
	}
	s.taken(WriteQueue)
	s.took(WriteLog, now, s.now(), writes)
	s.applies()
	for range writes {
		s.write(&w)
	}
	s.applied()
	s.turned()
}

func BenchmarkStages(b *testing.B) {
	for _, writes := range []int{1, 64, 1024} {
		b.Run(map[int]string{1: "1", 64: "64", 1024: "1024"}[writes], func(b *testing.B) {
			s := newStages()
			for b.Loop() {
				countWrites(s, writes)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*writes), "ns/write")
		})
	}
}
