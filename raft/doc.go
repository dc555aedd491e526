// Package raft decides the order of one group's commands.
//
// It holds the whole of the Raft protocol and nothing else: no goroutine, no
// clock, no file, no socket, no lock. The same calls in the same order give
// the same answers, always; chance comes from a seed in the [Config]. It does
// not know what a command means, where a replica's node can be reached, or how
// an entry is kept.
//
// Begin with [Group] and its duties below, or with the scripts in testdata, which
// tell the protocol message by message. A Group is the owner's side of a replica:
// calls in, Readies out (group.go, ready.go). The replica itself is the paper's state
// on all servers and what it does in every role: step.go, follower.go, candidate.go.
// A leader is what a replica has and does in addition while it leads: leader.go, with reads in
// read.go, changes of the membership in change.go, and handing over in transfer.go.
// What they are made of stands alone: the log (log.go), what a leader knows of the
// others (followers.go, progress.go), the memberships that may be in force
// (members.go), Readies that wait for their sync (syncs.go), what ends patience
// (timer.go, hint.go), how far a term may jump (reach.go). Groups at rest are in
// quiet.go, replicas that must not lead in fence.go, those started anew in resume.go,
// snapshots in snapshot.go. "The paper" is Ongaro and
// Ousterhout, "In Search of an Understandable Consensus Algorithm (Extended
// Version)", 2014; "the dissertation" is Ongaro, "Consensus: Bridging Theory
// and Practice", 2014. Their sections are named where an argument leans on one.
//
// # Duties of the owner
//
//  1. Hand in what arrived: [Group.Step] for a message, [Group.Propose] for
//     commands, [Group.ReadIndex] for a read, [Group.Tick] for a tick. One call
//     at a time.
//  2. While [Group.HasReady], take [Group.Ready]. Send Ready.Messages at once:
//     a leader's appends travel while its own disk is still busy.
//  3. Write Ready.State, if StateChanged, together with Ready.Entries, and sync
//     them if MustSync. Readies are written in the order of their numbers.
//     An entry whose index is not past the end of the log on disk truncates
//     the log from there.
//  4. Only then send Ready.AfterSync, which are promises, and call
//     [Group.Synced] with the Ready's number. One call may stand for many
//     Readies. A Ready with nothing to write has a number too and needs its
//     Synced; it is synced when those before it are.
//  5. Apply Ready.Committed in order and call [Group.Applied]. Entries, and the
//     slices that hold them, are shared with messages and with the Group:
//     never change them.
//  6. Fill a Message whose Fetch is set from the log on disk before it is sent;
//     drop it if [Group.LeadsIn] its term no longer holds once it was read.
//  7. Write Ready.Install, if there is one, before the entries of the same Ready:
//     the snapshot takes the place of the state machine and of the log. Answer
//     each of Ready.Snapshots by one [Group.SnapshotArrived] or
//     [Group.SnapshotLost]. A snapshot that came whole is handed in as a Message
//     with Install set.
//  8. Make a replica only when an applied membership names it, and with the zero
//     [Membership] in its [Restored] if it is not one of the founders: its log
//     will tell. Never bring back a replica that was removed, or that lost its
//     disk, under the same [ReplicaID].
//  9. With Config.QuietTicks, notice when the node of a quiet group's leader is
//     gone, and call [Group.LeaderLost]. From then on [Group.ShortTick] may be
//     called between ticks, for as long as it reports that more are of use.
//  10. When a call returns an error that wraps [ErrStopped], the replica has
//     failed for good: stop what belongs to the group and tell a person.
//
// More Readies may be taken before the first is synced.
package raft
