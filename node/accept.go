package node

import (
	"crypto/x509"
	"errors"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"muster/logstore"
	"muster/node/web"
	"muster/raft"
	"muster/repl"
	"muster/repl/wire"
	"muster/shardmap"
)

// acceptRetry is how long to wait after an accept that did not succeed, as
// when the process has no descriptor left.
const acceptRetry = 50 * time.Millisecond

// door is who is connected to this node: it accepts connections, makes them say who
// they are, and gives each a seat of its kind.
type door struct {
	// Set once.
	node     *Node // that they are connected to
	listener net.Listener
	shedding shedding // what is refused of connections whose answers are late
	web      webDoor  // those that speak HTTP

	mu    sync.Mutex
	conns map[net.Conn]*connection // guarded by mu; nil during the hello
	// creds are by what each of them was let in; those whose hello is over.
	creds map[net.Conn]credential // guarded by mu
	seats seats                   // guarded by mu: the connections of each kind
	met   map[raft.NodeID]met     // guarded by mu: what peers said of themselves in their last hello
	feeds map[raft.NodeID]int     // guarded by mu: connections over which each node's cores speak to ours
}

// met is what a peer said of itself when it dialled.
type met struct {
	start uint64
	addr  string
}

func newDoor(n *Node, listener net.Listener) *door {
	return &door{
		node: n, listener: listener, seats: seats{webs: web.NewShares(n.limits.webs)},
		conns: make(map[net.Conn]*connection), creds: make(map[net.Conn]credential), feeds: make(map[raft.NodeID]int), met: make(map[raft.NodeID]met),
	}
}

// said is what a peer said of itself when it dialled last.
func (d *door) said(id raft.NodeID) met {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.met[id]
}

// retain forgets what all peers but these said, and ends their connections: when one of
// them dials again, it is told why it is none any more.
func (d *door) retain(nodes []raft.NodeID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	maps.DeleteFunc(d.met, func(id raft.NodeID, _ met) bool { return !slices.Contains(nodes, id) })
	for conn, c := range d.conns {
		if c != nil && c.peer != 0 && !slices.Contains(nodes, c.peer) && !bug(bugRemovedLetIn) {
			conn.Close()
		}
	}
}

// recheck ends the connections that were let in by what no longer counts: a certificate that was
// denied or has ended, or the secret, once the cluster goes by certificates alone.
func (d *door) recheck() {
	n := d.node
	n.guard.recheck()
	d.mu.Lock()
	defer d.mu.Unlock()
	for conn, cred := range d.creds {
		e := n.guard.over(&cred)
		if e == nil {
			continue
		}
		delete(d.creds, conn) // it is told once
		c := d.conns[conn]
		if c == nil {
			conn.Close()
			continue
		}
		d.dismiss(c, conn, e, onItsWay)
	}
}

// dismiss ends a connection that has no place here any more, c over conn: it gets what it has asked for before, for
// a moment, and is told why; what a client asks from now on, for atLeast, is refused for it. It does not wait. A goroutine
// that the node waits for calls it.
func (d *door) dismiss(c *connection, conn net.Conn, e *wire.Error, atLeast time.Duration) {
	if !c.leaving.CompareAndSwap(nil, e) {
		return
	}
	d.node.ended.Go(func() {
		came := time.NewTimer(atLeast)
		defer came.Stop()
		settle(c, lastAnswersMax)
		if c.standing == wire.SenderClient {
			select {
			case <-came.C:
			case <-c.idle: // it has ended by itself
			case <-d.node.ctx.Done():
			}
		}
		c.refuse(repl.Reply{To: c}, e)
		c.end()
		time.AfterFunc(d.node.limits.linger, func() { conn.Close() }) // whether it has read that or not
	})
}

// lastAnswersMax is for how long a connection that has no place here any more gets answers to what it has
// asked before: so a user that withdraws its own certificates hears that this is done.
const lastAnswersMax = 500 * time.Millisecond

// onItsWay is for how long such a connection of a client is read from at least: what was sent before its client could
// hear anything is refused then. One that ends without an answer may have been applied, as far as its client knows.
const onItsWay = 100 * time.Millisecond

// rechecks calls recheck again and again, until the node ends: a certificate ends without a word.
func (d *door) rechecks() {
	every := time.NewTicker(d.node.limits.recheckPause)
	defer every.Stop()
	for {
		select {
		case <-d.node.ctx.Done():
			return
		case <-every.C:
			d.recheck()
		}
	}
}

// close stops accepting, and ends all connections. The node's context has ended.
func (d *door) close() {
	d.listener.Close()
	if d.web.Door != nil {
		d.web.Close()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for conn, c := range d.conns {
		conn.Close()
		if c != nil {
			c.end() // its reader may wait for answers that will not come
		}
	}
}

// accept takes connections until the listener closes.
func (d *door) accept() {
	n := d.node
	for {
		conn, err := d.listener.Accept()
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
		conn = quick(conn)
		if !d.admitStranger(conn) {
			conn.Close()
			continue
		}
		n.ended.Go(func() { d.attend(conn) })
	}
}

// admitStranger counts a connection in, unless the node is closing. If too many have
// not said who they are yet, it ends the oldest of them.
func (d *door) admitStranger(conn net.Conn) bool {
	n := d.node
	d.mu.Lock()
	defer d.mu.Unlock()
	// Checked under mu: close cancels the context first and then ends, under mu, all
	// that were let in, so none slips in between.
	select {
	case <-n.ctx.Done():
		return false
	default:
	}
	d.seats.strangers.add(conn, n.limits.strangers)
	d.conns[conn] = nil
	return true
}

// recognize keeps the seat of a connection from strangers: its first words say that it is likely to
// be a member's.
func (d *door) recognize(conn net.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.seats.recognize(&d.node.limits, conn)
}

// greeted is a connection after its first words: a client or member that has said hello, or HTTP, which follows.
type greeted struct {
	conn  net.Conn       // used in the place of the one below
	hello *wire.Greeting // nil: http is set
	http  *web.Visitor
}

// attend says hello, then reads from the connection until it ends.
func (d *door) attend(below net.Conn) {
	d.receive(below, func() (greeted, error) { return d.greet(below) })
}

// receive is attend for a connection that greet says hello to.
func (d *door) receive(below net.Conn, greet func() (greeted, error)) {
	n := d.node
	leave := func() {}
	defer func() {
		below.Close() // before another connection gets its seat: each seat has one descriptor
		d.mu.Lock()
		d.seats.unseat(below)
		leave()
		delete(d.conns, below)
		delete(d.creds, below)
		d.mu.Unlock()
	}()
	said, err := greet()
	if err != nil {
		n.notices.refused(err)
		n.trail.turnedAway(below, err)
		return
	}
	if said.http != nil {
		leave = d.receiveHTTP(below, said.http)
		return
	}
	conn, g := said.conn, said.hello
	who := g.Sender()
	bulk := who == wire.SenderBulk
	var c *connection
	principal, full := n.laws.of(g)
	d.mu.Lock()
	if full == nil {
		// Under mu: who looks at all connections when the first table is there sees this one, or it
		// sees the table.
		full = n.laws.outdated(principal)
	}
	if full == nil {
		var left func()
		if left, full = d.seats.take(n.name, &n.limits, below, who); full == nil {
			leave = left
			d.creds[below] = credential{g.Peer, who}
		}
	}
	// Under one hold of mu with the seat, so that close finds each connection that has
	// one.
	if full == nil && !bulk {
		c = newConnection(n, conn, g, principal)
		d.conns[below] = c // close ends it, from now on
		if t, ok := conn.(*wire.TLSConn); ok {
			t.WearsAt(n.limits.keyBytesEnd, func() { c.worn.Store(true) })
		}
		if c.standing == wire.SenderMember {
			c.claim = n.attesting.claim(g, c.wakeReader, func(e *wire.Error) {
				c.refuse(repl.Reply{To: c}, e)
				c.end()
			})
			defer n.attesting.claims.remove(c.claim)
		}
	}
	d.mu.Unlock()
	if c != nil && g.Peer.Name.Node != 0 {
		n.attesting.review() // it has its certificate, and may show it to this node too
	}
	if full != nil {
		n.notices.refused(full)
		n.trail.turnedAway(below, full)
		// It stays among the strangers meanwhile: one that never reads its
		// refusal holds a descriptor, which must be counted.
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
	n.ended.Go(c.write)
	if err := c.read(); err == nil {
		c.finish()
	} else if !errors.Is(err, net.ErrClosed) {
		n.log.Debug("connection ends", "from", conn.RemoteAddr(), "err", err)
	}
	c.end()
	c.requests.Streams.Close()
	<-c.idle
	// Last: a peer counts as fed until everything that it sent is handed on.
	if c.feeds {
		d.fed(c.peer)
	}
}

// feeding records that a peer's cores speak to ours over one more connection.
func (d *door) feeding(peer raft.NodeID) {
	n := d.node
	d.mu.Lock()
	d.feeds[peer]++
	d.mu.Unlock()
	if loop := n.running(); loop != nil {
		loop.PeerBack(peer)
	}
}

// fed records that such a connection has ended. When the last one ends, that is a hint
// that the peer has ended too: those of a killed process close at once.
func (d *door) fed(peer raft.NodeID) {
	n := d.node
	d.mu.Lock()
	d.feeds[peer]--
	last := d.feeds[peer] == 0
	if last {
		delete(d.feeds, peer)
	}
	// The loop is told without the lock: it may be busy, and others want to connect.
	d.mu.Unlock()
	switch loop := n.running(); {
	case loop == nil:
	case last:
		loop.PeerLost(peer)
	default:
		loop.ConnectionEnded(peer)
	}
}

// greet decides by the first bytes what protocol a connection speaks, and makes it say
// who it is. This is the only place that does: every door of this port begins here. The
// connection that it returns is used in the place of the one below.
func (d *door) greet(below net.Conn) (greeted, error) {
	n := d.node
	o, err := wire.ReadOpening(below)
	if err != nil {
		return greeted{}, err
	}
	speech := n.guard.speech()
	switch {
	case o.TLS() && speech == speaksPlain:
		return greeted{}, o.Refuse(below, tlsHere(n.name))
	case o.TLS():
		return d.greetTLS(below, o)
	case o.HTTP() && speech.takesPlain():
		return d.greetHTTP(web.Resume(below, o.Begun()), below, nil)
	case o.HTTP():
		return greeted{}, refuseHTTP(below, n.limits.linger)
	case !o.Ours():
		return greeted{}, o.Foreign(below.RemoteAddr())
	case !speech.takesPlain():
		return greeted{}, o.Refuse(below, plainHere(n.name))
	}
	g, err := o.ServerHello(below, d.hello(nil, nil, false))
	return greeted{conn: below, hello: g}, err
}

// bugAskedTooEarly is planted to show that its test finds it: a client is a guest that was asked for a certificate
// while there were none.
const bugAskedTooEarly = "guest for want of certificates"

// greetTLS is greet for a connection that begins with TLS: what is inside decides again.
func (d *door) greetTLS(below net.Conn, o *wire.Opening) (greeted, error) {
	n := d.node
	certified := n.guard.certified()
	conn, inner, err := o.TLSServer(below, n.guard.holder.Naming(n.guard.server), n.guard.gate)
	if err != nil {
		return greeted{}, err
	}
	if inner.HTTP() {
		conn.BoundWrites(n.limits.web.WriteTime)
		if begun := inner.Begun(); len(begun) > 0 {
			return d.greetHTTP(web.Resume(conn.Conn, begun), below, conn)
		}
		return d.greetHTTP(conn.Conn, below, conn)
	}
	if !inner.Ours() {
		return greeted{}, inner.Foreign(below.RemoteAddr())
	}
	chain := conn.ConnectionState().PeerCertificates
	peer, shown := n.guard.verify(chain, 0, "")
	if shown == nil {
		conn.Peer = peer
	}
	g, err := inner.ServerHello(conn, d.hello(chain, shown, certified || bug(bugAskedTooEarly) && n.guard.certified()))
	if err == nil && g.Sender() != wire.SenderGuest {
		conn.LetIn()
	}
	return greeted{conn: conn, hello: g}, err
}

// hello is what this node says of itself to a host that dials it, which has shown a chain of
// certificates. shown is why they prove nothing, if they don't. certified reports whether this node had a certificate
// of its cluster when it asked for them.
func (d *door) hello(chain []*x509.Certificate, shown error, certified bool) wire.AcceptConfig {
	n := d.node
	id := n.self()
	if waiting(&id) {
		// It belongs to no cluster until one has taken it in. Which one it asks is told in
		// the answer to an invitation, and what stands in the way of another.
		id.ClusterID = 0
	}
	c := wire.AcceptConfig{
		Cluster: id.Cluster, ClusterID: id.ClusterID, Node: id.Node, Start: id.Life().Number, Advertise: n.addr,
		Level: n.limits.level, ValueMax: uint32(n.cfg.ValueMax), WindowMax: shardmap.SessionWindowMax,
		Secret: n.guard.secretNow(),
		Admit: func(g *wire.Greeting) error {
			if e := n.guard.admit(d, g, chain, shown, certified); e != nil {
				return e
			}
			return d.admit(g)
		},
	}
	if t := n.table.Load(); t != nil && t.Founded() {
		c.ValueMax, c.ClusterLevel = uint32(t.ValueMax), t.Level
	}
	return c
}

// admit has the last word on a hello. A peer must be a member.
func (d *door) admit(g *wire.Greeting) error {
	n, h := d.node, &g.Hello
	if h.Role == wire.RoleClient || g.Standing == wire.SenderGuest {
		return nil
	}
	// Until the table is read, nobody is refused for its level: the cluster's may be
	// below that of this build.
	if t := n.table.Load(); t != nil && h.Level < t.Level {
		return wire.Behind(h.Node, h.Advertise, h.Level, t.Level)
	}
	switch h.Role {
	case wire.RoleFounding:
		return n.enrolment.admit(h)
	case wire.RoleInviting, wire.RoleJoining:
		return nil // who may join is said in the answer to what it sends
	}
	id := n.self()
	if h.Node == id.Node {
		return wire.UnknownNode(h.Node, "it has this node's own id", "give each node a data directory of its own; do not copy one")
	}
	if id.Stage == logstore.StageFounding || waiting(&id) {
		// It can't be told from a stranger yet, and what it says as a peer
		// would be dropped. It comes back in a moment.
		return wire.NotReady("node "+n.name, "it does not know yet who its peers are", "try again when it is in the cluster", foundingPause)
	}
	// By the table: the founders in the identity may have been removed since.
	if e := n.turnedAway(h, n.inquiry.peers()); e != nil {
		return e
	}
	// Which start of it this is proves nothing, and is not compared here. Whether its
	// messages count is settled between the hosts, with a note on disk (repl/lives.go).
	d.mu.Lock()
	d.met[h.Node] = met{start: h.Start, addr: h.Advertise}
	d.mu.Unlock()
	// It may have moved, and can tell the cluster so only through a leader that
	// finds it. So it is looked for where it says that it is, unless it answers where
	// it was. While this node does not dial others yet, met is enough: [Node.follow]
	// finds the address there.
	if p := n.attesting.peers.Load(); p != nil {
		p.Claim(h.Node, h.Advertise)
	}
	return nil
}
