// Package repl keeps the replicas of one node in step with those of the others.
//
// It owns the node's part of each Raft group: it feeds the pure cores of
// package raft with what arrives, gathers what they want written into one
// batch for the node's one log, sends their messages, applies what is
// committed, then answers. It knows nothing of keys and slots: a [StateMachine]
// gives commands their meaning. It opens no listener: the owner of a connection
// hands in what arrived over it.
//
// [Host] is the synchronous core: events in, actions out, no goroutine, no
// clock of its own. [Loop] is the goroutine around it. [Peers] carries messages
// to other nodes over TCP.
//
// A host is its groups and some more parts, each with its own fields:
// [Contacts] of other nodes, [Hints] that they have ended, heartbeats, fullness
// of disks, lives, replicas that come and go (placing), that are mended
// (mending), appends read from the log (fetching), and work beside the loop
// (chores). A group has its commands
// (commandQueue), its reads (readQueue), its snapshots, and whether it rests
// (resting).
//
// # Goroutines
//
//	name          how many         owner   ends when
//	Loop.run      1                Loop    Loop.Close
//	Loop.writeLog 1                Loop    Loop.run has ended
//	Loop.work     1                Loop    Loop.run has ended
//	ticker.ring   1, on Linux      Loop    Loop.run has ended (kernelTicker.ring)
//	peer.run      1 per other node Peers   Peers.Close, or the node is no longer known
//	peer.renew    1 per other node Peers   as peer.run
//	peer.listen   1 per connection peer    its connection closes
//	peer.retire   1 per connection peer    the connection that was replaced has ended
//	peer.send…    1 per other node Peers   no snapshot waits for the node (peer.sendSnapshots)
//
// # Start reading
//
// host.go has the life of an event, proposal.go and group.go that of a command,
// read.go that of a read, place.go how replicas come and go, mend.go how a damaged
// replica is mended, contact.go what is known of other nodes. A
// snapshot becomes due in snapshot_policy.go, is written by work.go, leaves by
// sender.go, arrives in inbox.go, and takes effect in snapshot.go; restore.go is
// the start.
package repl
