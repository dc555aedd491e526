package machine

import (
	"runtime"
	"testing"

	"muster/raft"
	"muster/repl/wire"
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
	alive := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := alive() // of the tests that ran before
	q := &Requests{}
	body := make([]byte, 60)
	for range 5000 { // one write to the cold group, then 700 to hot ones, whose entries are trimmed at once
		if _, err := g.Propose(0, []raft.Entry{q.entry(wire.Origin{Time: 1}, body)}); err != nil {
			t.Fatal(err)
		}
		turn()
		for range 700 {
			q.entry(wire.Origin{Time: 1}, body)
		}
	}
	if after := alive(); after > before+32<<20 {
		t.Errorf("%d MB alive for 5000 entries of 100 bytes, and %d before", after>>20, before>>20)
	}
	runtime.KeepAlive(g)
}
