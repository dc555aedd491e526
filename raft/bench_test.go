package raft

import "testing"

// BenchmarkLeader is the whole way of 1000 commands through a leader of three:
// propose, one Ready, the sync, one answer, the commit.
func BenchmarkLeader(b *testing.B) {
	g := elected(b, Config{}, 3)
	entries := proposal(1000, 150)
	b.SetBytes(1000 * 190)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := g.Propose(0, entries); err != nil {
			b.Fatal(err)
		}
		rd := g.Ready()
		last := g.replica.log.last.Index
		ack(b, g, 2, last)
		ack(b, g, 3, last)
		g.Synced(rd.Number)
		g.Synced(g.Ready().Number)
		g.Applied(last)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/entry")
}

// BenchmarkSeal is the part of that which the checksums are.
func BenchmarkSeal(b *testing.B) {
	entries := proposal(1000, 150)
	for b.Loop() {
		for i := range entries {
			entries[i].seal(1)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/entry")
}

// BenchmarkFollower is the way of 1000 commands through a follower: check,
// append, Ready, sync.
func BenchmarkFollower(b *testing.B) {
	g := newGroup(b, Config{Self: 2}, Restored{Membership: Membership{Voters: voters(1, 2, 3), Next: 4}})
	entries := proposal(1000, 150)
	var last LogID
	b.SetBytes(1000 * 190)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		m := Message{Type: MsgAppend, From: 1, To: 2, Term: 1, Log: last, Commit: last.Index, Entries: entries}
		for i := range entries {
			last = LogID{1, last.Index + 1}
			entries[i].ID = last
			entries[i].seal(0)
		}
		b.StartTimer()
		step(b, g, m)
		rd := g.Ready()
		g.Synced(rd.Number)
		if n := len(rd.Committed); n > 0 {
			g.Applied(rd.Committed[n-1].ID.Index)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/entry")
}

// No allocation per entry: a hundred times the entries cost a few allocations
// more, for the growth of the log in memory.
func TestAllocations(t *testing.T) {
	for _, n := range []int{1, 100, 1000} {
		g := elected(t, Config{}, 3)
		entries := proposal(n, 100)
		got := testing.AllocsPerRun(50, func() {
			if _, err := g.Propose(0, entries); err != nil {
				t.Fatal(err)
			}
			rd := g.Ready()
			last := g.replica.log.last.Index
			ack(t, g, 2, last)
			g.Synced(rd.Number)
			g.Ready()
			g.Applied(last)
		})
		if got > 8 {
			t.Errorf("%d entries in a batch: %v allocations, want at most 8", n, got)
		}
	}
}
