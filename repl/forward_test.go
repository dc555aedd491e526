package repl

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"muster/raft"
	"muster/repl/wire"
)

// passing is a transport that keeps what is passed on, and a client's connection that
// keeps what it is answered.
type passing struct {
	nowhere
	sent   []string
	cut    bool                 // there is no connection
	down   map[raft.NodeID]bool // there is none to these
	got    []string
	deaf   bool // there is no room for an answer that is larger than what its request counts
	unread bool // too many answers wait
	bodies int  // bytes that were sent
}

func (p *passing) SendForward(to raft.NodeID, number uint64, within time.Duration, f *wire.Forward) bool {
	if p.cut || p.down[to] {
		return false
	}
	p.bodies += len(f.Body)
	p.sent = append(p.sent, fmt.Sprintf("n%d #%d %s within %s", uint64(to), number, f.Type, within))
	return true
}

func (p *passing) Answer(r Reply, t wire.Type, body []byte) bool {
	text := t.String()
	if t == wire.TypeError {
		var e wire.Error
		if err := e.Read(body); err != nil {
			text = err.Error()
		} else {
			text = e.Code.String()
		}
	}
	p.got = append(p.got, fmt.Sprintf("%d %s", r.Request, text))
	return false
}

func (p *passing) Flush() {}

func (p *passing) Reserve(*Reply, int) bool { return !p.deaf }

func (p *passing) Deaf() bool { return p.unread }

func (p *passing) said() string {
	text := strings.Join(p.got, ", ")
	p.got = nil
	return text
}

func passingHost(p *passing) *Host {
	h := &Host{cfg: HostConfig{Self: 1, Transport: p, Log: slog.New(slog.DiscardHandler)}, now: time.Second}
	h.mending.host = h
	h.Forwards.init(h)
	return h
}

func passage(t wire.Type, bytes int) *Passage {
	return &Passage{Forward: wire.Forward{Type: t, Body: make([]byte, bytes)}, Nodes: []raft.NodeID{1, 3, 4}}
}

// Each request that is passed on is answered once, with what is true: its answer, or
// that it was not applied, or that nobody knows. One would doubt it: answers come late
// and twice, connections end before and behind a request, and another connection
// stands by the time that the end of the last one is known.
func TestForwards(t *testing.T) {
	const wait = time.Minute
	for _, tt := range []struct {
		name string
		tell func(h *Host, p *passing)
		want string
	}{
		{"answered, late and again", func(h *Host, p *passing) {
			h.Forwards.pass(7, 2, passage(wire.TypeWrite, 10), wait, Reply{To: p, Request: 1})
			h.Forwards.pass(7, 2, passage(wire.TypeGet, 10), wait, Reply{To: p, Request: 2})
			h.Forwards.Answered(2, 2, wire.TypeGetAnswer, nil)
			h.Forwards.Answered(2, 2, wire.TypeGetAnswer, nil)
			h.Forwards.Answered(3, 1, wire.TypeWriteAnswer, nil) // of a node that was not asked
			h.Forwards.Answered(2, 3, wire.TypeWriteAnswer, nil) // to a request that was not sent
			h.Forwards.Answered(2, 1, wire.TypeWriteAnswer, nil)
			h.Forwards.Lost(2, 2, 2)
		}, "2 GetAnswer, 1 WriteAnswer"},
		{"the connection ends, and another one stands", func(h *Host, p *passing) {
			for i := range uint64(3) {
				h.Forwards.pass(7, 2, passage(wire.TypeWrite, 10), wait, Reply{To: p, Request: i + 1})
			}
			h.Forwards.pass(7, 2, passage(wire.TypeGet, 10), wait, Reply{To: p, Request: 4})
			h.Forwards.pass(7, 2, passage(wire.TypeWrite, 10), wait, Reply{To: p, Request: 5}) // over the next connection
			h.Forwards.pass(7, 3, passage(wire.TypeWrite, 10), wait, Reply{To: p, Request: 6})
			h.Forwards.Lost(2, 2, 4)
			h.Forwards.Answered(2, 5, wire.TypeWriteAnswer, nil)
		}, "1 maybe-applied, 2 maybe-applied, 3 unavailable, 4 unavailable, 5 WriteAnswer"},
		{"another node leads", func(h *Host, p *passing) {
			h.Forwards.pass(7, 2, passage(wire.TypeWrite, 10), wait, Reply{To: p, Request: 1})
			h.Forwards.pass(8, 2, passage(wire.TypeWrite, 10), wait, Reply{To: p, Request: 2})
			h.Forwards.pass(7, 3, passage(wire.TypeWrite, 10), wait, Reply{To: p, Request: 3})
			h.Forwards.pass(7, 2, passage(wire.TypeList, 10), wait, Reply{To: p, Request: 4})
			h.Forwards.leads(7, 3)
		}, "1 maybe-applied, 4 unavailable"},
		{"nobody is known to lead", func(h *Host, p *passing) {
			h.Forwards.pass(7, 2, passage(wire.TypeWrite, 10), wait, Reply{To: p, Request: 1})
			h.Forwards.leads(7, 0)
		}, "1 maybe-applied"},
		{"time is over", func(h *Host, p *passing) {
			h.Forwards.pass(7, 2, passage(wire.TypeWrite, 10), 3*time.Second, Reply{To: p, Request: 1})
			h.Forwards.pass(7, 2, passage(wire.TypeGet, 10), 2*time.Second, Reply{To: p, Request: 2})
			h.Forwards.pass(7, 2, passage(wire.TypeWrite, 10), 9*time.Second, Reply{To: p, Request: 3})
			for ; h.now < 5*time.Second; h.now += time.Second / 2 {
				h.Forwards.expire()
			}
		}, "2 unavailable, 1 maybe-applied"},
		{"time was over before", func(h *Host, p *passing) {
			h.Forwards.pass(7, 2, passage(wire.TypeWrite, 10), h.now, Reply{To: p, Request: 1})
		}, "1 unavailable"},
		{"there is no connection", func(h *Host, p *passing) {
			p.cut = true
			h.Forwards.pass(7, 2, passage(wire.TypeWrite, 10), wait, Reply{To: p, Request: 1})
			p.cut = false
			h.Forwards.pass(7, 2, passage(wire.TypeWrite, 10), wait, Reply{To: p, Request: 2})
			h.Forwards.Answered(2, 1, wire.TypeWriteAnswer, nil)
		}, "1 unavailable, 2 WriteAnswer"},
		{"too large to be passed on", func(h *Host, p *passing) {
			h.Forwards.pass(7, 2, passage(wire.TypeWrite, wire.FrameMax), wait, Reply{To: p, Request: 1})
		}, "1 too-large"},
		{"an answer that its client has no room for", func(h *Host, p *passing) {
			p.deaf = true
			for i, typ := range []wire.Type{wire.TypeGet, wire.TypeGet, wire.TypeList, wire.TypeGet, wire.TypeWrite} {
				h.Forwards.pass(7, 2, passage(typ, 10), wait, Reply{To: p, Request: uint64(i + 1), Size: 1000})
			}
			h.Forwards.Answered(2, 1, wire.TypeGetAnswer, make([]byte, 1001-wire.HeaderSize))
			h.Forwards.Answered(2, 2, wire.TypeGetAnswer, make([]byte, 1000-wire.HeaderSize))
			p.unread = true
			h.Forwards.Answered(2, 3, wire.TypeListAnswer, make([]byte, 10))
			h.Forwards.Answered(2, 4, wire.TypeError, wire.NotFound("group 7", "it is not there", "").Append(nil))
			h.Forwards.Answered(2, 5, wire.TypeWriteAnswer, make([]byte, 2000)) // it was applied
		}, "1 busy, 2 GetAnswer, 3 busy, 4 not-found, 5 WriteAnswer"},
		{"nobody asked for it to be passed on", func(h *Host, p *passing) {
			h.Propose(Proposal{Group: 7, Deadline: wait, Reply: Reply{To: p, Request: 1}})
		}, "1 not-leader"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := new(passing)
			h := passingHost(p)
			tt.tell(h, p)
			if got := p.said(); got != tt.want {
				t.Errorf("answers: got %s, want %s", got, tt.want)
			}
			open := 0
			for _, peer := range h.Forwards.peers {
				if open += len(peer.open); peer.requests != len(peer.open) || (peer.bytes == 0) != (peer.requests == 0) {
					t.Errorf("%d requests with %d bytes are counted, %d are open", peer.requests, peer.bytes, len(peer.open))
				}
			}
			counted := 0
			for _, c := range h.Forwards.clients {
				counted += c.requests
			}
			if counted != open {
				t.Errorf("%d requests are counted for clients, %d are open", counted, open)
			}
		})
	}
}

// What is on its way is bounded for each client and for each node, in number and in
// bytes, so that neither a flood nor a node that stands still costs the others more.
func TestForwardLimits(t *testing.T) {
	const wait = time.Minute
	for _, tt := range []struct {
		name    string
		clients int
		bytes   int // of each request
		want    int // requests that are passed on
	}{
		{"one client, by number", 1, 10, forwardsShare},
		{"one client, by bytes", 1, 64 << 10, forwardBytesShare / (64<<10 + wire.ForwardRoom)},
		{"one client, a large one alone", 1, 5 << 20, 1},
		{"many clients, by number", 5, 10, forwardsMax},
		{"many clients, by bytes", 5, 64 << 10, forwardBytesMax / (64<<10 + wire.ForwardRoom)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := new(passing)
			h := passingHost(p)
			clients := make([]*passing, tt.clients)
			request := uint64(0)
			for i := range clients {
				clients[i] = new(passing)
			}
			fill := func() {
				for range forwardsMax + 10 {
					for _, c := range clients {
						request++
						h.Forwards.pass(7, 2, passage(wire.TypeWrite, tt.bytes), wait, Reply{To: c, Request: request})
					}
				}
			}
			fill()
			if got := len(p.sent); got != tt.want {
				t.Errorf("%d requests were passed on, want %d", got, tt.want)
			}
			for _, c := range clients {
				if len(c.got) == 0 || !strings.HasSuffix(c.got[len(c.got)-1], " busy") {
					t.Errorf("a client at the limit is told %v, want busy", c.got[max(0, len(c.got)-1):])
				}
			}
			h.Forwards.pass(8, 3, passage(wire.TypeWrite, 10), wait, Reply{To: new(passing), Request: 1})
			if got := len(p.sent); got != tt.want+1 {
				t.Errorf("another client was refused the way to another node")
			}
			h.Forwards.Lost(2, 0, 1<<40)
			p.sent = nil
			fill()
			if got := len(p.sent); got != tt.want {
				t.Errorf("then %d requests were passed on, want %d again", got, tt.want)
			}
		})
	}
}

// Where no replica of the group is here, a node that holds one is asked, until that
// one tells who leads; and another one once that is not reached.
func TestForwardsToWhoIsSaidToLead(t *testing.T) {
	p := new(passing)
	h := passingHost(p)
	ask := func(request uint64) string {
		p.sent = nil
		h.Propose(Proposal{Group: 7, Deadline: time.Minute, Reply: Reply{To: p, Request: request}, Passage: passage(wire.TypeWrite, 10)})
		return strings.Join(p.sent, ", ")
	}
	if got, want := ask(1), "n3 #1 Write within 59s"; got != want {
		t.Fatalf("passed on: got %q, want %q", got, want)
	}
	h.Forwards.Answered(3, 1, wire.TypeError, wire.NotLeader(7, 4, "n4").Append(nil))
	if got, want := ask(2), "n4 #1 Write within 59s"; got != want {
		t.Errorf("after a hint: got %q, want %q", got, want)
	}
	h.Forwards.Lost(4, 1, 1)
	p.down = map[raft.NodeID]bool{4: true}
	if got, want := ask(3), "n3 #2 Write within 59s"; got != want {
		t.Errorf("after it was lost: got %q, want %q", got, want)
	}
	h.Forwards.Answered(3, 2, wire.TypeError, wire.NotLeader(7, 1, "n1").Append(nil)) // this one leads nothing
	if got, want := ask(4), "n3 #3 Write within 59s"; got != want {
		t.Errorf("after a hint at this node: got %q, want %q", got, want)
	}
	if got, want := p.said(), "1 not-leader, 2 maybe-applied, 3 not-leader"; got != want {
		t.Errorf("answers: got %s, want %s", got, want)
	}
}

// Where no replica of the group is here, a request gets to its leader as long as a node
// that knows it is connected. One would doubt it: the first that holds a replica may be
// down, or cut off from the others; and the last that was said to lead may be down since
// before that was said, so that no lost connection tells of it.
func TestForwardsPastThoseThatAreDown(t *testing.T) {
	p := &passing{down: map[raft.NodeID]bool{}}
	h := passingHost(p)
	numbers := map[raft.NodeID]uint64{}
	lead, cutOff, stopped := raft.NodeID(4), raft.NodeID(0), raft.NodeID(0)
	// reached reports whether a client that tries a few times gets to the leader.
	request := uint64(0)
	reached := func() bool {
		for range 6 {
			request++
			p.sent = nil
			h.Propose(Proposal{Group: 7, Deadline: time.Minute, Reply: Reply{To: p, Request: request}, Passage: passage(wire.TypeWrite, 10)})
			if len(p.got) > 0 { // refused here
				p.got = nil
				continue
			}
			var to, number uint64
			if n, err := fmt.Sscanf(p.sent[0], "n%d #%d", &to, &number); n != 2 {
				t.Fatalf("%q: %v", p.sent, err)
			}
			node := raft.NodeID(to)
			if numbers[node]++; number != numbers[node] {
				t.Fatalf("request %d to node %s, want %d", number, node, numbers[node])
			}
			if node == lead {
				h.Forwards.Answered(node, number, wire.TypeWriteAnswer, nil)
				p.got = nil
				return true
			}
			says := lead
			if node == cutOff {
				says = 0
			}
			e := wire.NotLeader(7, says, "")
			if node == stopped {
				e = wire.Damaged("group 7", "it stopped", "ask another node")
			}
			h.Forwards.Answered(node, number, wire.TypeError, e.Append(nil))
			p.got = nil
		}
		return false
	}
	p.down[3] = true
	if !reached() {
		t.Error("the first node that holds a replica is down, and no request gets to the leader")
	}
	p.down[3], p.down[4] = false, true
	h.Forwards.Lost(4, numbers[4], numbers[4])
	if reached() {
		t.Fatal("a leader that is down was reached")
	}
	lead = 3 // the others have noticed, and elected another
	if !reached() {
		t.Error("the last that was said to lead is down, and no request gets to the next leader")
	}
	lead, cutOff = 4, 3
	p.down[4] = false
	if !reached() {
		t.Error("the node that was asked first has lost its group, and no request gets to the leader")
	}
	lead, cutOff, stopped = 3, 0, 4
	if !reached() {
		t.Error("the replica of who led has stopped, and no request gets to the next leader")
	}
}
