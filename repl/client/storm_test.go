package client

import (
	"container/heap"
	"errors"
	"slices"
	"testing"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// storm is many clients that connect to a cluster at once, on virtual time. Each node works on one handshake after the
// other; which one is next is drawn, as at a node's gate. What a dialler has given up is not worked on.
type storm struct {
	now    time.Duration
	events stormEvents
	turns  int // of events, so that those of one time come in order
	chance chance

	free    int // processors
	next    int // node to have a turn
	leader  raft.NodeID
	nodes   []*stormNode
	clients []*stormClient
	dials   int
	wasted  int // handshakes that were given up while they were worked on
	failed  int // calls
	served  int
}

// stormEvent is something that happens.
type stormEvent struct {
	at   time.Duration
	turn int
	what func()
}

type stormEvents []stormEvent

func (h stormEvents) Len() int { return len(h) }
func (h stormEvents) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].turn < h[j].turn
}
func (h stormEvents) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *stormEvents) Push(x any)   { *h = append(*h, x.(stormEvent)) }
func (h *stormEvents) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

// stormNode is a node.
type stormNode struct {
	id      raft.NodeID
	addr    string
	busy    bool
	stopped bool // it accepts, and says nothing
	dead    bool // it does not accept
	waiting []*stormDial
}

// stormDial is a connection that is being made.
type stormDial struct {
	client *stormClient
	peer   Peer
	over   bool // it stands, or was given up
}

type stormClient struct {
	core   *Core
	call   *Call
	wake   time.Duration
	nodeOf map[Peer]*stormNode
}

const (
	stormWay       = 100 * time.Microsecond // one way over the line
	stormHandshake = 3 * time.Millisecond   // of a processor's time
)

func (s *storm) after(d time.Duration, what func()) {
	s.turns++
	heap.Push(&s.events, stormEvent{s.now + d, s.turns, what})
}

func newStorm(clients, processors int, stagger time.Duration) *storm {
	s := &storm{free: processors, leader: 2, chance: chance{state: 1}}
	for i, addr := range []string{"a", "b", "c"} {
		s.nodes = append(s.nodes, &stormNode{id: raft.NodeID(i + 1), addr: addr})
	}
	for i := range clients {
		c := &stormClient{core: NewCore(Config{Endpoints: []string{"a", "b", "c"}, Chance: uint64(i), HelloStagger: stagger}), wake: never, nodeOf: map[Peer]*stormNode{}}
		s.clients = append(s.clients, c)
	}
	return s
}

// run has all clients ask for something at once, and returns when all have an answer, or at the end.
func (s *storm) run(end time.Duration) {
	for _, c := range s.clients {
		s.after(0, func() { s.ask(c) })
	}
	for s.events.Len() > 0 && s.served < len(s.clients) {
		e := heap.Pop(&s.events).(stormEvent)
		if s.now = e.at; s.now > end {
			return
		}
		e.what()
	}
}

func (s *storm) ask(c *stormClient) {
	c.call = &Call{Target: ToSlot, Slot: 7, Deadline: s.now + RetryMax, place: -1, onPeer: NoPeer}
	c.core.Submit(s.now, c.call)
	s.settle(c)
}

// settle carries out what a core says.
func (s *storm) settle(c *stormClient) {
	for _, a := range c.core.Take() {
		switch a.Kind {
		case ActDial:
			s.dial(c, a.Peer, a.Addr)
		case ActAsk:
			s.after(2*stormWay, func() { c.core.Table(s.now, a.Peer, s.table()); s.settle(c) })
		case ActSend:
			s.after(2*stormWay, func() { s.answer(c, a.Peer, a.Call) })
		case ActFinish:
			s.failed++
			s.after(0, func() { s.ask(c) })
		}
	}
	if at, ok := c.core.Wake(); ok && at < c.wake {
		c.wake = at
		s.after(max(at-s.now, 0), func() {
			if c.wake == at {
				c.wake = never
				c.core.Tick(s.now)
				s.settle(c)
			}
		})
	}
}

func (s *storm) table() *wire.TopologyAnswer {
	return &wire.TopologyAnswer{
		ClusterID: 9, Epoch: 1, Index: 1, ValueMax: 1 << 20,
		Nodes:  []wire.TopologyNode{{ID: 1, Addr: "a"}, {ID: 2, Addr: "b"}, {ID: 3, Addr: "c"}},
		Groups: []wire.TopologyGroup{{ID: 1, Leader: s.leader, Nodes: []raft.NodeID{1, 2, 3}}},
		Slots:  []shardmap.OwnedRange{{SlotRange: shardmap.SlotRange{From: 0, To: shardmap.Slots - 1}, Group: 1}},
	}
}

func (s *storm) answer(c *stormClient, p Peer, x *Call) {
	if c.nodeOf[p].id == s.leader || x.Forward && !s.nodes[s.leader-1].stopped {
		s.served++
		return
	}
	c.core.Refused(s.now, x, p, &wire.Error{Code: wire.CodeNotLeader, Group: 1, LeaderNode: s.leader, LeaderAddr: s.nodes[s.leader-1].addr})
	s.settle(c)
}

func (s *storm) dial(c *stormClient, p Peer, addr string) {
	s.dials++
	var n *stormNode
	for _, one := range s.nodes {
		if one.addr == addr {
			n = one
		}
	}
	d := &stormDial{client: c, peer: p}
	s.after(2*stormWay, func() {
		if n.dead {
			d.over = true
			c.core.Disconnected(s.now, p, errors.New("refused"))
			s.settle(c)
			return
		}
		c.core.Accepted(p)
		s.settle(c)
		n.waiting = append(n.waiting, d)
		s.work()
	})
	s.after(dialTimeoutDefault, func() {
		if d.over {
			return
		}
		d.over = true
		c.core.Disconnected(s.now, p, errors.New("no time"))
		s.settle(c)
	})
}

// work has nodes begin handshakes, as far as there are processors. They take turns.
func (s *storm) work() {
	for range s.nodes {
		n := s.nodes[s.next%len(s.nodes)]
		s.next++
		if s.free > 0 && !n.busy && !n.stopped {
			s.begin(n)
		}
	}
}

func (s *storm) begin(n *stormNode) {
	for len(n.waiting) > 0 {
		i, last := int(s.chance.below(time.Duration(len(n.waiting)))), len(n.waiting)-1
		d := n.waiting[i]
		n.waiting[i] = n.waiting[last]
		n.waiting = n.waiting[:last]
		if d.over {
			continue
		}
		n.busy = true
		s.free--
		s.after(stormHandshake, func() {
			n.busy = false
			s.free++
			if d.over {
				s.wasted++
			} else {
				d.over = true
				c := d.client
				c.nodeOf[d.peer] = n
				c.core.Connected(s.now, d.peer, n.id, 9)
				s.settle(c)
			}
			s.work()
		})
		return
	}
}

// Where many clients connect at once, each node accepts them all, and works on their handshakes one after the other.
// A client that dials the next node meanwhile, and the third, makes work for all of them, and dials that it gives up
// later. So it must wait for the one that has accepted it; and all must be served about as soon as two handshakes for each
// can be made. To begin a dial costs nothing here: what dials cost beside that only shows on real nodes.
func TestManyClientsConnectAtOnce(t *testing.T) {
	const clients, needed = 1000, 2 // with the first endpoint, and the node that leads
	for _, tt := range []struct {
		processors   int
		stagger      time.Duration
		fewest, most float64 // dials of each client
	}{
		{1, HelloStaggerTLS, needed, 2.7},
		{3, HelloStaggerTLS, needed, 2.1},
		{1, 0, 3, 4}, // what the others are measured against: nobody waits for a hello
		{3, 0, 2.5, 3},
	} {
		s := newStorm(clients, tt.processors, tt.stagger)
		s.run(time.Minute)
		enough := time.Duration(clients*needed/min(tt.processors, needed)) * stormHandshake
		dials := float64(s.dials) / clients
		t.Logf("%d processors, %s for a hello: all served after %s, %.2f dials for each, %d handshakes for nothing", tt.processors, tt.stagger, s.now, dials, s.wasted)
		if s.served < clients || s.failed > 0 || s.now > enough+enough/10 {
			t.Errorf("%d processors, %s for a hello: %d are served after %s, and %d calls failed; want all after %s", tt.processors, tt.stagger, s.served, s.now, s.failed, enough)
		}
		if dials > tt.most || dials < tt.fewest {
			t.Errorf("%d processors, %s for a hello: %.2f dials for each client, want %.1f to %.1f", tt.processors, tt.stagger, dials, tt.fewest, tt.most)
		}
	}
}

// Waiting for the hello of a node must not hold up a client whose node is dead, or was lost: only one that accepts
// connections, and was never known to be in trouble, is waited for.
func TestHelloIsWaitedForOnce(t *testing.T) {
	const soon = 10 * time.Millisecond
	for _, tt := range []struct {
		name string
		is   func(s *storm)
		want time.Duration
	}{
		{"the first node refuses connections", func(s *storm) { s.nodes[0].dead = true }, soon},
		{"the first node stands still", func(s *storm) { s.nodes[0].stopped = true }, HelloStaggerTLS + soon},
		{"the first two stand still", func(s *storm) { s.nodes[0].stopped, s.nodes[1].stopped, s.leader = true, true, 3 }, 3*HelloStaggerTLS + DialStagger + soon},
	} {
		s := newStorm(1, 3, HelloStaggerTLS)
		tt.is(s)
		s.run(time.Minute)
		if s.served != 1 || s.now > tt.want {
			t.Errorf("%s: %d served after %s, want one after %s", tt.name, s.served, s.now, tt.want)
		}
	}

	k := NewCore(Config{Endpoints: []string{"a", "b"}, HelloStagger: HelloStaggerTLS})
	k.Submit(0, &Call{Target: ToAny, Deadline: RetryMax, place: -1, onPeer: NoPeer})
	k.Connected(0, 0, 1, 9)
	k.Submit(0, &Call{Target: ToAny, Deadline: RetryMax, place: -1, onPeer: NoPeer})
	k.Disconnected(0, 0, errors.New("silent"))
	k.Submit(0, &Call{Target: ToAny, Deadline: RetryMax, place: -1, onPeer: NoPeer})
	var dialled []string
	look := func() {
		for _, a := range k.Take() {
			if a.Kind == ActDial {
				dialled = append(dialled, a.Addr)
			}
		}
	}
	look()
	k.Accepted(0)
	k.Tick(DialStagger)
	look()
	if want := []string{"a", "a", "b"}; !slices.Equal(dialled, want) {
		t.Errorf("%s after the first node was lost: dialled %q, want %q", DialStagger, dialled, want)
	}
}
