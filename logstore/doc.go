// Package logstore keeps what a node's replicas have promised to remember.
//
// All replicas of a node share one log: one write and one sync serve every
// group that waits. It does not know what an entry means, who leads, or
// whether an entry is committed beyond what it is told; it starts no
// goroutine, reads no clock and never tries a failed sync again.
//
// # Duties of the owner
//
//  1. Call [BeginLife] after [Open], before anything is promised.
//     Call [Store.Append], [Store.Idle], [Store.Compact] and [Store.Close]
//     from one goroutine at a time. [Store.Read], [Store.Stats],
//     [Store.Replicas] and all about snapshots may run beside it. [Store.Restore] is for the time
//     before the replica's first Append.
//  2. Hand in a group's Readies in order, each once. What Append returned nil
//     for is durable; only then may the messages leave that promise it.
//  3. When Append returns an error, stop: nothing further is kept.
//  4. When there was nothing to append for 20 ms, call Idle. It records that
//     all before is durable, so that damage there can't be taken for a write
//     that was never finished.
//
// # Where to look
//
// record.go draws what is in a segment, segment.go its header and how it comes
// to be. append.go makes records of what is handed in, batch.go writes and
// syncs them. recover.go reads the log back and tells torn from damaged,
// resync.go goes on behind damage by what directory.go wrote, scrub.go looks for
// it, damage.go says what is lost,
// decode.go understands a record, reclaim.go frees old segments, index.go knows
// where entries are, read.go reads them, identity.go keeps who the node is, life.go
// how often and from where on it was started, note.go what it knows of the others.
// walk.go visits all that stands in the files, for those who look.
// snapshot_format.go draws what the log is cut off behind, snapshot.go keeps the
// list, and snapshot_write.go, snapshot_receive.go and snapshot_read.go are its
// ways in and out. docs/storage.md walks through dumps.
package logstore
