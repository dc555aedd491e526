// Package watch tells those who watch keys or services what becomes of them.
//
// The [Hub] of a node has all watches that its clients have opened at the groups of the node.
// A watch is a place in its group's history ([shardmap.History]), and never a queue: events
// that were not handed out yet are only there. The package does not decide where a
// watch may begin, nor what a client is sent when: repl/machine does. It reads no clock, takes
// no lock, and starts no goroutine.
//
// # Two ways of reading
//
// A watch that lags reads the history itself, a bounded number of bytes at a time, until it
// has come to where the hub is. From then on it is caught up: the hub reads each event once
// for all watches, and finds by slot and key those that it is for. So an event costs nothing for
// the watches of other keys, or of services. Watches of the same keys share one [subject], which
// remembers the places of its newest events, so that a watch that reads soon after looks at
// nothing else. A watch whose client was away for longer lags again.
//
// # Duties of the owner
//
//  1. Call [Hub.Group] when a replica begins to apply or has loaded a state, and when it goes.
//  2. Call [Hub.Advance] after entries were applied, and [Hub.Tick] about once a second.
//  3. Call the package from one goroutine at a time.
//  4. Call [Watcher.Next] after Watch, and after wake was called, when the client can be sent
//     something, until it returns [Nothing]. Wake must not call the hub.
//
// # Where to look
//
// hub.go has the groups, and reads their events; index.go finds the watches of a slot and key,
// ranges.go those of ranges of keys. watcher.go is one watch, piece.go makes what it hands out,
// rows.go writes each event once for all.
package watch
