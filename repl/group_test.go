package repl

import (
	"encoding/binary"
	"strings"
	"sync"
	"testing"
	"time"

	"muster/raft"
	"muster/repl/wire"
)

// said gathers answers by request.
type said struct {
	mu      sync.Mutex
	answers map[uint64][]string
}

func (s *said) Answer(r Reply, t wire.Type, body []byte) bool {
	text := t.String()
	if e := new(wire.Error); t == wire.TypeError && e.Read(body) == nil {
		text = e.Code.String()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.answers == nil {
		s.answers = map[uint64][]string{}
	}
	s.answers[r.Request] = append(s.answers[r.Request], text)
	return false
}

func (s *said) Flush() {}

func (s *said) to(request uint64) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.answers[request], " ")
}

// anything is a query that says that it ran.
type anything struct{}

func (anything) Run(_ StateMachine, _ raft.LogID, r Reply) bool {
	return r.To.Answer(r, wire.TypeGetAnswer, nil)
}

func proposal(g raft.GroupID, to Replier, request uint64) Proposal {
	return Proposal{Group: g, Entry: raft.NewEntry(raft.EntryNormal, binary.LittleEndian.AppendUint64(nil, request)), Reply: Reply{To: to, Request: request}}
}

// A command whose caller does not wait any more must not be proposed: under
// overload such are most of all, and what they cost is taken from those that are
// waited for. The caller of one that was not late must not hear that it was.
func TestLateCommands(t *testing.T) {
	c := newCluster(t, 1, 3)
	c.until("group 1 is led", func() bool { return c.leader(1) != nil })
	n := c.leader(1)
	g := n.host.groups[1]
	c.until("the leader has committed in its term", func() bool { return g.core.Status().Commit > 0 })
	c.until("some time has passed", func() bool { return n.host.now > 1 })
	last := g.core.Status().Last
	var s said
	for request, deadline := range []time.Duration{n.host.now - 1, n.host.now, 0} {
		p := proposal(1, &s, uint64(request))
		p.Deadline = deadline
		n.host.Propose(p)
	}
	if got := s.to(0); !strings.Contains(got, "unavailable") {
		t.Errorf("a late command was answered with %q, want unavailable", got)
	}
	if len(g.commands.queue) != 2 || s.to(1) != "" || s.to(2) != "" {
		t.Errorf("%d commands wait; want the 2 that are not late, unanswered, and got %q and %q", len(g.commands.queue), s.to(1), s.to(2))
	}
	if now := g.core.Status().Last; now != last {
		t.Errorf("the log ends at %v, want %v", now, last)
	}
}

// A core that finds an invariant broken says nothing from then on. Whoever
// waits for it must still be answered: once, and with the truth, that nobody
// knows. One would doubt it: a core can stop for four reasons, and only its
// owner can answer.
func TestGroupStops(t *testing.T) {
	c := newCluster(t, 1, 3)
	c.until("group 1 is led", func() bool { return c.leader(1) != nil })
	n := c.leader(1)
	g := n.host.groups[1]
	c.until("the leader has committed in its term", func() bool { return g.core.Status().Commit > 0 })
	for _, o := range c.nodes { // nobody answers any more: what is proposed waits
		if o != n {
			c.cut[[2]raft.NodeID{n.id, o.id}] = true
		}
	}
	var s said
	n.host.Propose(proposal(1, &s, 1))
	n.host.Read(Read{Group: 1, Reply: Reply{To: &s, Request: 2}, Query: anything{}})
	n.host.Read(Read{Group: 1, Local: true, After: 1 << 40, Reply: Reply{To: &s, Request: 3}, Query: anything{}})
	n.turn()
	var other raft.ReplicaID
	for _, m := range g.members.Voters {
		if m.Replica != g.replica.ID {
			other = m.Replica
		}
	}
	status := g.core.Status()
	e := wire.Envelope{Group: 1, Incarnation: 1, Message: raft.Message{Type: raft.MsgAppend, From: other, To: g.replica.ID, Term: status.Term, Log: status.Last}}
	node, _ := g.node(other)
	n.told(node, &e) // a second leader in one term
	n.turn()
	if g.stopped == nil {
		t.Fatal("the group goes on")
	}
	for request, want := range map[uint64]string{1: "maybe-applied", 2: "damaged", 3: "damaged"} {
		if got := s.to(request); got != want {
			t.Errorf("request %d is answered %q, want %q", request, got, want)
		}
	}
	n.host.Propose(proposal(1, &s, 4))
	n.host.Read(Read{Group: 1, Reply: Reply{To: &s, Request: 5}, Query: anything{}})
	n.turn()
	for _, request := range []uint64{4, 5} {
		if got := s.to(request); got != "damaged" {
			t.Errorf("request %d, afterwards, is answered %q, want damaged", request, got)
		}
	}
	if g.reads.count != 0 || len(g.commands.waiting.all()) != 0 || len(g.commands.queue) != 0 || g.commands.bytes != 0 {
		t.Errorf("%d reads, %d waiters and %d commands of %d bytes are left", g.reads.count, len(g.commands.waiting.all()), len(g.commands.queue), g.commands.bytes)
	}
	if o := c.leader(2); o != nil && o.host.groups[2].stopped != nil {
		t.Error("another group has stopped too")
	}
}

// A read may name a log id that it must not be older than. One that nobody was
// ever told is refused by the leader at once; another copy can't tell, so there
// it waits, but not in the place of those who need not.
func TestReadsAhead(t *testing.T) {
	c := newCluster(t, 2, 3)
	c.until("group 1 is led", func() bool { return c.leader(1) != nil })
	n := c.leader(1)
	var s said
	n.host.Read(Read{Group: 1, After: 1 << 40, Reply: Reply{To: &s, Request: 1}, Query: anything{}})
	n.turn()
	c.until("the read is answered", func() bool { return s.to(1) != "" })
	if got := s.to(1); got != "bad-request" {
		t.Errorf("a read after what was never written is answered %q, want bad-request", got)
	}
	g := n.host.groups[1]
	for i := range uint64(readsMax + 10) {
		n.host.Read(Read{Group: 1, Local: true, After: 1 << 40, Deadline: c.now + time.Second, Reply: Reply{To: &s, Request: 1000 + i}, Query: anything{}})
	}
	if g.reads.count != parkedMax || len(g.reads.parked) != parkedMax {
		t.Errorf("%d reads wait, %d of them for an index, the limit is %d", g.reads.count, len(g.reads.parked), parkedMax)
	}
	if got := s.to(1000 + parkedMax); got != "busy" {
		t.Errorf("one too many is answered %q, want busy", got)
	}
	n.host.Read(Read{Group: 1, Local: true, Reply: Reply{To: &s, Request: 2}, Query: anything{}})
	n.host.Read(Read{Group: 1, Reply: Reply{To: &s, Request: 3}, Query: anything{}})
	n.turn()
	c.until("reads that need not wait are answered", func() bool { return s.to(2) == "GetAnswer" && s.to(3) == "GetAnswer" })
	for c.now < 5*time.Second {
		c.now += 50 * time.Millisecond
		n.turn()
		n.host.Tick()
	}
	n.turn()
	if g.reads.count != 0 || len(g.reads.parked) != 0 {
		t.Errorf("%d reads wait after their time, %d of them for an index", g.reads.count, len(g.reads.parked))
	}
	if got := s.to(1000); got != "unavailable" {
		t.Errorf("a read whose time is over is answered %q, want unavailable", got)
	}
}

// Heartbeats for a node that nobody sends to would gather for ever.
func TestBeatsOfUnknownNodes(t *testing.T) {
	c := newCluster(t, 3, 3)
	for _, n := range c.nodes {
		n.host.SetNodes(nil)
	}
	for range 5000 {
		c.step()
	}
	for _, n := range c.nodes {
		if len(n.host.beats.of) != 0 {
			t.Errorf("node %d keeps heartbeats for %d nodes", n.id, len(n.host.beats.of))
		}
	}
}
