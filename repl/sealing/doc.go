// Package sealing decides when heads of points become files, on one node.
//
// A head is the points of a shard in memory that no file has yet. A seal, which is an entry of the group's log, freezes it;
// each replica makes the same file of the frozen head and of the newest older files of the shard, and the group
// confirms the file by its sum. The core also decides which files are merged, made, fetched from other nodes and removed, when
// a snapshot may list them, and when leaders take no more points.
//
// It does none of it: it starts no goroutine, sends nothing, opens no file, and knows no clock. It never looks into a file.
//
// # The life of a file
//
//	head ──seal──> frozen ──made here, durable──> known ──sealed──> confirmed ──a later seal──> replaced ──> removed
//
// The leader proposes the seal, and, once its own file is durable, the command that confirms it. Both change nothing a second
// time, so a leader repeats what may be lost. A shard has one seal at a time that is not confirmed: of a second one the
// newest files would be those that the first one replaces.
//
// A replica lets go of a frozen head when the confirmed file is on its own disk. Until then its points are in
// memory, and in the log, which no snapshot may cut off ([Core.Settled]). So a crash between any two steps leaves the frozen
// head or the file: a restart replays the log from a snapshot all of whose files are here.
//
// A replica that can't make a file fetches it: its state came by a snapshot, or a file that it is made of is lost. A replica
// that makes another file than the group has confirmed has a wrong state ([Wrong]).
//
// A file goes when neither the state nor a snapshot lists it, no frozen head needs it, and no file of the group is being
// made: one that is made may have the sum of one that was replaced, since equal points make equal files.
//
// # Duties of the owner of a Core
//
//  1. Hand in each replica that begins by [Core.Group], [Core.Shards], [Core.Disk] and [Core.Snapshots], and changes of it by
//     [Core.Group], [Core.Shard], [Core.Dropped] and [Core.Lost]; after a snapshot has replaced its state, [Core.Shards] again.
//     [Core.Removed] ends it; what is begun for it ends as ever, and touches nothing of a later replica of the group.
//  2. Hand in by [Core.Snapshots] what a snapshot lists before it is begun, written or received, and take no file off that
//     list before the snapshot is removed, durably. Write one only if [Core.Settled] reports true of the state that it is of.
//  3. Call [Core.Turn] after any of these, and at the latest at the time that it returned. Several changes may share a
//     Turn; more than ten a second gain nothing.
//  4. Change nothing that was handed in. Carry out the actions of a Turn in their order; tasks go on beside the rest. Each
//     task ends with one [Core.Ended]. A file is named and synced, with its directory, before a Make or Fetch ends well,
//     and a file that is there under the name already will do. A file that is removed may stay readable for those that
//     read it. Pace what a Make writes, so that the log's syncs do not wait for it. If it finds an older file damaged, say
//     so by [Core.Lost] before it ends.
//  5. A Propose has no answer, and is lost where the group is not led any more.
//  6. After a Release, reads of the frozen head go to the file. Until then, of a confirmed head, reads go to it and to
//     its older files in place of the file, as before it was confirmed.
//  7. While [Core.Refuses] reports true, refuse points as busy. While [Core.Pauses] does, apply no entry, but for a
//     replica that has been elected. Tell the nodes of the other replicas what [Core.Presses] reports.
//
// core.go has the calls, view.go what is handed in, seal.go when a head is sealed and with which files, files.go what becomes of
// files. docs/decisions/0048-sealing.md says why.
package sealing
