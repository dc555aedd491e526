package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"muster/logstore"
	"muster/logstore/vfs"
	"muster/raft"
	"muster/repl/trust"
	"muster/repl/wire"
	"muster/shardmap"
)

// freeAddrs returns addresses at which nobody listens.
func freeAddrs(t testing.TB, n int) []string {
	t.Helper()
	addrs, err := FreeAddrs(n)
	if err != nil {
		t.Fatal(err)
	}
	return addrs
}

// startFounders starts n nodes that will found a cluster together. look sees each before it begins.
func startFounders(t testing.TB, n int, l limits, look func(*Node)) (nodes []*runningNode) {
	t.Helper()
	addrs := freeAddrs(t, n)
	for i := range addrs {
		c := testConfig(t)
		c.Listen, c.Join, c.Expect = addrs[i], addrs, n
		nodes = append(nodes, startWith(t, c, l, look))
	}
	return nodes
}

// founders starts n nodes that found a cluster together, and returns when each
// group has a leader that each of them knows.
func founders(t testing.TB, n int, l limits) []*runningNode {
	t.Helper()
	nodes := startFounders(t, n, l, func(*Node) {})
	for _, r := range nodes {
		s := r.client()
		until(t, "the cluster is whole", func() error { return wholeAt(s) })
		s.Close()
	}
	return nodes
}

// wholeAt says what a node finds wrong with its cluster.
func wholeAt(s *speaker) error {
	_, body, err := s.ask(wire.TypeStatus, 0, (&wire.Empty{}).Append(nil))
	if err != nil {
		return err
	}
	var a wire.StatusAnswer
	if err := a.Read(body); err != nil {
		return err
	}
	if !a.Healthy {
		return fmt.Errorf("problems: %v", a.Problems)
	}
	return nil
}

// Who says that it is a peer must be one: a vote that counts, or a log that
// goes back, could come from anybody else. The text says what an operator has
// to do, since it is an operator who sees it.
func TestPeersRefused(t *testing.T) {
	nodes := founders(t, 2, defaultLimits())
	r := nodes[0]
	other := nodes[1].node.self()
	change := func(f func(c *wire.DialConfig)) wire.DialConfig {
		c := r.peerHello(other.Node, other.Life().Number)
		f(&c)
		return c
	}
	for _, c := range []struct {
		what  string
		hello wire.DialConfig
		code  wire.Code
		want  []string
	}{
		{"a node that is not on the list", r.peerHello(4711, 1), wire.CodeUnknownNode, []string{"peer list", "data directory"}},
		{"a node that dials itself", r.peerHello(r.node.self().Node, 1), wire.CodeUnknownNode, []string{"own id", "data directory"}},
		{"another cluster id", change(func(c *wire.DialConfig) { c.ClusterID++ }), wire.CodeWrongCluster, nil},
		{"another cluster name", change(func(c *wire.DialConfig) { c.Cluster = "other" }), wire.CodeWrongCluster, []string{"other"}},
		{"no cluster name", change(func(c *wire.DialConfig) { c.Cluster = "" }), wire.CodeWrongCluster, nil},
		{"a secret where there is none", change(func(c *wire.DialConfig) { c.Secret = []byte("correct horse battery") }), wire.CodeUnauthorized, nil},
		{"a peer without an id", change(func(c *wire.DialConfig) { c.Node = 0 }), wire.CodeBadRequest, []string{"node"}},
		{"a client on a peer's connection", change(func(c *wire.DialConfig) { c.Role = wire.RoleClient }), wire.CodeBadRequest, []string{"role"}},
		{"a client on a bulk connection", change(func(c *wire.DialConfig) { c.Purpose, c.Role = wire.PurposeBulk, wire.RoleClient }), wire.CodeBadRequest, []string{"role"}},
	} {
		s, err := dial(t, r.addr, c.hello)
		if err == nil {
			s.Close()
		}
		refused(t, c.what, err, c.code, c.want...)
	}
	s, err := dial(t, r.addr, r.peerHello(other.Node, other.Life().Number))
	if err != nil {
		t.Fatalf("the other node itself: %v", err)
	}
	s.Close()
}

// What a peer says is checked like what anybody says: a node with a defect must
// not take the others along.
func TestBadPeerFrames(t *testing.T) {
	t.Parallel()
	nodes := founders(t, 2, defaultLimits())
	r, other := nodes[0], nodes[1].node.self()
	peer := func() *speaker {
		s, err := dialAs(nodes[1], r, r.peerHello(other.Node, other.Life().Number))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	good := wire.AppendEnvelope(nil, &wire.Envelope{Group: 0, Incarnation: 1, Message: raft.Message{Type: raft.MsgPreVote, From: 1, To: 2, Term: 1}})
	for _, c := range []struct {
		what  string
		t     wire.Type
		flags uint16
		body  []byte
		want  string
	}{
		{"an append that is none", wire.TypeAppend, 0, []byte{0x90}, "Append"},
		{"a vote that is none", wire.TypeVote, 0, []byte{0xc0}, "Vote"},
		{"a beat that is none", wire.TypeBeat, 0, []byte{0x94, 1, 1, 0, 0x91, 0xc0}, "Beat"},
		{"an answer to a beat that is none", wire.TypeBeatAnswer, 0, []byte{0xc0}, "BeatAnswer"},
		{"a message with a flag", wire.TypePreVote, wire.FlagForward, good, "flags 0x1"},
	} {
		s := peer()
		if _, err := s.Write(frame(c.t, c.flags, 0, c.body)); err != nil {
			t.Fatal(err)
		}
		refused(t, c.what, s.lastWords(), wire.CodeBadRequest, c.want)
	}

	// These mean something, but not to this node: they change nothing.
	s := peer()
	life, _ := logstore.IdentityOf(nodes[1].node.store)
	for _, e := range []wire.Envelope{
		{Group: 9000, Incarnation: 1, Message: raft.Message{Type: raft.MsgPreVote, From: 1, To: 2, Term: 1 << 40}},
		{Group: 0, Incarnation: 77, Message: raft.Message{Type: raft.MsgVote, From: 1, To: 2, Term: 1 << 40}},
		{Group: 0, Incarnation: 1, Message: raft.Message{Type: raft.MsgVote, From: 77, To: 2, Term: 1 << 40}},
		{Group: 0, Incarnation: 1, Message: raft.Message{Type: raft.MsgVote, From: 1, To: 77, Term: 1 << 40}},
		{Group: 0, Incarnation: 1, Message: raft.Message{Type: raft.MsgVote, From: 1, To: 2, Term: raft.TermLimit}},
		{Group: 0, Incarnation: 1, Message: raft.Message{Type: raft.MsgVote, From: 2, To: 1, Term: raft.TermLimit}},
	} {
		e.Mark = life.Life().Mark
		if _, err := s.Write(frame(wire.TypeOf(e.Message.Type), 0, 0, wire.AppendEnvelope(nil, &e))); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Write(frame(wire.TypeAppend, 0, 0, appendWith([]byte("these are no entries, though they are long enough")))); err != nil {
		t.Fatal(err)
	}
	// Each is counted under what is wrong with it.
	cl := r.client()
	for _, why := range []string{"group not here", "newer incarnation", "another replica id", "bad message"} {
		until(t, "a refusal is counted: "+why, func() error {
			_, body, err := cl.ask(wire.TypeCounters, 0, new(wire.Empty).Append(nil))
			if err != nil {
				return err
			}
			var c wire.CountersAnswer
			if err := c.Read(body); err != nil {
				return err
			}
			for _, row := range c.Rows {
				if row.Name == "refused: "+why && row.In > 0 {
					return nil
				}
			}
			return fmt.Errorf("rows %v", c.Rows)
		})
	}
	cl.Close()
	a := wire.Announce{Node: r.node.self().Node, Start: 9, Addr: "127.0.0.1:1", Version: "x", Name: "x", Level: shardmap.Level}
	_, _, err := s.ask(wire.TypeAnnounce, 0, a.Append(nil))
	refused(t, "an announcement for another node", err, wire.CodeUnauthorized, "speaks for", "announces itself")
	for _, r := range nodes {
		cl := r.client()
		until(t, "every node takes its writes", func() error { return worksSomewhere(nodes, cl) })
		cl.Close()
	}
	for _, g := range r.node.table.Load().Nodes {
		if g.Addr == "127.0.0.1:1" {
			t.Error("the announcement for another node is in the table")
		}
	}
}

func appendWith(raw []byte) []byte {
	e := wire.Envelope{Group: 0, Incarnation: 1, Message: raft.Message{Type: raft.MsgAppend, From: 1, To: 2, Term: 1, Entries: []raft.Entry{{Raw: raw}}}}
	return wire.AppendEnvelope(nil, &e)
}

// worksSomewhere writes where the group of the key is led.
func worksSomewhere(nodes []*runningNode, first *speaker) error {
	err := first.works()
	if err == nil {
		return nil
	}
	for _, r := range nodes {
		s := r.client()
		err = s.works()
		s.Close()
		if err == nil {
			return nil
		}
	}
	return err
}

// A host that waits for others to found a cluster with has no peer list yet. It
// says what it waits for, and takes nobody for a peer: whom it let in now would
// still be in when it counts votes.
func TestBeforeTheFounding(t *testing.T) {
	addrs := freeAddrs(t, 2)
	c := testConfig(t)
	c.Listen, c.Join, c.Expect = addrs[0], addrs, 2
	r := start(t, c, defaultLimits())
	s := r.client()
	for _, q := range []struct {
		t    wire.Type
		body []byte
	}{
		{wire.TypeWrite, write(setCommand("k", "v"))},
		{wire.TypeGet, getBody(wire.ReadLocal, "k")},
		{wire.TypeTopology, (&wire.Empty{}).Append(nil)},
		{wire.TypeStatus, (&wire.Empty{}).Append(nil)},
	} {
		until(t, q.t.String()+" names the host that is missing", func() error {
			_, _, err := s.ask(q.t, 0, q.body)
			refused(t, q.t.String(), err, wire.CodeNotReady, addrs[1], "--expect")
			return nil
		})
	}
	_, err := dial(t, r.addr, r.peerHello(4711, 1))
	refused(t, "a peer", err, wire.CodeNotReady, "peers")
	r.idle()
}

// The last moments of a standby: a request may come when the founding that it
// would speak of is over.
func TestStandbyEnds(t *testing.T) {
	n := &Node{name: "n1", fs: new(diskWatch)}
	n.enrolment.found = newFounding("c", 5, "10.0.0.1:4166", []string{"10.0.0.1:4166", "10.0.0.2:4166"})
	n.enrolment.found.leftOut("10.0.0.2:4166", wire.UnknownNode(5, "founded without it", "use that one"))
	refused(t, "a standby", n.notReady(), wire.CodeNotReady, "standby")
	n.enrolment.found = nil
	refused(t, "a standby that closes", n.notReady(), wire.CodeNotReady)
}

// When Run returns, nothing is left of the node: no goroutine, no connection, no
// listener, no lock. One would doubt it: some connections are idle, one waits
// for a reader that never reads, one is in its hello, one has requests that are
// never answered, and a peer is dialled that does not answer.
func TestRunEnds(t *testing.T) {
	before := goleak.IgnoreCurrent()
	l := defaultLimits()
	l.inflightBytes, l.answerTimeout = 256<<10, time.Minute // whoever waited for that one would be waited for in vain
	mute, err := net.Listen("tcp", "127.0.0.1:0")           // takes connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	r := serving(t, l)
	founding := testConfig(t)
	founding.Listen = freeAddrs(t, 1)[0]
	founding.Join, founding.Expect = []string{founding.Listen, mute.Addr().String()}, 2
	waits := start(t, founding, l)

	var conns []net.Conn
	for range 20 {
		conns = append(conns, r.client())
	}
	stranger, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	conns = append(conns, stranger)
	deaf := r.client()
	conns = append(conns, deaf)
	fill(t, r, deaf)
	ahead := r.client()
	conns = append(conns, ahead)
	g := wire.Get{Mode: wire.ReadLocal, AfterGroup: r.node.table.Load().GroupOf(0), After: raft.LogID{Term: 1, Index: 1 << 60}, Keys: [][]byte{keyOf(t, 0)}}
	for i := range uint64(100) { // more than it may have in flight, and none is ever answered
		if _, err := ahead.Write(frame(wire.TypeGet, 0, i, g.Append(nil))); err != nil {
			t.Fatal(err)
		}
	}
	waiting := r.otherEnd(ahead)
	until(t, "its reader waits", func() error {
		waiting.mu.Lock()
		defer waiting.mu.Unlock()
		if !waiting.node.limits.over(waiting.inflight, waiting.node.held.Load()) {
			return fmt.Errorf("%d bytes are in flight", waiting.inflight)
		}
		return nil
	})

	r.stop()
	waits.stop()
	for _, c := range conns {
		c.Close()
	}
	mute.Close()
	until(t, "nothing of it is left", func() error { return goleak.Find(before) })

	lock, err := logstore.Lock(vfs.OS{}, r.node.cfg.Data)
	if err != nil {
		t.Fatalf("the data directory: %v", err)
	}
	lock.Close()
	if conn, err := net.Dial("tcp", r.addr); err == nil {
		conn.Close()
		t.Error("the port: somebody listens")
	}
	r.node.door.mu.Lock()
	defer r.node.door.mu.Unlock()
	if len(r.node.door.conns) != 0 || len(r.node.door.seats.strangers.conns) != 0 || r.node.door.seats.clients != 0 || r.node.door.seats.peers != 0 {
		t.Errorf("the node still counts %d connections, %d strangers, %d clients, %d peers", len(r.node.door.conns), len(r.node.door.seats.strangers.conns), r.node.door.seats.clients, r.node.door.seats.peers)
	}
}

// keyOf finds a key of a slot's group.
func keyOf(t testing.TB, slot int) []byte {
	t.Helper()
	for i := range 100_000 {
		k := fmt.Appendf(nil, "s%d", i)
		if int(slotOf(k)) == slot {
			return k
		}
	}
	t.Fatalf("no key of slot %d", slot)
	return nil
}

// A node that can't start says why and leaves nothing behind either.
func TestRunRefuses(t *testing.T) {
	r := serving(t, defaultLimits())
	before := goleak.IgnoreCurrent()
	c := r.node.cfg
	if err := Run(context.Background(), c, r.node.log, func(string) { t.Error("it is ready") }); err == nil {
		t.Error("a data directory in use: no error")
	}
	c = testConfig(t)
	c.Listen = r.addr
	if err := Run(context.Background(), c, r.node.log, func(string) { t.Error("it is ready") }); err == nil {
		t.Error("an address in use: no error")
	}
	until(t, "nothing of it is left", func() error { return goleak.Find(before) })
}

// A connection that ends, ends for all counts; those of peers and of clients
// have limits of their own, so that neither kind can lock the other out.
func TestConnectionLimits(t *testing.T) {
	l := defaultLimits()
	l.clients, l.peers = 4, 2
	nodes := founders(t, 2, l)
	r, other := nodes[0], nodes[1].node.self()
	count := func() (int, int) {
		r.node.door.mu.Lock()
		defer r.node.door.mu.Unlock()
		return r.node.door.seats.clients, r.node.door.seats.peers
	}
	until(t, "the other node is connected", func() error {
		if clients, peers := count(); clients != 0 || peers != 1 {
			return fmt.Errorf("%d clients, %d peers", clients, peers)
		}
		return nil
	})
	var all []*speaker
	for range 4 {
		all = append(all, r.client())
	}
	until(t, "they are counted in", func() error { // after their welcome
		if clients, _ := count(); clients != 4 {
			return fmt.Errorf("%d clients", clients)
		}
		return nil
	})
	refused(t, "one client more", r.client().lastWords(), wire.CodeBusy, "4 connections of clients", "limit is 4")
	p, err := dialAs(nodes[1], r, r.peerHello(other.Node, other.Life().Number))
	if err != nil {
		t.Fatal(err)
	}
	all = append(all, p)
	until(t, "it is counted in", func() error {
		if _, peers := count(); peers != 2 {
			return fmt.Errorf("%d peers", peers)
		}
		return nil
	})
	p, err = dialAs(nodes[1], r, r.peerHello(other.Node, other.Life().Number))
	if err != nil {
		t.Fatal(err)
	}
	refused(t, "one peer more", p.lastWords(), wire.CodeBusy, "2 connections of peers")
	for _, s := range all {
		s.Close()
	}
	until(t, "all are counted out", func() error {
		if clients, peers := count(); clients != 0 || peers != 1 {
			return fmt.Errorf("%d clients, %d peers", clients, peers)
		}
		return nil
	})
	again := r.client()
	if _, _, err := again.ask(wire.TypePing, 0, (&wire.Empty{}).Append(nil)); err != nil {
		t.Errorf("a client after them: %v", err)
	}
}

// whole waits until a node serves and finds nothing wrong.
func whole(t *testing.T, r *runningNode) {
	t.Helper()
	s := r.client()
	defer s.Close()
	until(t, "the node that came back serves", func() error {
		_, body, err := s.ask(wire.TypeStatus, 0, (&wire.Empty{}).Append(nil))
		var a wire.StatusAnswer
		if err == nil {
			err = a.Read(body)
		}
		if err == nil && !a.Healthy {
			err = fmt.Errorf("problems: %v", a.Problems)
		}
		return err
	})
}

// A node that comes back is dialled by the others while it still reads its log,
// and is taken in. What a hello says of its start locks nobody out: not the node,
// after somebody named a higher one in its name.
func TestComesBack(t *testing.T) {
	t.Parallel()
	nodes := founders(t, 2, defaultLimits())
	for i := range nodes {
		was := nodes[i]
		old := was.node.self()
		was.stop()
		c := was.node.cfg
		c.Listen = was.addr
		back := start(t, c, defaultLimits())
		nodes[i] = back
		whole(t, back)
		other := nodes[1-i]
		for _, start := range []uint64{1 << 62, 0, old.Life().Number} {
			s, err := dial(t, other.addr, other.peerHello(old.Node, start))
			if err != nil {
				t.Fatalf("a hello with start %d: %v", start, err)
			}
			s.Close()
		}
		c = back.node.cfg
		back.stop()
		nodes[i] = start(t, c, defaultLimits())
		whole(t, nodes[i])
	}
}

// otherEnd returns the node's end of a connection that lasts. It waits for it: a
// client has its Welcome before the node has counted it in.
func (r *runningNode) otherEnd(s *speaker) (c *connection) {
	r.t.Helper()
	until(r.t, "the connection is counted in", func() error {
		r.node.door.mu.Lock()
		defer r.node.door.mu.Unlock()
		for conn, one := range r.node.door.conns {
			if one != nil && conn.RemoteAddr().String() == s.LocalAddr().String() {
				c = one
				return nil
			}
		}
		return fmt.Errorf("%d others are", len(r.node.door.conns))
	})
	return c
}

// attended reports whether the node has not ended a connection, seen from its
// end.
func (r *runningNode) attended(c *connection) bool {
	r.node.door.mu.Lock()
	defer r.node.door.mu.Unlock()
	return r.node.door.conns[c.conn] == c
}

// slowly is a connection that says each byte by itself.
type slowly struct{ net.Conn }

func (s slowly) Write(b []byte) (n int, err error) {
	for ; n < len(b) && err == nil; n++ {
		_, err = s.Conn.Write(b[n : n+1])
	}
	return n, err
}

// Other protocols share the port, and the first bytes decide which it is.
// So a connection that speaks one which this build does not have must be turned away
// by them, without a wait; and one that speaks ours is let in however few bytes
// come at a time.
func TestFirstByteDecides(t *testing.T) {
	r := serving(t, defaultLimits())
	foreign := []string{"SSH-2.0-OpenSSH_9.6\r\n", "*1\r\n$4\r\nPING\r\n", "PING\r\n", "*", "\x00"}
	for _, first := range foreign {
		conn, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Write([]byte(first)); err != nil {
			t.Fatal(err)
		}
		if err := conn.SetReadDeadline(time.Now().Add(wire.HelloTimeout * 3 / 4)); err != nil {
			t.Fatal(err)
		}
		if n, err := conn.Read(make([]byte, 1)); n != 0 || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("what begins with %q is waited for: read %d bytes, %v", first, n, err)
		}
	}
	counted := uint64(0)
	for _, row := range r.node.notices.rows() {
		if row.Name == "connections refused: foreign" {
			counted = row.In
		}
	}
	if counted != uint64(len(foreign)) {
		t.Errorf("%d foreign connections were counted, want %d", counted, len(foreign))
	}
	// TLS it knows, and has none.
	stranger, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	_, err = wire.TLSClient(stranger, new(trust.Holder).Client(func(tls.ConnectionState) error { return nil }))
	refused(t, "TLS to a node without", err, wire.CodeUnauthorized, "--insecure", r.node.name)
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := wire.ClientHello(slowly{conn}, wire.DialConfig{Purpose: wire.PurposeClient, Role: wire.RoleClient, Level: shardmap.Level}); err != nil {
		t.Errorf("a hello that comes a byte at a time: %v", err)
	}
}

// The founders stand in each identity for ever; the table says who is a member. One that
// was removed was taken for a peer by all that had founded with it, and counted.
func TestRemovedFounder(t *testing.T) {
	n := new(Node)
	n.door, n.inquiry.node = newDoor(n, nil), n
	n.enrolment.set(logstore.Identity{Stage: logstore.StageMember, Node: 1,
		Members: []logstore.IdentityMember{{Node: 1, Addr: "a:1"}, {Node: 2, Addr: "b:1"}}})
	admits := func(id raft.NodeID) bool {
		return n.door.admit(&wire.Greeting{Hello: wire.Hello{Role: wire.RolePeer, Node: id, Advertise: "x:1"}}) == nil
	}
	if !admits(2) || admits(3) || n.addrOf(2) != "b:1" {
		t.Errorf("before there is a table the founders are the members: 2 at %q", n.addrOf(2))
	}
	n.table.Store(&shardmap.Table{ClusterID: 7, Nodes: []shardmap.TableNode{{ID: 1, Addr: "a:1"}, {ID: 3, Addr: "c:1"}}})
	if admits(2) || !admits(3) || n.addrOf(2) != "" || n.addrOf(3) != "c:1" {
		t.Errorf("the table names 1 and 3; 2 is at %q, 3 at %q", n.addrOf(2), n.addrOf(3))
	}
}
