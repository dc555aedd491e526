package node

import (
	"runtime"
	"testing"

	"muster/raft"
)

// A group that is written to seldom keeps its newest 2 MiB of entries in memory.
// They must not keep alive what other groups' entries needed.
func TestColdGroupPinsLittle(t *testing.T) {
	g, err := raft.New(raft.Config{Self: 1}, raft.Restored{Membership: raft.Membership{Voters: []raft.Member{{Replica: 1, Node: 1, Goal: raft.GoalVoter}}, Next: 2}})
	if err != nil {
		t.Fatal(err)
	}
	turn := func() {
		for g.HasReady() {
			rd := g.Ready()
			g.Synced(rd.Number)
			if n := len(rd.Committed); n > 0 {
				g.Applied(rd.Committed[n-1].ID.Index)
			}
		}
	}
	g.Campaign()
	turn()
	c := &connection{}
	body := make([]byte, 60)
	for range 5000 { // one write to the cold group, then 700 to hot ones, whose entries are trimmed at once
		if _, err := g.Propose(0, []raft.Entry{c.entry(body)}); err != nil {
			t.Fatal(err)
		}
		turn()
		for range 700 {
			c.entry(body)
		}
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	t.Logf("%d MB alive for %d entries of 100 bytes", m.HeapAlloc>>20, 5000)
	if m.HeapAlloc > 32<<20 {
		t.Fail()
	}
	runtime.KeepAlive(g)
}
