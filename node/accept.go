package node

import (
	"errors"
	"net"
	"slices"
	"time"

	"muster/logstore"
	"muster/raft"
	"muster/repl"
	"muster/repl/wire"
	"muster/shardmap"
)

// acceptRetry is how long to wait after an accept that did not succeed, as
// when the process has no descriptor left.
const acceptRetry = 50 * time.Millisecond

// accept takes connections until the listener closes.
func (n *Node) accept() {
	defer n.ended.Done()
	for {
		conn, err := n.listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			n.notices.refused(err)
			select {
			case <-n.ctx.Done():
				return
			case <-time.After(acceptRetry):
			}
			continue
		}
		if !n.admitStranger(conn) {
			conn.Close()
			continue
		}
		n.ended.Add(1)
		go n.attend(conn)
	}
}

// admitStranger counts a connection in, unless the node is closing. If too many
// have not said who they are yet, the oldest of them goes.
func (n *Node) admitStranger(conn net.Conn) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	select {
	case <-n.ctx.Done():
		return false
	default:
	}
	n.seats.strangers.add(conn, n.limits.strangers)
	n.conns[conn] = nil
	return true
}

// attend says hello, then reads from the connection until it ends.
func (n *Node) attend(conn net.Conn) {
	defer n.ended.Done()
	leave := func() {}
	defer func() {
		conn.Close() // before another one may have its seat
		n.mu.Lock()
		n.seats.strangers.remove(conn)
		leave()
		delete(n.conns, conn)
		n.mu.Unlock()
	}()
	g, err := wire.ServerHello(conn, n.acceptConfig())
	if err != nil {
		n.notices.refused(err)
		return
	}
	who := g.Sender()
	bulk := who == wire.SenderBulk
	var c *connection
	n.mu.Lock()
	left, full := n.seats.take(n.name, &n.limits, conn, who)
	if full == nil {
		leave = left
	}
	if full == nil && !bulk {
		c = newConnection(n, conn, g)
		n.conns[conn] = c // close ends it, from now on
		if c.standing == wire.SenderMember {
			c.claim = n.attesting.claim(g, c.wakeReader, func(e *wire.Error) {
				c.refuse(repl.Reply{To: c}, e)
				c.end()
			})
			defer n.attesting.claims.remove(c.claim)
		}
	}
	n.mu.Unlock()
	if full != nil {
		n.notices.refused(full)
		// It stays among the strangers meanwhile: those who never read
		// that they were refused have a descriptor each.
		if conn.SetDeadline(time.Now().Add(n.limits.linger)) == nil {
			_ = wire.WriteFrame(conn, wire.TypeError, 0, full) // the connection ends either way
			linger(conn, n.limits.linger)
		}
		return
	}
	if bulk {
		one := n.attesting.claim(g, func() {}, func(*wire.Error) { conn.Close() })
		defer n.attesting.claims.remove(one)
		if err := n.takeChunks(conn, g, one); err != nil && !errors.Is(err, net.ErrClosed) {
			n.log.Debug("bulk connection ends", "from", g.Hello.Node, "err", err)
		}
		return
	}
	n.ended.Add(1)
	go func() {
		defer n.ended.Done()
		c.write()
	}()
	if err := c.read(); err == nil {
		c.finish()
	} else if !errors.Is(err, net.ErrClosed) {
		n.log.Debug("connection ends", "from", conn.RemoteAddr(), "err", err)
	}
	c.end()
	<-c.idle
	if c.feeds {
		n.fed(c.peer)
	}
}

// feeding notes that a peer's cores speak to ours over one connection more.
func (n *Node) feeding(peer raft.NodeID) {
	n.mu.Lock()
	n.feeds[peer]++
	n.mu.Unlock()
	if loop := n.running(); loop != nil {
		loop.PeerBack(peer)
	}
}

// fed notes that such a connection has ended. The last one to end is a hint
// that the peer has: one of a process that was killed closes at once.
func (n *Node) fed(peer raft.NodeID) {
	n.mu.Lock()
	n.feeds[peer]--
	last := n.feeds[peer] == 0
	if last {
		delete(n.feeds, peer)
	}
	n.mu.Unlock()
	switch loop := n.running(); {
	case loop == nil:
	case last:
		loop.PeerLost(peer)
	default:
		loop.ConnectionEnded(peer)
	}
}

func (n *Node) acceptConfig() wire.AcceptConfig {
	id := n.self()
	c := wire.AcceptConfig{
		Cluster: n.cfg.Cluster, ClusterID: id.ClusterID, Node: id.Node, Start: id.Life().Number, Advertise: n.addr,
		Level: n.limits.level, ValueMax: uint32(n.cfg.ValueMax), WindowMax: shardmap.SessionWindowMax,
		Secret: n.secret, Admit: n.admit,
	}
	if t := n.table.Load(); t != nil && t.Founded() {
		c.ValueMax, c.ClusterLevel = uint32(t.ValueMax), t.Level
	}
	return c
}

// admit has the last word on a hello. A peer must be a member.
func (n *Node) admit(h *wire.Hello) error {
	switch h.Role {
	case wire.RoleFounding:
		return n.admitFounder(h)
	case wire.RoleClient:
		return nil
	}
	id := n.self()
	if h.Node == id.Node {
		return wire.UnknownNode(h.Node, "it has this node's own id", "give each node a data directory of its own; do not copy one")
	}
	known := slices.ContainsFunc(id.Members, func(m logstore.IdentityMember) bool { return m.Node == h.Node })
	if t := n.table.Load(); t != nil && !known {
		_, known = t.Node(h.Node)
	}
	if id.Stage == logstore.StageFounding {
		// It can't be told from a stranger yet, and what it says as a peer
		// would be dropped. It comes back in a moment.
		return wire.NotReady("node "+n.name, "it does not know yet who its peers are", "try again when the cluster is founded", foundingPause)
	}
	if !known {
		return wire.UnknownNode(h.Node, "it is not on the peer list", "empty its data directory; joining a running cluster is not in this version")
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	// Which start of it this is proves nothing, and is not compared here: what its
	// messages count for is settled between the hosts, with a note on disk
	// (repl/lives.go).
	n.met[h.Node] = met{start: h.Start, addr: h.Advertise}
	// It may have moved, and can only tell the cluster so through a leader
	// that finds it: it is looked for where it says that it is, unless it
	// answers where it was.
	if n.transport != nil {
		n.transport.Claim(h.Node, h.Advertise)
	}
	return nil
}
