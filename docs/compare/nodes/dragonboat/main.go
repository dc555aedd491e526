// Command dragonboat is a server around the library dragonboat.
//
// It has one Raft group, the library's default log on the disk, and a map in
// memory as its state. It takes no snapshots, so it never has to stop for one.
// front.go is what its clients see.
package main

import (
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/logger"
	"github.com/lni/dragonboat/v4/statemachine"

	"muster/docs/compare/load"
)

// shard is the number of the one group.
const shard = 1

// Settings of the library. A tick is 0.1 s, so elections begin after 1 s, as in
// etcd.
const (
	tickMillis     = 100
	electionTicks  = 10
	heartbeatTicks = 1
)

func main() {
	node := flag.Int("node", 0, "number of this node, from 0, in the list of addresses")
	raft := flag.String("raft", "", "addresses of all nodes for each other, with commas between")
	front := flag.String("front", "", "address for clients")
	dir := flag.String("dir", "", "data directory")
	flag.Parse()
	err := serve(*node, strings.Split(*raft, ","), *front, *dir)
	fmt.Fprintln(os.Stderr, "dragonboat:", err)
	os.Exit(1)
}

// serve returns only with an error: a node ends by being killed.
func serve(node int, raft []string, front, dir string) error {
	for _, name := range []string{"config", "dragonboat", "logdb", "raft", "registry", "rsm", "settings", "transport"} {
		logger.GetLogger(name).SetLevel(logger.ERROR)
	}
	host, err := dragonboat.NewNodeHost(config.NodeHostConfig{
		NodeHostDir: dir, WALDir: dir, RTTMillisecond: tickMillis, RaftAddress: raft[node],
	})
	if err != nil {
		return err
	}
	members := map[uint64]dragonboat.Target{}
	for i, addr := range raft {
		members[replica(i)] = addr
	}
	err = host.StartReplica(members, false, newTable, config.Config{
		ShardID: shard, ReplicaID: replica(node), ElectionRTT: electionTicks, HeartbeatRTT: heartbeatTicks, CheckQuorum: true,
	})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", front)
	if err != nil {
		return err
	}
	f := &frontend{host: host, session: host.GetNoOPSession(shard)}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go f.serve(c)
	}
}

// replica is the library's number of a node; 0 would mean none.
func replica(node int) uint64 { return uint64(node + 1) }

// table is the state: a map. The library calls it from one goroutine at a time,
// except that Lookup may run beside Lookup.
type table struct{ values map[string][]byte }

func newTable(uint64, uint64) statemachine.IStateMachine {
	return &table{values: map[string][]byte{}}
}

// Update applies one put: the key, then the value.
func (t *table) Update(e statemachine.Entry) (statemachine.Result, error) {
	if len(e.Cmd) < load.KeyBytes {
		return statemachine.Result{}, fmt.Errorf("a command of %d bytes has no key", len(e.Cmd))
	}
	// The library uses the command's memory again.
	t.values[string(e.Cmd[:load.KeyBytes])] = append([]byte(nil), e.Cmd[load.KeyBytes:]...)
	return statemachine.Result{Value: 1}, nil
}

// Lookup returns the value of a key, nil where there is none.
func (t *table) Lookup(key any) (any, error) {
	return t.values[string(key.([]byte))], nil
}

var errNoSnapshots = fmt.Errorf("this state takes no snapshots")

// SaveSnapshot is never called: snapshots are off in the settings.
func (t *table) SaveSnapshot(io.Writer, statemachine.ISnapshotFileCollection, <-chan struct{}) error {
	return errNoSnapshots
}

// RecoverFromSnapshot is never called either.
func (t *table) RecoverFromSnapshot(io.Reader, []statemachine.SnapshotFile, <-chan struct{}) error {
	return errNoSnapshots
}

func (t *table) Close() error { return nil }
