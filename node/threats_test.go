package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"muster/raft"
	"muster/repl/trust"
	"muster/repl/wire"
	"muster/shardmap"
)

// Attacks of docs/security.md on nodes with TLS, over connections of their own. Each returns which of
// its ways has succeeded, or "", so that a build without the defence can be tried too.

// securedAlone runs a node alone, with TLS, until certificates alone open it. look sees the node before
// it serves anybody.
func securedAlone(t *testing.T, log *slog.Logger, look func(*Node)) (*runningNode, *keptUser) {
	t.Helper()
	return securedAs(t, testConfig(t), log, look)
}

// securedAs is securedAlone for a node with a configuration of its own.
func securedAs(t *testing.T, c Config, log *slog.Logger, look func(*Node)) (*runningNode, *keptUser) {
	t.Helper()
	u := new(keptUser)
	c.FirstUser = &FirstUser{Name: "ann0", Keep: u.keep}
	ctx, cancel := context.WithCancel(context.Background())
	r := &runningNode{t: t, cancel: cancel, ended: make(chan error, 1)}
	ready := make(chan struct{})
	go func() {
		r.ended <- run(ctx, c, log, secureLimits(), func(n *Node, addr string) {
			n.door.mu.Lock() // those who come later see what look has changed
			look(n)
			n.door.mu.Unlock()
			r.node, r.addr = n, addr
			close(ready)
		})
	}()
	t.Cleanup(r.stop)
	select {
	case <-ready:
	case err := <-r.ended:
		r.ended <- err
		t.Fatalf("the node does not start: %v", err)
	}
	until(t, "certificates alone open it", func() error {
		if table := r.node.table.Load(); table == nil || table.Security.Mode != shardmap.SecurityOnly || !u.has() {
			return errors.New("not yet")
		}
		return nil
	})
	return r, u
}

// anybody checks nothing in a handshake.
func anybody(tls.ConnectionState) error { return nil }

// shows makes a stranger that shows the certificate of a user.
func (k *keptUser) shows(t *testing.T) *stranger {
	t.Helper()
	s := newStranger(t)
	k.mu.Lock()
	defer k.mu.Unlock()
	shown, err := trust.NewCertificate(k.key, k.leaf.Raw, k.root)
	if err != nil {
		t.Fatal(err)
	}
	s.key, s.shot = k.key, shown
	return s
}

// answered sends some bytes to a node, in clear or inside TLS, and returns what comes back until the
// node hangs up.
func answered(t *testing.T, r *runningNode, say string, inside bool) (got []byte, err error) {
	t.Helper()
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(readyMax)); err != nil {
		t.Fatal(err)
	}
	if inside {
		var h trust.Holder
		h.Set(&trust.Holding{Certificate: newStranger(t).shot})
		over, err := wire.TLSClient(conn, h.Client(anybody))
		if err != nil {
			t.Fatal(err)
		}
		conn = over
	}
	if _, err := io.WriteString(conn, say); err != nil {
		return nil, err
	}
	got, err = io.ReadAll(conn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return got, err
	}
	return got, nil // a reset is as good as an end
}

// A connection that has not proven whose it is gets nothing, by whichever door it comes: not in clear,
// not in another protocol, not as a connection for snapshots, and not in the name of a node with a
// user's certificate. One would doubt it of the doors that are not asked about every day.
func TestSideDoors(t *testing.T) {
	if why := sideDoors(t); why != "" {
		t.Error(why)
	}
}

func sideDoors(t *testing.T) string {
	nodes, users := secured(t, 2)
	r, other := nodes[0], nodes[1].node.self()
	id := r.node.self()
	user := users[0].shows(t)

	for _, c := range []struct {
		role    wire.Role
		purpose wire.Purpose
	}{{wire.RoleClient, wire.PurposeClient}, {wire.RolePeer, wire.PurposePeer}, {wire.RolePeer, wire.PurposeBulk}, {wire.RoleJoining, wire.PurposePeer}, {wire.RoleFounding, wire.PurposePeer}, {wire.RoleInviting, wire.PurposePeer}} {
		d := wire.DialConfig{Role: c.role, Purpose: c.purpose, Cluster: id.Cluster, ClusterID: id.ClusterID, Level: shardmap.Level}
		if c.role != wire.RoleClient {
			d.Node, d.Start, d.Advertise = other.Node, other.Life().Number, "127.0.0.1:1"
		}
		what := fmt.Sprintf("role %d, purpose %d", c.role, c.purpose)
		if s, err := dial(t, r.addr, d); err == nil {
			s.Close()
			return what + ": let in without TLS"
		} else {
			refused(t, what+" without TLS", err, wire.CodeUnauthorized, "nothing but TLS")
		}
		if c.role == wire.RoleClient {
			continue
		}
		for show, s := range map[string]*stranger{"a user's certificate": user, "no certificate": newStranger(t)} {
			s.id = other.Node
			if why := asPeer(s, r, c.role, c.purpose); why != "" {
				return fmt.Sprintf("%s, with %s: %s", what, show, why)
			}
		}
	}

	for what, say := range map[string]string{
		"HTTP":        "GET /v1/keys HTTP/1.1\r\nHost: x\r\n\r\n",
		"HTTP/2":      "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"RESP":        "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n",
		"RESP inline": "PING\r\nPING\r\n",
		"DNS":         "\x00\x1d\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01k\x06muster\x00\x00\x01\x00\x01",
		"zeros":       strings.Repeat("\x00", 64),
		"TLS in TLS":  "\x16\x03\x01\x00\x05hello",
	} {
		for _, inside := range []bool{false, true} {
			if !inside && what == "TLS in TLS" {
				continue
			}
			got, err := answered(t, r, say, inside)
			if err != nil {
				return fmt.Sprintf("%s (inside TLS: %t): it is not hung up: %v", what, inside, err)
			}
			if !inside && strings.HasPrefix(what, "HTTP") && string(got) == plainHTTP {
				continue // which says that it wants TLS, and nothing else
			}
			if len(got) != 0 {
				return fmt.Sprintf("%s (inside TLS: %t): is answered with %q", what, inside, got)
			}
		}
	}
	if _, _, err := users[0].asUser(t, r).ask(wire.TypeStatus, 0, new(wire.Empty).Append(nil)); err != nil {
		t.Errorf("afterwards, the cluster's own user: %v", err)
	}
	return ""
}

// asPeer has a stranger say that it is a member, and send what members send. It returns what was
// answered as a member's, or "".
func asPeer(s *stranger, r *runningNode, role wire.Role, purpose wire.Purpose) string {
	conn, g, err := s.dialFor(r, role, purpose)
	if err != nil {
		return "" // a refusal, or the end of a handshake
	}
	defer conn.Close()
	for typ, body := range map[wire.Type][]byte{
		wire.TypeChunk:    (&wire.Chunk{Number: 7, Group: 99, Incarnation: 1, From: 1, To: 2, Term: 1, Base: raft.LogID{Term: 1, Index: 5}, Size: 1000}).Append(nil),
		wire.TypeForward:  (&wire.Forward{Type: wire.TypeGet, Body: getBody(wire.ReadLocal, "k")}).Append(nil),
		wire.TypeRenew:    (&wire.Renew{Request: []byte{1}}).Append(nil),
		wire.TypeKeep:     (&wire.Keep{}).Append(nil),
		wire.TypeReset:    (&wire.Reset{User: "eve", Request: []byte{1}, Proof: make([]byte, wire.ResetProofSize)}).Append(nil),
		wire.TypeAnnounce: (&wire.Announce{Node: s.id, Start: 99, Addr: "127.0.0.1:1", Version: "x", Name: "x", Level: shardmap.Level}).Append(nil),
	} {
		h, _, err := conn.ask(typ, 0, body)
		if e := (*wire.Error)(nil); err == nil || errors.As(err, &e) && e.Code != wire.CodeUnauthorized && e.Code != wire.CodeBadRequest {
			return fmt.Sprintf("%s is answered with %s, %v, as of %s", typ, h.Type, err, g.Sender())
		}
	}
	return ""
}

// dialFor is dial for a purpose of its own.
func (s *stranger) dialFor(r *runningNode, role wire.Role, purpose wire.Purpose) (*speaker, *wire.Greeting, error) {
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		return nil, nil, err
	}
	s.t.Cleanup(func() { conn.Close() })
	var h trust.Holder
	h.Set(&trust.Holding{Certificate: s.shot})
	over, err := wire.TLSClient(conn, h.Client(anybody))
	if err != nil {
		return nil, nil, err
	}
	id := r.node.self()
	g, err := wire.ClientHello(over, wire.DialConfig{Role: role, Purpose: purpose, Node: s.id, Start: 1, Cluster: id.Cluster, ClusterID: id.ClusterID, Level: shardmap.Level, ToAddr: r.addr, Advertise: "127.0.0.1:1"})
	if err != nil {
		return nil, nil, err
	}
	return &speaker{Conn: over, t: s.t, decoder: g.Decoder}, g, nil
}

// The clock of a host may be two days off, by chance or because somebody else gives it the time. Such a
// host still takes fresh certificates, and no certificate is good for longer than its time and what the
// clock is behind. One that has ended lets nobody in.
func TestClocksAndCertificates(t *testing.T) {
	if why := clocksOff(t); why != "" {
		t.Error(why)
	}
}

func clocksOff(t *testing.T) string {
	var off atomic.Int64
	r, admin := securedAlone(t, slog.New(slog.DiscardHandler), func(n *Node) {
		n.guard.now = func() time.Time { return time.Now().Add(time.Duration(off.Load())) }
	})
	user := admin.shows(t)
	status := func() error {
		conn, _, err := user.dial(r, wire.DialConfig{Role: wire.RoleClient})
		if err != nil {
			return err
		}
		defer conn.Close()
		_, _, err = conn.ask(wire.TypeStatus, 0, new(wire.Empty).Append(nil))
		return err
	}
	for _, c := range []struct {
		off  time.Duration
		want string // of the refusal; "": none
	}{
		{0, ""}, {-48 * time.Hour, ""}, {48 * time.Hour, ""},
		{-trust.Backdate - time.Hour, "compare the clocks"},
		{trust.UserLife + time.Hour, "expired at"},
		{0, ""},
	} {
		off.Store(int64(c.off))
		switch err := status(); {
		case c.want == "" && err != nil:
			return fmt.Sprintf("with a clock that is off by %s, a user with a fresh certificate hears: %v", c.off, err)
		case c.want != "" && err == nil:
			return fmt.Sprintf("with a clock that is off by %s, a certificate that is not good at that time opens the node", c.off)
		case c.want != "":
			refused(t, c.off.String(), err, wire.CodeUnauthorized, c.want)
		}
	}
	return ""
}

// Before there are certificates, the secret alone says who founds a cluster. Somebody who stands between
// two hosts, and ends their TLS with keys of his own, must get into neither by what they prove to each other.
func TestRelayedFounding(t *testing.T) {
	if why := relayedFounding(t); why != "" {
		t.Error(why)
	}
}

func relayedFounding(t *testing.T) string {
	file := filepath.Join(t.TempDir(), "secret")
	if err := WriteNewSecret(file); err != nil {
		t.Fatal(err)
	}
	addrs := freeAddrs(t, 2) // nobody is at the second one: the first waits for it
	c := testConfig(t)
	c.Listen, c.Join, c.Expect, c.SecretFile = addrs[0], addrs, 2, file
	r := start(t, c, secureLimits())
	secret, err := c.Secret()
	if err != nil {
		t.Fatal(err)
	}
	hello := func(conn net.Conn) (*wire.Greeting, error) {
		var h trust.Holder
		h.Set(&trust.Holding{Certificate: newStranger(t).shot})
		over, err := wire.TLSClient(conn, h.Client(anybody))
		if err != nil {
			return nil, err
		}
		return wire.ClientHello(over, wire.DialConfig{
			Role: wire.RoleFounding, Purpose: wire.PurposePeer, Node: raft.NodeID(randomNumber()), Start: 1, Cluster: r.node.self().Cluster,
			Level: shardmap.Level, Secret: secret, ToAddr: r.addr, Advertise: addrs[1],
		})
	}
	direct, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer direct.Close()
	if g, err := hello(direct); err != nil || !g.KnowsSecret {
		t.Fatalf("without anybody between: %v", err)
	}
	between, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer between.Close()
	var passing sync.WaitGroup
	passing.Go(func() { passOn(t, between, r.addr) })
	defer passing.Wait()
	victim, err := net.Dial("tcp", between.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer victim.Close()
	if g, err := hello(victim); err == nil {
		return fmt.Sprintf("who stands between has a connection to node %s, and reads all that is said on it", g.Challenge.Node)
	} else if !strings.Contains(err.Error(), "secret") {
		t.Errorf("the host hears %v", err)
	}
	return ""
}

// passOn takes one connection, ends its TLS, and passes on what is in it over TLS of its own.
func passOn(t *testing.T, l net.Listener, to string) {
	conn, err := l.Accept()
	if err != nil {
		return
	}
	defer conn.Close()
	var in trust.Holder
	in.Set(&trust.Holding{Certificate: newStranger(t).shot})
	near := tls.Server(conn, in.Server())
	if near.Handshake() != nil {
		return
	}
	out, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer out.Close()
	far, err := wire.TLSClient(out, in.Client(anybody))
	if err != nil {
		return
	}
	var back sync.WaitGroup
	back.Go(func() { _, _ = io.Copy(near, far); conn.Close() })
	_, _ = io.Copy(far, near)
	out.Close()
	back.Wait()
}
