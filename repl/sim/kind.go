package sim

import (
	"fmt"
	"strings"
)

// opKind says what an operation of a client is, for the counts of a run.
type opKind uint8

const (
	opSet           opKind = iota // writes without a condition
	opDel                         //
	opCheck                       // changes nothing
	opConditions                  // sets if a key is absent, or at a version
	opTxn                         // a transaction on the keys of a cell
	opDelPrefix                   // of the keys of a cell, or of one of them
	opIncr                        // adds to a number
	opIfValue                     // a set if the key has a value
	opTTL                         // a set of a key that ends
	opAttach                      // a set of a key that ends with a lease
	opGrant                       // of a lease
	opKeepalive                   //
	opRevoke                      //
	opLeases                      // a listing of them
	opSum                         // of two accounts: a transfer, or a get of both
	opGet                         // linearizable, from the leader
	opFollower                    // linearizable, from any replica
	opBounded                     // at most so old, from any replica
	opLocal                       // of a node's own copy
	opPage                        // of a listing
	opStream                      // of a listing
	opBackup                      // of a group
	opWatch                       // a stream of a watch
	opSlotView                    // a question of a watch
	opServiceSet                  // of a service; so are those that follow
	opServiceDel                  //
	opServiceRemove               // of one instance
	opMaintain                    // takes an instance out, or back
	opServices                    // a listing of them, or one
	opHeartbeat                   // of an instance that reports itself
	opPoints                      // brings points to a shard
	opPointsDelete                // takes points away from shards
	opPointsAsk                   // asks a shard for what it has

	opKinds
)

var opNames = [opKinds]string{opSet: "set", opDel: "del", opCheck: "check", opConditions: "conditional", opTxn: "txn", opDelPrefix: "del prefix", opIncr: "incr", opIfValue: "if value", opTTL: "ttl", opAttach: "attach", opGrant: "grant", opKeepalive: "keepalive", opRevoke: "revoke", opLeases: "leases", opSum: "sum",
	opGet: "get", opFollower: "follower get", opBounded: "bounded get", opLocal: "local get", opPage: "page", opStream: "stream", opBackup: "backup", opWatch: "watch", opSlotView: "slot view",
	opServiceSet: "service set", opServiceDel: "service del", opServiceRemove: "service remove", opMaintain: "maintain", opServices: "services", opHeartbeat: "heartbeat",
	opPoints: "points", opPointsDelete: "delete points", opPointsAsk: "ask a shard"}

func (k opKind) String() string { return opNames[k] }

// Counts are the operations of a run that ended, by kind.
type Counts [opKinds]int

// Add adds the counts of another run.
func (k *Counts) Add(o *Counts) {
	for i := range k {
		k[i] += o[i]
	}
}

// Total is the number of all operations.
func (k *Counts) Total() (n int) {
	for _, m := range k {
		n += m
	}
	return n
}

// Missing names the kinds of which there was none.
func (k *Counts) Missing() []string {
	var names []string
	for i := range k {
		if k[i] == 0 {
			names = append(names, opKind(i).String())
		}
	}
	return names
}

func (k *Counts) String() string {
	var parts []string
	for i := range k {
		parts = append(parts, fmt.Sprintf("%s=%d", opKind(i), k[i]))
	}
	return strings.Join(parts, " ")
}
