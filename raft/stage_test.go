package raft

import (
	"testing"
	"time"
)

// stageEntries are how many commands a batch of the stages has: what a node with
// a thousand requests under way sees.
const stageEntries = 64

// stages lets commands pass a leader of three and one follower, and measures the
// parts apart.
type stages struct {
	t                  testing.TB
	leader, follower   *Group
	entries            []Entry
	propose, replicate time.Duration
}

func newStages(t testing.TB) *stages {
	s := &stages{t: t, leader: elected(t, Config{}, 3), entries: proposal(stageEntries, 150)}
	s.follower = newGroup(t, Config{Self: 2}, Restored{Membership: Membership{Voters: voters(1, 2, 3), Next: 4}})
	last := s.leader.replica.log.last
	empty := SealedEntry(s.leader.replica.config.Seed, last, 1, EntryNoOp, nil)
	step(t, s.follower, Message{Type: MsgAppend, From: 1, To: 2, Term: last.Term, Entries: []Entry{empty}})
	s.follower.Synced(s.follower.Ready().Number)
	for _, id := range []ReplicaID{2, 3} {
		ack(t, s.leader, id, last.Index)
	}
	s.settle()
	return s
}

// settle takes note of what is committed, at both.
func (s *stages) settle() {
	for _, g := range []*Group{s.leader, s.follower} {
		rd := g.Ready()
		g.Synced(rd.Number)
		if n := len(rd.Committed); n > 0 {
			g.Applied(rd.Committed[n-1].ID.Index)
		}
	}
}

// turn is one batch: proposed, sent, appended by one follower, which is a
// majority, and committed.
func (s *stages) turn() {
	began := time.Now()
	if _, err := s.leader.Propose(0, s.entries); err != nil {
		s.t.Fatal(err)
	}
	rd := s.leader.Ready()
	proposed := time.Now()
	for i := range rd.Messages {
		if m := &rd.Messages[i]; m.To == 2 && len(m.Entries) > 0 {
			step(s.t, s.follower, *m)
		}
	}
	frd := s.follower.Ready()
	s.follower.Synced(frd.Number)
	for _, m := range frd.AfterSync {
		step(s.t, s.leader, m)
	}
	s.leader.Synced(rd.Number)
	last := s.leader.replica.log.last.Index
	ack(s.t, s.leader, 3, last) // else its window would be full
	if rd = s.leader.Ready(); len(rd.Committed) != stageEntries {
		s.t.Fatalf("%d of %d commands are committed", len(rd.Committed), stageEntries)
	}
	s.leader.Synced(rd.Number)
	s.leader.Applied(last)
	if n := len(frd.Committed); n > 0 {
		s.follower.Applied(frd.Committed[n-1].ID.Index)
	}
	s.propose += proposed.Sub(began)
	s.replicate += time.Since(proposed)
}

// BenchmarkStagePropose is commands into the leader's log and into messages, with
// the checksum of each.
func BenchmarkStagePropose(b *testing.B) {
	benchmarkStages(b, func(s *stages) time.Duration { return s.propose })
}

// BenchmarkStageReplicate is a leader's append at a follower, and the answer at
// the leader, up to what is committed.
func BenchmarkStageReplicate(b *testing.B) {
	benchmarkStages(b, func(s *stages) time.Duration { return s.replicate })
}

func benchmarkStages(b *testing.B, of func(*stages) time.Duration) {
	s := newStages(b)
	b.ReportAllocs()
	for b.Loop() {
		s.turn()
	}
	b.ReportMetric(float64(of(s).Nanoseconds())/float64(b.N)/stageEntries, "ns/entry")
	b.ReportMetric(0, "ns/op") // of both stages: it would be taken for this one's
}

// What a batch allocates must not depend on how many commands are in it.
func TestStagesAllocate(t *testing.T) {
	s := newStages(t)
	for range 20 {
		s.turn()
	}
	if n := testing.AllocsPerRun(100, s.turn); n > 12 {
		t.Errorf("%d commands through a leader and a follower: %v allocations, want 12 at most", stageEntries, n)
	}
}
