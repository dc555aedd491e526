package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"muster/logstore"
	"muster/raft"
	"muster/repl/trust"
	"muster/repl/wire"
	"muster/shardmap"
)

// Time-outs of a node's own requests to other hosts.
const (
	dialTimeout = 2 * time.Second
	callTimeout = 3 * time.Second
)

// caller is how this node reaches others: it dials them, says who this node is,
// and asks them one thing.
type caller struct {
	// Set once.
	addr      string // by which others reach this node
	level     uint32 // of commands: the newest that this build understands
	self      func() logstore.Identity
	table     func() *shardmap.Table // nil before the meta group's log was read
	attesting *attesting
	guard     *guard
	keyBytes  int64 // see limits
}

// member connects to a member, for a purpose.
func (l *caller) member(ctx context.Context, id raft.NodeID, addr string, purpose wire.Purpose) (net.Conn, error) {
	conn, _, err := l.dial(ctx, id, addr, purpose, wire.RolePeer)
	return conn, err
}

// dial connects to another host and says hello, if that host itself says that it is
// reached at addr. to is the node that is meant; 0: any, which is for founders, who
// can't know it yet.
func (l *caller) dial(ctx context.Context, to raft.NodeID, addr string, purpose wire.Purpose, role wire.Role) (net.Conn, *wire.Greeting, error) {
	id := l.self()
	d := net.Dialer{Timeout: dialTimeout}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, nil, err
	}
	conn = quick(conn)
	defer closeWith(ctx, conn)()
	shows := l.guard.holder.Get() // before the handshake, which may show a newer one
	// Whether it is the one that is meant is known before anything is said to it.
	if l.guard.speech().dialsTLS(role) {
		over, err := l.guard.dial(conn, to, addr, role)
		if err != nil {
			conn.Close()
			return nil, nil, err
		}
		conn = over
	}
	c := wire.DialConfig{
		To: to, ToAddr: addr,
		Purpose: purpose, Role: role, Cluster: id.Cluster, ClusterID: id.ClusterID,
		Node: id.Node, Start: id.Life().Number, Advertise: l.addr, Level: l.level, Secret: l.guard.secretNow(),
	}
	// Before the hello, which the other side may use to ask about this connection.
	kept := conn
	if role == wire.RolePeer {
		kept = l.dialling(conn, &c, shows)
	}
	if t := l.table(); t != nil && (role == wire.RolePeer || role == wire.RoleInviting) {
		c.ClusterLevel = t.Level
		if role == wire.RoleInviting && t.Security.Mode == shardmap.SecurityBoth {
			l.inviting(&c)
		}
	}
	g, err := wire.ClientHello(conn, c)
	if err != nil {
		kept.Close()
		return nil, nil, err
	}
	return kept, g, nil
}

// inviting prepares a hello with a host that is invited while the secret counts beside certificates. One that
// has a token has no secret, and goes by what this node shows.
func (l *caller) inviting(c *wire.DialConfig) {
	c.Unproven = true
	if l.guard.certified() {
		return
	}
	c.Challenged = func(m *wire.Challenge) error {
		if m.NeedsProof {
			return nil
		}
		return wire.NotReady("node "+c.Node.String(), "it has no certificate yet by which a host with a token could know it", "try again in a moment", foundingPause)
	}
}

// dialling returns a connection to use and close instead of conn, for a hello as a peer: this node
// attests it, and ends it when what the other side has proven itself by is good no longer. shows is what
// this node had to show.
func (l *caller) dialling(conn net.Conn, c *wire.DialConfig, shows *trust.Holding) net.Conn {
	own := l.attesting.dialling(conn, c)
	own.guard = l.guard
	var p trust.Proven
	if t, ok := conn.(*wire.TLSConn); ok {
		own.shown, own.met, own.company, p = shows.Root(), t.Peer.Root, shows.Own, t.Peer
		t.WearsAt(l.keyBytes, l.attesting.review)
	}
	l.guard.keeps(conn, p)
	return own
}

// closeWith closes a connection when ctx ends, so that a silent host does not hold up
// the end of this node. The function that it returns cancels that.
func closeWith(ctx context.Context, conn net.Conn) (off func() bool) {
	return context.AfterFunc(ctx, func() { conn.Close() })
}

// call asks another host, node to if that is known, one thing over a connection
// of its own.
func (l *caller) call(ctx context.Context, to raft.NodeID, addr string, role wire.Role, t wire.Type, body, answer wire.Body) error {
	purpose := wire.PurposePeer
	if role == wire.RoleClient {
		purpose = wire.PurposeClient
	}
	conn, g, err := l.dial(ctx, to, addr, purpose, role)
	if err != nil {
		return err
	}
	defer conn.Close()
	return l.ask(ctx, conn, g, t, body, answer)
}

// ask asks the host at the other end of a connection one thing. What it answers has come
// from one that knows the secret: the hello is over.
func (l *caller) ask(ctx context.Context, conn net.Conn, g *wire.Greeting, t wire.Type, body, answer wire.Body) error {
	defer closeWith(ctx, conn)()
	if err := conn.SetDeadline(time.Now().Add(callTimeout)); err != nil {
		return err
	}
	if err := wire.WriteFrame(conn, t, 1, body); err != nil {
		return err
	}
	h, got, err := wire.ReadFrame(conn, g.Decoder)
	if err != nil {
		return err
	}
	if err := errorIn(h.Type, got); err != nil {
		return err
	}
	if h.Type.Question() != t {
		return fmt.Errorf("%s answers %s with %s", conn.RemoteAddr(), t, h.Type)
	}
	return answer.Read(got)
}

// errorIn returns the error that an answer of type t is, or why it can't be read; nil if it is
// another answer.
func errorIn(t wire.Type, body []byte) error {
	if t != wire.TypeError {
		return nil
	}
	e := new(wire.Error)
	if err := e.Read(body); err != nil {
		return err
	}
	return e
}

// refusalIn returns the typed refusal that err is or wraps.
func refusalIn(err error) (e *wire.Error, ok bool) {
	ok = errors.As(err, &e)
	return e, ok
}
