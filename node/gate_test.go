package node

import (
	"crypto/tls"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"muster/repl/trust"
	"muster/repl/wire"
)

// memberKnown has one member dial another, both of a cluster with certificates, and reports why that
// takes it for a stranger before the handshake is over.
func memberKnown(t *testing.T) (wrong string) {
	t.Helper()
	nodes, _ := secured(t, 2)
	a, b := nodes[0].node, nodes[1].node
	until(t, "both have read what members know", func() error {
		for _, n := range []*Node{a, b} {
			if len(n.guard.markKeys()) == 0 {
				return fmt.Errorf("node %s has not", n.name)
			}
		}
		return nil
	})
	for _, tt := range []struct {
		name string
		dial func(conn net.Conn) error
		want int32
	}{
		{"a member", func(conn net.Conn) error {
			_, err := a.guard.dial(conn, b.self().Node, nodes[1].addr, wire.RolePeer)
			return err
		}, 1},
		{"a member that dials somebody, whoever it is", func(conn net.Conn) error {
			_, err := a.guard.dial(conn, 0, nodes[1].addr, wire.RolePeer)
			return err
		}, 0},
		{"a stranger", func(conn net.Conn) error {
			_, err := wire.TLSClient(conn, new(trust.Holder).Client(func(tls.ConnectionState) error { return nil }))
			return err
		}, 0},
	} {
		ours, theirs := sockets(t)
		var known atomic.Int32
		gate := wire.NewGate(1)
		gate.Members = &wire.Members{Gate: wire.NewGate(1), Marked: b.guard.gate.Members.Marked, Known: func(net.Conn) { known.Add(1) }}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			if o, err := wire.ReadOpening(ours); err == nil {
				_, _, _ = o.TLSServer(ours, b.guard.server, gate) // it waits for the hello, and is closed
			}
		}()
		err := tt.dial(theirs)
		theirs.Close()
		<-ended
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if n := known.Load(); n != tt.want {
			wrong += fmt.Sprintf("%s was known %d times, want %d; ", tt.name, n, tt.want)
		}
	}
	return wrong
}

// A member must be known as one by its first words, and nobody else, or strangers keep it out: the node has
// places for members, and decides who gets them before it computes anything.
func TestMemberIsKnownByItsFirstWords(t *testing.T) {
	if wrong := memberKnown(t); wrong != "" {
		t.Error(wrong)
	}
}

// One that is known has a seat that strangers, however many come, can't take from it.
func TestStrangersTakeNoKnownSeat(t *testing.T) {
	l := defaultLimits()
	l.strangers, l.known = 2, 2
	var s seats
	conns := func(n int) (all []net.Conn) {
		for range n {
			ours, _ := sockets(t)
			all = append(all, ours)
		}
		return all
	}
	open := func(conn net.Conn) bool { return conn.SetDeadline(time.Time{}) == nil }
	members, strangers := conns(3), conns(5)
	for i, m := range members {
		s.strangers.add(m, l.strangers)
		s.recognize(&l, m)
		for _, other := range strangers[i : i+2] {
			s.strangers.add(other, l.strangers)
		}
	}
	if open(members[0]) || !open(members[1]) || !open(members[2]) || len(s.known.conns) != 2 {
		t.Errorf("of three known ones in two seats the oldest is to go: open are %t, %t, %t, in %d seats", open(members[0]), open(members[1]), open(members[2]), len(s.known.conns))
	}
	// A seat that it has lost already is not given to it again.
	late := conns(1)[0]
	s.recognize(&l, late)
	if len(s.known.conns) != 2 {
		t.Error("one that had no seat got one")
	}
	for _, m := range members {
		s.unseat(m)
	}
	if len(s.known.conns) != 0 {
		t.Errorf("%d seats are taken after all have left", len(s.known.conns))
	}
}
