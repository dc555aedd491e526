// Package system has the systems that are compared, from start to stop.
//
// All nodes of a system are processes on this machine, reached over loopback, with
// the settings that they ship with; what is set all the same stands where it is
// done. The package does not measure.
//
// muster.go, etcd.go, dragonboat.go, redis.go and pipeline.go have one system
// each; process.go what they share.
package system

import (
	"context"
	"time"

	"muster/docs/compare/load"
)

// System is one of those compared.
type System interface {
	// Name is how rows call it.
	Name() string
	// Start starts all nodes with empty data under dir, and returns once
	// they serve.
	Start(dir string) error
	// Stop ends all nodes that run, by SIGKILL.
	Stop()
	// Processes are the process ids of the nodes that run.
	Processes() []int
	// Open opens what so many callers share for a closed loop.
	Open(callers int) (Client, error)
}

// Client is what callers of a loop ask.
type Client interface {
	load.Asker
	Close()
}

// Cluster is a system that goes on when a node dies.
type Cluster interface {
	System
	// OpenForFailover opens what so many callers share while nodes die: it
	// knows all nodes and finds the one that leads.
	OpenForFailover(callers int) (Client, error)
	// Leader is the number of the node that leads, or that leads the group
	// of key 0.
	Leader() (int, error)
	// Kill ends a node by SIGKILL.
	Kill(node int)
	// Restart starts a node that was killed, and returns once it serves.
	Restart(node int) error
}

// Restartable is a system that keeps its data over a restart of all nodes.
type Restartable interface {
	System
	// RestartAll starts all nodes, which were stopped, on the data that they
	// had, and returns how long it took until every one of them served.
	RestartAll() (time.Duration, error)
}

// callersPerConnection and connectionsMax say how many connections a client
// opens to a node. Of its own accord muster's client puts 256 requests on one
// connection before it uses the next.
const (
	callersPerConnection = 8
	connectionsMax       = 16
)

func connections(callers int) int {
	return max(1, min(callers/callersPerConnection, connectionsMax))
}

// limited is a context for one try; without a limit it has no timer, which would
// be charged to the client.
func limited(try time.Duration) (context.Context, context.CancelFunc) {
	if try == 0 {
		return context.Background(), func() {}
	}
	return context.WithTimeout(context.Background(), try)
}

// Limits of waiting for a system.
const (
	startMax  = 60 * time.Second // from the start of a process until it serves
	askEach   = 2 * time.Millisecond
	lookupMax = 5 * time.Second // for one question during a wait
)
