package node

import (
	"fmt"
	"net"
	"testing"
	"time"

	"muster/raft"
	"muster/repl/wire"
)

// founderHello is the hello of a host that founds.
func (r *runningNode) founderHello(id raft.NodeID) wire.DialConfig {
	c := r.peerHello(id, 1)
	c.Role, c.ClusterID = wire.RoleFounding, 0
	return c
}

// connected returns how many connections the node has.
func (r *runningNode) connected() int {
	r.node.door.mu.Lock()
	defer r.node.door.mu.Unlock()
	return len(r.node.door.conns)
}

// Hosts that say they found a cluster have proven no more than a client. Once
// there is one, only its own members may still ask; however many connections
// call themselves one, they end each other, and not those of peers.
func TestFoundersKeepNobodyOut(t *testing.T) {
	t.Parallel()
	l := defaultLimits()
	l.founders, l.peers = 4, 4
	nodes := founders(t, 2, l)
	r, other := nodes[0], nodes[1].node.self()
	_, err := dial(t, r.addr, r.founderHello(4711))
	refused(t, "a founding of a host that is no member", err, wire.CodeUnknownNode, "was founded without it")
	for i := range 100 {
		if _, err := dial(t, r.addr, r.founderHello(other.Node)); err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		r.node.door.mu.Lock()
		got, peers := len(r.node.door.seats.founders.conns), r.node.door.seats.peers
		r.node.door.mu.Unlock()
		if got > l.founders || peers > 2 {
			t.Fatalf("%d connections of hosts that found, the limit is %d; and %d of peers", got, l.founders, peers)
		}
	}
	until(t, "all of them have their seats", func() error { // the newest is to be one that comes now
		r.node.door.mu.Lock()
		defer r.node.door.mu.Unlock()
		if n := len(r.node.door.seats.strangers.conns); n != 0 {
			return fmt.Errorf("%d are strangers", n)
		}
		return nil
	})
	// What they hold open does not count against a member that comes back.
	p, err := dialAs(nodes[1], r, r.peerHello(other.Node, other.Life().Number))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := p.ask(wire.TypePing, 0, new(wire.Empty).Append(nil)); err != nil {
		t.Errorf("a member beside them: %v", err)
	}
	// The newest of them is answered, as one is that missed the decision.
	s, err := dial(t, r.addr, r.founderHello(other.Node))
	if err != nil {
		t.Fatal(err)
	}
	_, body, err := s.ask(wire.TypeFounding, 0, newFounding("muster", other.Node, nodes[1].addr, []string{r.addr, nodes[1].addr}).ask())
	var a wire.FoundingAnswer
	if err == nil {
		err = a.Read(body)
	}
	if err != nil || a.Stage != wire.StageMember || len(a.Members) != 2 {
		t.Errorf("a member that founds: %+v, %v", a, err)
	}
	// They are not kept for longer than a question takes.
	p.Close()
	until(t, "all of them end", func() error {
		r.node.door.mu.Lock()
		defer r.node.door.mu.Unlock()
		if n := len(r.node.door.seats.founders.conns); n != 0 {
			return fmt.Errorf("%d are left", n)
		}
		return nil
	})
}

// ask is the body of what a founding asks others.
func (f *founding) ask() []byte {
	q := f.question(1)
	return q.Append(nil)
}

// Before there is a cluster anybody may call itself a host of it, and come again
// and again: those who mean it must find each other all the same.
func TestFoundingAmongStrangers(t *testing.T) {
	l := defaultLimits()
	l.founders = 8
	addrs := freeAddrs(t, 2)
	config := func(i int) Config {
		c := testConfig(t)
		c.Listen, c.Join, c.Expect = addrs[i], addrs, 2
		return c
	}
	r := start(t, config(0), l)
	for range 10 * l.founders {
		if _, err := dial(t, r.addr, r.founderHello(4711)); err != nil {
			t.Fatal(err)
		}
	}
	other := start(t, config(1), l)
	for _, node := range []*runningNode{r, other} {
		until(t, "it is founded", func() error {
			if id := node.node.self(); len(id.Members) != 2 || id.ClusterID == 0 {
				return fmt.Errorf("got %+v", id)
			}
			return nil
		})
	}
}

// A connection that is refused has its descriptor until the refusal was read,
// and some never read: they must be counted like any other.
func TestRefusedConnectionsAreCounted(t *testing.T) {
	l := defaultLimits()
	l.clients, l.strangers, l.linger = 2, 8, time.Minute
	r := serving(t, l)
	until(t, "the client that waited for the node has ended", func() error {
		if n := r.connected(); n != 0 {
			return fmt.Errorf("%d connections", n)
		}
		return nil
	})
	for range l.clients {
		s := r.client()
		if _, _, err := s.ask(wire.TypePing, 0, new(wire.Empty).Append(nil)); err != nil {
			t.Fatal(err)
		}
	}
	// One whose place was given away is closed, which takes a moment; one that
	// is not counted stays for as long as it may linger.
	bounded := func(after string) {
		t.Helper()
		until(t, "there are no more connections than there may be, after "+after, func() error {
			if n := r.connected(); n > l.clients+l.strangers {
				return fmt.Errorf("%d connections", n)
			}
			return nil
		})
	}
	for i := range 50 {
		s := r.client() // welcome, then refused; it never hangs up
		if _, _, err := s.read(); err != nil {
			t.Fatalf("refusal %d: %v", i, err)
		}
		bounded(fmt.Sprintf("%d refusals", i+1))
	}
	// So it is with those who are refused in their hello.
	for i := range 50 {
		conn, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if _, err := conn.Write([]byte("\xedmus\x63\x63\x02\x00")); err != nil {
			t.Fatal(err)
		}
		bounded(fmt.Sprintf("%d bad hellos", i+1))
	}
}
