// Package blocks keeps the block files of a node's groups.
//
// A block file holds sealed points and never changes; package muster/shardmap/points/block has its format, and its
// [block.Sum] is its name. All replicas of a group have the same files, so one that is damaged or missing here is
// fetched from another node, which this package doesn't do: it takes the bytes and serves them. It decides neither which
// points are sealed nor how long a file is needed, starts no goroutine, and reads no clock.
//
// # Duties of the owner
//
//  1. Call [Open] after the log was opened and before a group asks for a file. [Store.Remove] what [Store.List] and
//     [Store.PutAside] have of a group and its state does not name: after a crash there may be files that no entry came to
//     name.
//  2. Make files beside the loop that applies entries: [Store.Create] or [Store.Receive] wait for the disk. End each with
//     Commit or Abort, and all of a group before [Store.RemoveGroup].
//  3. After an error that wraps [logstore.ErrFull] there is no room, and nothing else is lost. After any other error of a
//     Writer or a Receiver that file is over: make another one. The Store never syncs a file again whose sync failed.
//     After one that wraps [ErrStopped], stop the node, as when the log can't write: nobody knows which names are durable.
//  4. Before a snapshot lists files: [Store.Missing] must return none of them.
//  5. Call [Store.Scrub] and [Store.LookAgain] at a pace of its own, each from one goroutine at a time. Fetch what
//     [Store.Damaged] and Missing list.
//  6. Close each [Reader], and hand the error of a cursor to [Reader.Found].
//
// # The directory
//
//	points/                            in the data directory
//	    g3-i2/                         a folder for each group and incarnation
//	        HEX.points                 a block file: 64 digits, its sum
//	        N.tmp                      an unfinished one; Open removes it
//	        NUMBER-HEX.damaged         one that was put aside: 16 digits, then its sum
//
// A file gets its name after all of it was synced and read back, and counts as here after the directory was synced: no
// crash leaves a name without its whole content. So a file that does not verify is damaged. It is renamed, and its name
// is free for the copy that another replica has. Until that copy is here the damaged one stays, for it may be the last
// ([Store.OpenAside]); of those that were replaced the newest [AsideMax] stay for a person, as long as nobody wants their
// room. Bytes that the disk refuses prove nothing, and their file stays: package logstore has the rule.
//
// # Locks
//
// naming is held over operations of the disk that change names; mu is taken under it, never held over an operation of
// the disk, and so is all that readers of other files and questions wait for.
//
// Start with store.go; write.go and receive.go are the ways in, read.go the way out, scrub.go and damage.go have what is
// found.
package blocks
