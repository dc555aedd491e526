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
//     [Store.Replicas] and all about snapshots may run beside it.
//     [Store.Restore] is for the time before the replica's first Append.
//  2. Hand in a group's Readies in order, each once. Once Append has returned
//     nil they are durable; only then may the messages that promise them leave.
//  3. When Append returns an error, stop: nothing further is kept.
//  4. When there was nothing to append for 20 ms, call Idle. It records that
//     all before is durable, so that damage there can't be taken for a write
//     that was never finished.
//
// # Parts
//
// A [Store] is put together from parts; newStore shows which knows which. Each
// answers one question, has fields of its own, and belongs to the goroutine of
// Append unless it says otherwise.
//
//	index      index.go, take.go      what stands where: segments, runs of entries, terms, bases, notes
//	writer     put.go, batch.go       makes records of what is handed in, and writes and syncs batches of them
//	room       space.go, prepare.go,  makes segments, uses them again, and says how much may be written
//	           reserve.go
//	reclaimer  reclaim.go             moves what is still needed out of the oldest segment, and frees it
//	headroom   headroom.go            keeps room on the disk for a snapshot, the identity and fences
//	faults     faults.go, refused.go  what is damaged, and what the disk refuses, as found beside Append
//	reader     read.go                reads entries, from any goroutine
//	logScrub   scrub.go               reads slowly what nobody has read for long
//	snapshots  snapshot.go            the files of the states, from any goroutine
//	fences     fence.go               which replicas are fenced, from any goroutine
//	aside      aside.go               wrong states that are kept for a person, from any goroutine
//	home       life.go, witness.go,   the identity while a life lasts, and what shows that the directory is the newest
//	           older_log.go, stopped.go
//	halt       halt.go                why nothing more is written
//	recovery   recover.go, resync.go  a start: reads the log, tells torn from damaged, and builds the parts
//
// Locks are taken in this order: home.mu, fences.writing or aside.mu, index.mu, then
// faults.mu, snapshots.mu, fences.mu, headroom.mu or room.mu, and figures.mu last. Only
// home.mu, fences.writing, aside.mu and headroom.mu are held over operations of the disk.
//
// # Where to look
//
// record.go draws what is in a segment, segment.go its header, directory.go what a
// batch says of those before it. append.go is where a write begins. decode.go
// understands a record, damage.go describes what is lost, takeback.go finds it again
// where somebody put it back. identity.go keeps which node this is, note.go what it
// knows of the others. walk.go visits all that is in the files, for tools.
// snapshot_format.go draws the snapshot, behind which the log can be cut off;
// snapshot_write.go, snapshot_receive.go and snapshot_read.go are its ways in and out.
// docs/storage.md walks through dumps.
package logstore
