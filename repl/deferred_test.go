package repl

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"muster/logstore"
	"muster/raft"
	"muster/repl/wire"
)

// gate is a register that is closed for a while, by an entry of its log: then it takes
// nothing, until another entry opens it, or takes it away.
type gate struct {
	*register
	state     uint64
	decided   uint64
	elsewhere bool // it is known without its log that it goes away
}

// What the gate's log says of it; below these are values.
const (
	gateOpens  = 1 << 50
	gateCloses = 1 << 51
	gateLeaves = 1 << 52
	gateWords  = gateOpens | gateCloses | gateLeaves
)

func (g *gate) Apply(e raft.Entry, answer bool, out []byte) (wire.Type, []byte, error) {
	switch v := binary.LittleEndian.Uint64(e.Payload()); {
	case v >= gateOpens:
		g.state = v & gateWords
		g.decided++
		return wire.TypeWriteAnswer, binary.LittleEndian.AppendUint64(out, v), nil
	case g.state == gateCloses || g.state == gateLeaves:
		return wire.TypeError, wire.Moved(1, 1, 2, 3).Append(out), nil
	}
	return g.register.Apply(e, answer, out)
}

func (g *gate) Deferring() bool { return g.state == gateCloses }
func (g *gate) Decided() uint64 { return g.decided }

func (g *gate) DeferCommand(payload []byte) (late, refused *wire.Error) {
	switch {
	case binary.LittleEndian.Uint64(payload) >= gateOpens || g.state != gateCloses:
		return nil, nil
	case g.elsewhere:
		return nil, wire.Moved(1, 1, 2, 3)
	}
	return wire.Unavailable("slot 1", "it is on its way to group 2"), nil
}

func (g *gate) DeferQuery(Query) (late *wire.Error) {
	if g.state != gateCloses || g.elsewhere {
		return nil
	}
	return wire.Unavailable("slot 1", "it is on its way to group 2")
}

func (g *gate) Copy() StateCopy {
	return &registerCopy{append([]uint64{g.state}, g.history...)}
}

func (g *gate) Restore(from io.Reader, at raft.LogID, t raft.GroupTime) error {
	if err := g.register.Restore(from, at, t); err != nil {
		return err
	}
	g.state, g.history = g.history[0], g.history[1:]
	return nil
}

// looks is a query that says what it found.
type looks struct{ t *testing.T }

func (q looks) Run(m StateMachine, _ raft.LogID, r Reply) bool {
	switch g := m.(*gate); {
	case g.state == gateCloses && !g.elsewhere:
		q.t.Errorf("read %d runs while the gate is closed", r.Request)
	case g.state == gateCloses || g.state == gateLeaves:
		return r.To.Answer(r, wire.TypeError, wire.Moved(1, 1, 2, 3).Append(nil))
	}
	return r.To.Answer(r, wire.TypeGetAnswer, nil)
}

// gated has the group 1 of each node begin with a gate.
func (c *cluster) gated(nodes int) {
	c.gates = true
	c.start(nodes)
}

func (n *testNode) gate() *gate { return n.host.groups[1].machine.(*gate) }

// word has the log of group 1 say something of its gate.
func (c *cluster) word(n *testNode, to Replier, word, number uint64) {
	p := proposal(1, to, word+number)
	n.host.Propose(p)
	n.turn()
}

func newGated(t *testing.T, seed uint64) *cluster {
	c := &cluster{t: t, rnd: rand.New(rand.NewPCG(seed, 7)), cut: map[[2]raft.NodeID]bool{}, acked: map[uint64]bool{}, entriesTo: map[raft.NodeID]int{}}
	c.gated(3)
	return c
}

// What waits behind a closed gate is answered once, whatever becomes of the gate, of its
// replica's lead, and of the caller: as if it had come later, or with an error that says
// that it changed nothing. Then nothing of it is kept.
func TestDeferred(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(c *cluster, n *testNode)
		// want is what a command and a read are told.
		command, read string
		applied       bool
	}{
		{"it opens", func(c *cluster, n *testNode) { c.word(n, nil, gateOpens, 1) }, "WriteAnswer", "GetAnswer", true},
		{"it goes away", func(c *cluster, n *testNode) { c.word(n, nil, gateLeaves, 1) }, "moved", "moved", false},
		{"it is known to go away, before its log says so", func(c *cluster, n *testNode) {
			n.gate().elsewhere = true
			n.gate().decided++
			n.turn() // nothing else happens in the group
		}, "moved", "moved", false},
		{"time is over", func(c *cluster, n *testNode) { n.alone(9) }, "unavailable", "unavailable", false},
		{"its replica stops", func(c *cluster, n *testNode) {
			n.host.groups[1].stop(fmt.Errorf("the machine is at its end"))
			n.turn()
		}, "damaged", "damaged", false},
		{"its replica is removed", func(c *cluster, n *testNode) {
			n.host.Retire(logstore.Replica{Group: 1, Incarnation: 1, ID: raft.ReplicaID(n.id)})
			n.turn()
		}, "not-leader", "not-leader", false},
		{"its replica leads no more", func(c *cluster, n *testNode) { c.depose(n) }, "not-leader", "not-leader", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newGated(t, 1)
			c.until("group 1 is led", func() bool { return c.leader(1) != nil })
			n := c.leader(1)
			var s said
			// The first is in the log before the gate closes for it, and is applied behind.
			c.word(n, nil, gateCloses, 1)
			deadline := c.now + time.Hour
			if tt.name == "time is over" {
				deadline = c.now + 8*waitTick
			}
			ask := func(request uint64) {
				p := proposal(1, &s, request)
				p.Deadline = deadline
				n.host.Propose(p)
				n.turn()
			}
			ask(1)
			if n.gate().state == gateCloses {
				t.Fatal("the command does not stand behind the one that closes in the log")
			}
			c.until("the gate is closed, and the command waits", func() bool { return n.host.Deferrals.Count() == 1 || s.to(1) != "" })
			ask(2)
			for request := uint64(101); request <= 102; request++ {
				n.host.Read(Read{Group: 1, Deadline: deadline, Reply: Reply{To: &s, Request: request}, Query: looks{t}})
			}
			n.turn()
			c.until("all wait", func() bool { return n.host.Deferrals.Count() == 4 || s.to(1)+s.to(2)+s.to(101)+s.to(102) != "" })
			if n.host.Deferrals.bytes == 0 {
				t.Error("what waits counts nothing")
			}
			tt.do(c, n)
			c.until("all are answered", func() bool { return s.to(1) != "" && s.to(2) != "" && s.to(101) != "" && s.to(102) != "" })
			for request, want := range map[uint64]string{1: tt.command, 2: tt.command, 101: tt.read, 102: tt.read} {
				if got := s.to(request); got != want {
					t.Errorf("request %d is answered %q, want %q", request, got, want)
				}
			}
			if n.host.Deferrals.requests != 0 || n.host.Deferrals.bytes != 0 {
				t.Errorf("%d requests with %d bytes are still counted", n.host.Deferrals.requests, n.host.Deferrals.bytes)
			}
			for _, v := range []uint64{1, 2} {
				if got := slices.Contains(n.history[1], v); got != tt.applied {
					t.Errorf("%d is applied: %t, want %t", v, got, tt.applied)
				}
			}
			if err := CheckHost(n.host); err != nil {
				t.Error(err)
			}
		})
	}
}

// depose has a node lose the lead of group 1.
func (c *cluster) depose(n *testNode) {
	for _, o := range c.nodes {
		if o != n {
			c.cut[[2]raft.NodeID{o.id, n.id}] = true
		}
	}
	c.until("it leads no more", func() bool { return n.host.groups[1].role != raft.RoleLeader })
}

// deferredForgotten returns what goes wrong with a command that waits where the lead is
// lost.
func deferredForgotten(t *testing.T) (wrong string) {
	c := newGated(t, 1)
	c.until("group 1 is led", func() bool { return c.leader(1) != nil })
	n := c.leader(1)
	c.word(n, nil, gateCloses, 1)
	c.until("the gate is closed", func() bool { return n.gate().state == gateCloses })
	var s said
	n.host.Propose(proposal(1, &s, 1))
	n.turn()
	c.depose(n)
	if got := s.to(1); got != "not-leader" {
		return fmt.Sprintf("the command is answered %q", got)
	}
	return ""
}

// A command that waits where the lead is lost is answered: it was not applied, and its
// client would wait for nothing.
func TestDeferredWhereTheLeadIsLost(t *testing.T) {
	if wrong := deferredForgotten(t); wrong != "" {
		t.Error(wrong)
	}
}

// A replica that does not lead keeps what it may answer by itself when its gate closes,
// and goes on with it by its own log.
func TestDeferredByAFollower(t *testing.T) {
	c := newGated(t, 2)
	c.until("group 1 is led", func() bool { return c.leader(1) != nil })
	lead := c.leader(1)
	n := c.nodes[lead.id%3]
	c.word(lead, nil, gateCloses, 1)
	c.until("the follower's gate is closed", func() bool { return n.gate().state == gateCloses })
	var s said
	n.host.Read(Read{Group: 1, AnyReplica: true, Reply: Reply{To: &s, Request: 1}, Query: looks{t}})
	n.host.Read(Read{Group: 1, Local: true, Reply: Reply{To: &s, Request: 2}, Query: looks{t}})
	n.turn()
	c.until("both wait", func() bool { return n.host.Deferrals.Count() == 2 })
	c.word(lead, nil, gateOpens, 2)
	c.until("both are answered", func() bool { return s.to(1) != "" && s.to(2) != "" })
	if s.to(1) != "GetAnswer" || s.to(2) != "GetAnswer" {
		t.Errorf("answered are %q and %q", s.to(1), s.to(2))
	}
	if err := CheckHost(n.host); err != nil {
		t.Error(err)
	}
}

// What is deferred is bounded, whatever clients send while a slot is on its way: what is
// over a bound is told to come back.
func TestDeferredIsBounded(t *testing.T) {
	c := newGated(t, 3)
	c.until("group 1 is led", func() bool { return c.leader(1) != nil })
	n := c.leader(1)
	c.word(n, nil, gateCloses, 1)
	c.until("the gate is closed", func() bool { return n.gate().state == gateCloses })
	var s said
	n.host.Deferrals.requests = deferredMax - 1
	n.host.Propose(proposal(1, &s, 1))
	n.host.Propose(proposal(1, &s, 2))
	n.host.Read(Read{Group: 1, Local: true, Reply: Reply{To: &s, Request: 3}, Query: looks{t}})
	n.turn()
	if s.to(1) != "" || s.to(2) != "busy" || s.to(3) != "busy" {
		t.Errorf("by number: answered are %q, %q and %q; want busy for the last two", s.to(1), s.to(2), s.to(3))
	}
	n.host.Deferrals.requests -= deferredMax - 1
	n.host.Deferrals.bytes += deferredBytesMax
	n.host.Propose(proposal(1, &s, 4))
	n.turn()
	if s.to(4) != "busy" {
		t.Errorf("by bytes: answered is %q, want busy", s.to(4))
	}
	n.host.Deferrals.bytes -= deferredBytesMax
	c.word(n, nil, gateOpens, 2)
	c.until("the one that waits is answered", func() bool { return s.to(1) != "" })
	if n.host.Deferrals.requests != 0 || n.host.Deferrals.bytes != 0 || n.host.groups[1].reads.count != 0 {
		t.Errorf("%+v and %d reads are still counted", n.host.Deferrals, n.host.groups[1].reads.count)
	}
}

// Whatever happens to a gate, to nodes and to the network, each request that a node took is
// answered at most once, what is told that it changed nothing was not applied, and
// nothing is applied twice. One would doubt it: a command is in the log, comes to nothing
// there, and is proposed again.
func TestDeferredOnce(t *testing.T) {
	first, seeds := 0, *seeds
	if *oneSeed >= 0 {
		first, seeds = *oneSeed, 1
	}
	waited, told := 0, map[string]int{}
	for seed := first; seed < first+seeds; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			c := newGated(t, uint64(seed))
			c.loss = c.rnd.IntN(3) * 3
			c.policy = SnapshotPolicy{}
			var s said
			next, word := uint64(0), uint64(0)
			for range 3000 {
				n := c.nodes[c.rnd.IntN(3)]
				lead := c.leader(1)
				switch k := c.rnd.IntN(1000); {
				case k < 60 && lead != nil:
					next++
					p := proposal(1, &s, next)
					p.Deadline = c.now + time.Duration(c.rnd.IntN(100))*10*time.Millisecond
					lead.host.Propose(p)
					lead.turn()
				case k < 90 && n.host != nil:
					next++
					n.host.Read(Read{Group: 1, Local: c.rnd.IntN(3) == 0, AnyReplica: c.rnd.IntN(2) == 0, Deadline: c.now + time.Duration(c.rnd.IntN(100))*10*time.Millisecond,
						Reply: Reply{To: &s, Request: next}, Query: looks{t}})
					n.turn()
				case k < 110 && lead != nil:
					word++
					c.word(lead, nil, []uint64{gateCloses, gateCloses, gateOpens, gateOpens, gateLeaves}[c.rnd.IntN(5)], word)
				case k < 112 && n.host != nil:
					n.crash()
				case k < 117 && n.host == nil:
					n.start()
				case k < 119:
					c.cut[[2]raft.NodeID{raft.NodeID(c.rnd.IntN(3) + 1), raft.NodeID(c.rnd.IntN(3) + 1)}] = true
				case k < 123:
					clear(c.cut)
				case k < 126 && n.host != nil && n.host.groups[1] != nil:
					n.gate().elsewhere = !n.gate().elsewhere
					n.gate().decided++
				default:
					for range 10 {
						c.step()
					}
				}
				for _, n := range c.nodes {
					if n.host != nil {
						waited += n.host.Deferrals.Count()
					}
				}
			}
			clear(c.cut)
			c.loss = 0
			for _, n := range c.nodes {
				if n.host == nil {
					n.start()
				}
				n.gate().elsewhere = false
			}
			c.until("group 1 is led", func() bool { return c.leader(1) != nil })
			word++
			c.word(c.leader(1), nil, gateOpens, word)
			c.until("all nodes have applied the same", c.settled)
			c.now += time.Hour // whoever still waits does so in vain
			for _, n := range c.nodes {
				n.host.Tick()
				n.turn()
				n.host.Tick()
				n.turn()
				if n.host.Deferrals.requests != 0 || n.host.Deferrals.bytes != 0 {
					t.Errorf("node %d: %d requests with %d bytes are still counted", n.id, n.host.Deferrals.requests, n.host.Deferrals.bytes)
				}
				if err := CheckHost(n.host); err != nil {
					t.Error(err)
				}
			}
			c.check()
			for request, answers := range s.answers {
				if len(answers) > 1 {
					t.Errorf("request %d is answered %q", request, answers)
				}
				applied := slices.Contains(c.nodes[0].history[1], request)
				told[answers[0]]++
				switch answers[0] {
				case "WriteAnswer":
					if !applied {
						t.Errorf("%d was acknowledged, and is lost", request)
					}
				case "maybe-applied":
				default:
					if applied {
						t.Errorf("request %d is answered %q, and was applied", request, answers[0])
					}
				}
			}
		})
	}
	if waited < 100*seeds || told["WriteAnswer"] < 10*seeds || told["moved"] < seeds {
		t.Errorf("%d turns of waiting in %d runs, answers %v: the test shows nothing", waited, seeds, told)
	}
}
