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
//	door.accept        1                            Node   the listener closes
//	door.rechecks      1                            Node   Node.close
//	door.attend        1 per accepted connection    Node   the connection ends
//	door.receive       1 per connection in memory   Node   the connection ends
//	door.dismiss       1 per connection dismissed   Node   it has been told, or Node.close
//	web.Door.Run       1, and those of package web  Node   Node.close
//	envoys.run         1                            Node   Node.close
//	connection.write   1 per accepted connection    Node   the connection ends
//	Node.lister        listersMax                   Node   Node.close
//	querying.scan      scannersMax                  Node   Node.close
//	announcer.run      1                            Node   Node.close
//	Node.scrub         1                            Node   Node.close
//	moves.run          1                            Node   Node.close
//	moves.act          1 per action of the mover    Node   the action ends
//	errandRunner.run   1                            Node   Node.close
//	errandRunner.act   1 per action of its core     Node   the action ends, or Node.close
//	windowKeeper.run   1                            Node   Node.close
//	windowKeeper.act   1 per action of its core     Node   the action ends, or Node.close
//	sealer.run         1                            Node   Node.close
//	sealer.begin       1 per task of its core       Node   the task ends, or Node.close
//	hintKeeper.run     1                            Node   Node.close
//	hintKeeper.await   hintWaitersMax at most       Node   the request is answered
//	hintKeeper.beside  ProposedMax and BuriedMax    Node   the action ends, or Node.close
//	                   of package hinting at most
//	shelf.try          1, at the start              Node   the disk of the backups has answered
//	shelf.readWhole    1 per file that is read      Node   the file was read, or Node.close
//	incidents.run      1                            Node   Node.close
//	trailing.run       1                            Node   Node.close
//	incidents.act      1 at most                    Node   the meta group has answered, or callTimeout
//	authority.run      1                            Node   Node.close
//	authority.act      1 per action of the notary   Node   the action ends
//	resets.run         1                            Node   Node.close
//	carrying.run       1                            Node   Node.close
//	assigning.run      1                            Node   Node.close
//	hooks.tell         health.HooksMax at most      Node   the webhook has answered, hookMax, or Node.close
//	dividing.run       1                            Node   Node.close
//	checking.run       1                            Node   Node.close
//	checking.work      health.ProbesMax at most     Node   Node.close
//	watching.run       1                            Node   Node.close
//	laws.run           1                            Node   Node.close
//	appeals.run        1                            Node   Node.close
//	appeals.current    1 at most                    Node   the meta group has answered, or callTimeout
//	way.run            1 per node, of each ways     Node   the connection was silent, or Node.close
//	way.read           1 per node, of each ways     run    the connection ends
//	besides            restorersMax, at the start   Node   all replicas are restored
//	enrolment.poll     1 per host while founding    Node   the founding ends
//	inquiry.run        1                            Node   Node.close
//	recruiter.beside   recruitsMax at most          Node   the request is answered
//	logins.login       login.AtOnce at most         Node   the request is answered
//	recruiter.add      1 per host of an AddNodes    beside the host is on its way, or refused
//
// and those of package repl.
//
// # Start reading
//
// run.go has the life of a node, enrolment.go and found.go its first minute,
// accept.go who is connected to it, handlers.go what it does with each frame, and
// router.go the way of a request.
package node

import (
	"context"
	"errors"
	"io"
	"log/slog"
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
	// quietTicks is after how many ticks without anything to do a group rests:
	// longer than the pause between two requests of a busy client.
	quietTicks = 20
	// readQueueMax bounds the pages of listings, and the long gets, that wait
	// to be read.
	readQueueMax = 256
	// readQueueShare bounds those of one connection, so that others find room. It
	// is how many of the shortest long answers one connection may have in flight.
	readQueueShare = 64
	// startedRetry is after how long a client that asked too soon after a start
	// should come back.
	startedRetry = 200 * time.Millisecond
	// aliveWithin is how long ago a node must have been heard of to count
	// as alive: an election timeout.
	aliveWithin = electionTicks * tick
	// speaksWithin is how long ago a node must have been heard of to say that it
	// speaks though a replica of it does not: its leader has not heard that one for
	// an election timeout, and a node that has died was heard of little later.
	speaksWithin = aliveWithin / 2
)

// Node is one process of a cluster.
type Node struct {
	// Set once.
	cfg      Config
	log      *slog.Logger
	fs       *diskWatch
	lock     io.Closer // of the data directory
	mark     uint64    // of this life; random
	addr     string    // by which others reach this node
	name     string
	started  time.Time
	counters wire.Counters
	limits   limits
	notices  notices         // lines about what strangers do
	reads    chan func()     // from queries, to listers; never closed
	ctx      context.Context // ends when the node does
	cancel   context.CancelFunc
	ended    sync.WaitGroup

	enrolment enrolment // its identity, and its way into the cluster
	door      *door     // who is connected to it
	caller    *caller   // how it reaches others
	attesting attesting // which connections count as a member's
	saying              // what it has the table say of it
	orders    orders    // what people order of the meta group
	recruiter recruiter // hosts on their way into the cluster
	inquiry   inquiry   // what others know of the cluster
	moves     moves     // what it does for the cluster while it leads the meta group
	leading             // what it does where it leads groups
	gateways            // what clients have of it beside answers to requests

	table      atomic.Pointer[shardmap.Table] // nil before the meta group's log was read
	jobs       jobWatch
	heard      atomic.Pointer[shardmap.Table] // another node's, that was newer than this one's; nil if there was none
	removed    chan error                     // from leave, to live, once: the cluster has removed this node. Never closed
	serving    atomic.Pointer[repl.Loop]      // nil until founded
	inbox      atomic.Pointer[repl.Inbox]     // of snapshots; nil until founded
	pointFiles                                // the block files of its groups
	held       atomic.Int64                   // bytes in flight of all connections: the sum of their inflight

	arriving arriving // what frames take that have not arrived whole

	guarding // how it keeps out who does not belong, and what it asks of others

	report *report // what it tells of itself; set before serving

	// Owned by run.
	store     *logstore.Store
	host      *repl.Host
	transport *repl.Peers
}

// gateways are the streams of clients, and how points come into the cluster, and out.
type gateways struct {
	watching watching    // the streams of clients, and what feeds them
	querying querying    // the queries that run here, and the parts of those of others
	writes   pointWrites // what brings points to their groups
}

// leading is what a node does for the groups that it leads, and for others where they lead.
type leading struct {
	carrying  carrying     // slots that move from its groups
	assigning assigning    // the services of its groups
	errands   errandRunner // what it does itself while it leads the meta group
	keeping   windowKeeper // of the windows of time series, while it leads the meta group
	sealer    sealer       // of the points of all its groups
	hinting   hintKeeper   // points that groups could not take when they came
	shelf     shelf        // the backups that it has
	dividing  dividing     // what its groups have of prefixes with a limit, and how limits are divided where it leads the meta group
	checking  checking     // what it looks at for all who lead groups with services
	comparing comparing    // how many ask whether the replicas of its groups agree
}

// guarding is what a node has for the security of the cluster.
type guarding struct {
	guard   guard     // how its connections are protected
	company company   // what its company's CA has given it
	laws    laws      // what users may do
	appeals appeals   // what they were refused by a table that may be behind
	notary  authority // which certificates there are
	resets  resets    // what whoever owns the directory asks for
	logins  logins    // who has which password
	trail   trailing  // what was asked of it, and refused
}

// self returns this node's identity as it is on disk.
func (n *Node) self() logstore.Identity { return n.enrolment.self() }

// running returns the loop once the node is a member and serves.
func (n *Node) running() *repl.Loop { return n.serving.Load() }

// seed returns where the checksums of a group's entries begin.
func (n *Node) seed(g raft.GroupID, inc raft.Incarnation) (raft.Seed, bool) {
	return raft.EntrySeed(g, inc), true
}

// notReady says why this node answers nothing about keys yet.
func (n *Node) notReady() *wire.Error {
	if e := n.enrolment.waits("node " + n.name); e != nil {
		return e
	}
	if s, stalled := n.fs.stalled(); stalled {
		return wire.NotReady("node "+n.name, "its disk stands still: "+s.String(), stallRemedy, startedRetry)
	}
	return wire.NotReady("node "+n.name, "group 0 has not told this node its slot table yet", "wait until a majority of the cluster's nodes run", startedRetry)
}

var errStopped = errors.New("the node stops")

// listersMax is how many pages of listings are read at once.
func listersMax() int { return max(2, runtime.GOMAXPROCS(0)/2) }
