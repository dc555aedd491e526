package raft

import "testing"

// diverged returns a new leader and a follower whose logs agree up to 1.1 and
// then differ in n entries of each's own terms.
func diverged(t testing.TB, n, terms int) (lead, other *Group) {
	make := func(self ReplicaID, first uint64) *Group {
		r := Restored{Membership: Membership{Voters: voters(1, 2, 3), Next: 4}, Terms: []TermRun{{1, 1}}, Tail: []Entry{entry(1, 1)}}
		for i := range n {
			term := first + 2*uint64(i*terms/n)
			if last := r.Terms[len(r.Terms)-1]; last.Term != term {
				r.Terms = append(r.Terms, TermRun{uint64(i) + 2, term})
			}
			r.Tail = append(r.Tail, entry(term, uint64(i)+2))
		}
		r.Last, r.Time = r.Tail[n].ID, r.Tail[n].Time
		r.State.Term = r.Last.Term
		return newGroup(t, Config{Self: self}, r)
	}
	lead, other = make(1, 3), make(2, 2)
	lead.Campaign()
	step(t, lead, Message{Type: MsgPreVoteAnswer, From: 3, To: 1, Term: lead.replica.term + 1})
	lead.Synced(lead.Ready().Number)
	step(t, lead, Message{Type: MsgVoteAnswer, From: 3, To: 1, Term: lead.replica.term})
	if lead.replica.role != RoleLeader {
		t.Fatalf("it is %s", lead.replica.role)
	}
	return lead, other
}

// mend lets the two talk until other's log is lead's, and returns how many
// appends were refused before one was taken.
func mend(t testing.TB, lead, other *Group) (refused int) {
	for turn := 0; other.replica.log.last != lead.replica.log.last; turn++ {
		if turn > 1000 {
			t.Fatal("it never ends")
		}
		rd := lead.Ready()
		lead.Synced(rd.Number)
		for _, m := range rd.Messages {
			if m.To == 2 {
				step(t, other, m)
			}
		}
		rd = other.Ready()
		other.Synced(rd.Number)
		for _, m := range rd.AfterSync {
			if m.Reject {
				refused++
			}
			step(t, lead, m)
		}
	}
	return refused
}

// The cost of finding where two logs part must depend on the number of terms in
// which they differ, not on that of the entries (the paper, end of section
// 5.3).
func TestDivergenceRoundTrips(t *testing.T) {
	for _, c := range []struct{ n, terms int }{{10, 1}, {10, 5}, {1000, 1}, {1000, 5}, {10000, 5}, {1000, 20}} {
		lead, other := diverged(t, c.n, c.terms)
		if got := mend(t, lead, other) + 1; got > c.terms+2 {
			t.Errorf("%d entries in %d terms: %d round trips before data flows, want at most %d", c.n, c.terms, got, c.terms+2)
		}
	}
}

// BenchmarkDivergence mends a follower whose last 100,000 entries differ in 5
// terms.
func BenchmarkDivergence(b *testing.B) {
	trips := 0
	for b.Loop() {
		b.StopTimer()
		lead, other := diverged(b, 100000, 5)
		b.StartTimer()
		trips = mend(b, lead, other) + 1
	}
	b.ReportMetric(float64(trips), "round-trips")
	if trips > 5+2 {
		b.Errorf("%d round trips before data flows, want at most 7", trips)
	}
}
