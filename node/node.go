// Package node is one muster process.
//
// It opens the data directory, founds or finds the cluster, listens, and
// brings requests to the replicas that answer them. It decides nothing about
// order (raft), meaning (shardmap), keeping (logstore) or replication (repl).
//
// # Goroutines
//
//	name               how many                     owner  ends when
//	live               1                            run    the node has stopped, or the process
//	Node.accept        1                            Node   the listener closes
//	Node.attend        1 per accepted connection    Node   the connection ends
//	connection.write   1 per accepted connection    Node   the connection ends
//	Node.lister        listersMax                   Node   Node.close
//	Node.announceSelf  1                            Node   Node.close
//	Node.scrub         1                            Node   Node.close
//	besides            restorersMax, at the start   Node   all replicas are restored
//	Node.poll          1 per host while founding    Node   the founding ends
//
// and those of package repl.
//
// # Start reading
//
// run.go has the life of a node, found.go its first minute, router.go the way
// of a request.
package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"muster/logstore"
	"muster/raft"
	"muster/repl"
	"muster/repl/wire"
	"muster/shardmap"
)

const (
	// tick is the length of a tick of raft.
	tick           = 50 * time.Millisecond
	electionTicks  = raft.ElectionTicksDefault
	heartbeatTicks = raft.HeartbeatTicksDefault
	// quietTicks is after how many ticks without anything to do a group
	// rests: longer than a client that goes on takes to come back.
	quietTicks = 20
	// readQueueMax bounds the pages of listings, and the long gets, that wait
	// to be read.
	readQueueMax = 256
	// readQueueShare bounds those of one connection, so that others find
	// room. As many of the shortest long answers are what one connection may
	// have in flight.
	readQueueShare = 64
	// startedRetry is when who asked too soon after a start should come back.
	startedRetry = 200 * time.Millisecond
	// aliveWithin is how long ago a node must have been heard of to count
	// as alive: an election timeout.
	aliveWithin = electionTicks * tick
)

// Node is one process of a cluster.
type Node struct {
	// Set once.
	cfg       Config
	secret    []byte
	log       *slog.Logger
	fs        *diskWatch
	lock      io.Closer // of the data directory
	mark      uint64    // of this life; random
	addr      string    // by which others reach this node
	name      string
	started   time.Time
	counters  wire.Counters
	limits    limits
	notices   notices // about what strangers do
	attesting attesting
	reads     chan func()     // from queries, to listers; never closed
	tables    chan struct{}   // one token: there is a new table. From who applies, to announceSelf; never closed
	ctx       context.Context // ends when the node does
	cancel    context.CancelFunc
	ended     sync.WaitGroup
	listener  net.Listener

	table   atomic.Pointer[shardmap.Table] // nil before the meta group's log was read
	serving atomic.Pointer[repl.Loop]      // nil until founded
	inbox   atomic.Pointer[repl.Inbox]     // of snapshots; nil until founded
	held    atomic.Int64                   // bytes in flight of all connections: the sum of their inflight

	clientArrivals, peerArrivals arrivals // what frames take that have not arrived whole

	mu       sync.Mutex
	identity logstore.Identity        // guarded by mu
	found    *founding                // guarded by mu; nil once this node is a member
	conns    map[net.Conn]*connection // guarded by mu; nil during the hello
	seats    seats                    // guarded by mu: who of each kind is connected
	met      map[raft.NodeID]met      // guarded by mu: what peers said of themselves in their last hello
	feeds    map[raft.NodeID]int      // guarded by mu: connections over which each node's cores speak to ours

	// Owned by run, which sets transport under mu.
	store     *logstore.Store
	host      *repl.Host
	transport *repl.Peers
}

// met is what a peer said of itself when it dialled.
type met struct {
	start uint64
	addr  string
}

// running returns the loop once the node is a member and serves.
func (n *Node) running() *repl.Loop { return n.serving.Load() }

// seed returns where the checksums of a group's entries begin.
func (n *Node) seed(g raft.GroupID, inc raft.Incarnation) (raft.Seed, bool) {
	return raft.EntrySeed(g, inc), true
}

// self returns this node's identity as it is on disk.
func (n *Node) self() logstore.Identity {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.identity
}

// notReady says why this node answers nothing about keys yet.
func (n *Node) notReady() *wire.Error {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.found != nil:
		return n.found.notReady("node " + n.name)
	}
	if s, stalled := n.fs.stalled(); stalled {
		return wire.NotReady("node "+n.name, "its disk stands still: "+s.String(), stallRemedy, startedRetry)
	}
	return wire.NotReady("node "+n.name, "group 0 has not told this node its slot table yet", "wait until a majority of the cluster's nodes run", startedRetry)
}

// dial connects to another host and says hello, if it is reached under addr by
// its own word. to is the node that is meant; 0: whichever is there, which only
// those who found a cluster can't know yet.
func (n *Node) dial(ctx context.Context, to raft.NodeID, addr string, purpose wire.Purpose, role wire.Role) (net.Conn, *wire.Greeting, error) {
	id := n.self()
	d := net.Dialer{Timeout: dialTimeout}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, nil, err
	}
	defer closeWith(ctx, conn)()
	c := wire.DialConfig{
		To: to, ToAddr: addr,
		Purpose: purpose, Role: role, Cluster: n.cfg.Cluster, ClusterID: id.ClusterID,
		Node: id.Node, Start: id.Life().Number, Advertise: n.addr, Level: n.limits.level, Secret: n.secret,
	}
	if role == wire.RolePeer {
		conn = n.attesting.dialling(conn, &c)
	}
	g, err := wire.ClientHello(conn, c)
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	return conn, g, nil
}

// closeWith closes a connection when ctx ends, so that a host that says nothing
// does not hold up the end of this node. The function that it returns calls
// that off.
func closeWith(ctx context.Context, conn net.Conn) (off func() bool) {
	return context.AfterFunc(ctx, func() { conn.Close() })
}

// dialPeer connects to a node on behalf of the transport.
func (n *Node) dialPeer(ctx context.Context, id raft.NodeID, addr string) (net.Conn, error) {
	return n.dialNode(ctx, id, addr, wire.PurposePeer)
}

// dialNode connects to a member.
func (n *Node) dialNode(ctx context.Context, id raft.NodeID, addr string, purpose wire.Purpose) (net.Conn, error) {
	conn, _, err := n.dial(ctx, id, addr, purpose, wire.RolePeer)
	return conn, err
}

var errStopped = errors.New("the node stops")

// call asks another host, node to if that is known, one thing over a connection
// of its own.
func (n *Node) call(ctx context.Context, to raft.NodeID, addr string, role wire.Role, t wire.Type, body, answer wire.Body) error {
	conn, g, err := n.dial(ctx, to, addr, wire.PurposePeer, role)
	if err != nil {
		return err
	}
	defer conn.Close()
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
	if h.Type == wire.TypeError {
		e := new(wire.Error)
		if err := e.Read(got); err != nil {
			return err
		}
		return e
	}
	if h.Type.Question() != t {
		return fmt.Errorf("%s answers %s with %s", addr, t, h.Type)
	}
	return answer.Read(got)
}

// listersMax is how many pages of listings are read at once.
func listersMax() int { return max(2, runtime.GOMAXPROCS(0)/2) }
