package repl

import (
	"context"
	"log/slog"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"muster/logstore"
	"muster/logstore/vfs"
	"muster/raft"
	"muster/repl/wire"
)

// fetchCounter is a transport that carries nothing and counts what is fetched.
type fetchCounter struct {
	Transport
	asked map[raft.NodeID][]raft.GroupID
}

func (f *fetchCounter) Fetch(to raft.NodeID, e *wire.Envelope, _ func() bool) {
	f.asked[to] = append(f.asked[to], e.Group)
}

// A node that comes back after long, among a thousand groups, has each leader
// add for it what it lacks. All at once that is a mebibyte for each group, on
// the leader and then on it. Only a few are under way, to it and to all; each
// add lets another one go, each group gets its turn, and what is not answered
// holds nobody up for long.
func TestFetchesUnderWayAreBounded(t *testing.T) {
	const groups = 1000
	c := written(t, 90, 2)
	lead := c.leadsNow(1)
	h, like := lead.host, lead.replica()
	count := &fetchCounter{Transport: h.cfg.Transport, asked: map[raft.NodeID][]raft.GroupID{}}
	h.cfg.Transport = count
	ask := func(to raft.NodeID, id raft.GroupID) {
		h.fetching.add(to, &wire.Envelope{Group: id, Incarnation: 1, Message: raft.Message{Type: raft.MsgAppend, Term: 7, Fetch: 100}})
	}
	for i := range groups {
		g := &group{host: h, replica: like.replica}
		g.replica.Group = raft.GroupID(100 + i)
		g.leading.Store(7)
		h.groups[g.replica.Group] = g
	}
	sent := func(to raft.NodeID) int { return len(count.asked[to]) }
	for range 3 { // the core asks again while nothing comes back
		for i := range groups {
			ask(50, raft.GroupID(100+i))
		}
	}
	if sent(50) != fetchesMax {
		t.Fatalf("%d are under way to one node, want %d", sent(50), fetchesMax)
	}
	for n := range raft.NodeID(9) {
		for i := range groups {
			ask(51+n, raft.GroupID(100+i))
		}
	}
	if h.fetching.underWay != fetchesAllMax {
		t.Fatalf("%d are under way to all nodes, want %d", h.fetching.underWay, fetchesAllMax)
	}
	for answered := 0; answered < groups; answered++ {
		if answered >= sent(50) {
			t.Fatalf("after %d answers nothing more is sent to a node", answered)
		}
		if under := sent(50) - answered; under > fetchesMax {
			t.Fatalf("%d are under way to one node after %d answers", under, answered)
		}
		h.fetching.answered(50, count.asked[50][answered])
	}
	served := slices.Clone(count.asked[50])
	slices.Sort(served)
	if len(slices.Compact(served)) != groups {
		t.Errorf("%d groups of %d had their turn", len(slices.Compact(served)), groups)
	}
	before := sent(51)
	for range fetchPatience {
		h.ticks++
		h.fetching.tick()
	}
	if sent(51) <= before || h.fetching.underWay > fetchesAllMax {
		t.Errorf("without answers %d more are sent in %d ticks, %d under way", sent(51)-before, fetchPatience, h.fetching.underWay)
	}
}

// A connection holds one append that was read from the log, not all that wait:
// the others are read when it has been written, and what else is to be said, as
// heartbeats, comes between them.
func TestFetchesAreReadOneByOne(t *testing.T) {
	const groups = 50
	disk := vfs.NewMem()
	store, err := logstore.Open(logstore.Options{FS: disk, Dir: "data", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	for g := range raft.GroupID(groups) {
		r := logstore.Replica{Group: g, Incarnation: 1, ID: 1}
		e := raft.SealedEntry(raft.EntrySeed(g, 1), raft.LogID{Term: 1, Index: 1}, 1, raft.EntryNormal, make([]byte, 10_000))
		if err := store.Append([]logstore.Write{{Replica: r, Base: &logstore.Base{}, State: raft.HardState{Term: 1}, HasState: true, Entries: []raft.Entry{e}}}); err != nil {
			t.Fatal(err)
		}
	}
	conns := make(chan net.Conn, 1)
	p := NewPeers(PeersConfig{
		Dial: func(context.Context, raft.NodeID, string) (net.Conn, error) {
			a, b := net.Pipe() // takes nothing that is not read at once
			conns <- b
			return a, nil
		},
		Store: store, FetchBytes: 1 << 20, Counters: new(wire.Counters), Log: slog.New(slog.DiscardHandler),
	})
	defer p.Close()
	p.SetNode(7, "somewhere")
	conn := <-conns
	defer conn.Close()
	for !p.Connected(7) {
		time.Sleep(time.Millisecond)
	}
	var read atomic.Int64 // from the log
	for g := range raft.GroupID(groups) {
		for range 2 { // a core that asks again gets one all the same
			p.Fetch(7, &wire.Envelope{Group: g, Incarnation: 1, Message: raft.Message{Type: raft.MsgAppend, From: 1, To: 2, Term: 1, Fetch: 1}},
				func() bool { read.Add(1); return true })
		}
	}
	p.Flush()
	d := wire.NewDecoder(wire.FrameMax)
	appends, beatAt := 0, 0
	for appends < groups {
		h, _, err := wire.ReadFrame(conn, d)
		if err != nil {
			t.Fatal(err)
		}
		switch h.Type {
		case wire.TypePing:
		case wire.TypeBeat:
			beatAt = appends
		case wire.TypeAppend:
			appends++
			if n := read.Load(); n > int64(appends)+1 {
				t.Fatalf("%d appends are read when %d are written", n, appends)
			}
			if appends == 1 {
				p.SendBeat(7, &wire.Beat{Mark: 1, Sequence: 1}, false)
				p.Flush()
			}
		}
	}
	if beatAt == 0 || beatAt > 3 {
		t.Errorf("a heartbeat comes after %d of %d appends", beatAt, groups)
	}
}
