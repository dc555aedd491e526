// Package errands decides what the leader of the meta group does for the cluster as its client.
//
// An errand is a job of the table that no group and no node has to be changed for: a delete of all
// keys with a prefix, or a backup in a directory of the node. Whichever node leads the meta group does
// it, as a client of its own cluster. The core also knows when the schedule wants a backup, and which
// files of the nodes may go.
//
// It does none of it: it starts no goroutine, sends nothing, and knows neither clock nor disk.
// node/errands.go drives it.
//
// All that lasts is in the table: what is to be done, how far it is, and when the last good backup was
// begun. A new leader therefore continues a delete at the slot that was noted last, and begins a
// backup anew, under another name. Each node that leads acts on entries of its own term alone, so
// what an earlier leader noted comes before what it decides by. Two leaders may do one errand at a
// time, because one has not heard yet that it leads no more; of two backups each is whole under its own name.
//
// # A delete that comes late
//
// A leader that was paused, or cut off, sends its deletes when it wakes, and by then its successor may have
// finished the job and users may have written new keys under the prefix. Those must stay: nobody ordered
// their end. No command can be called back, so each carries a bound: it spares the keys of its slot with a
// greater version than the slot's last one at a moment which lies before the end of the job. Versions of a slot
// rise with each write, also when the slot moves, so this spares all that is written after that end, however
// late the command is carried out. The log, and no clock, shows that the moment lies before the end: the owner
// learns the versions first, and only then this core has a note put into the log that takes the job up. The
// table refuses notes of a job that has ended. Once the note is in the table the job was unfinished when the
// note took effect, and the versions are older than that ([Core.send]).
//
// A later leader learns versions of its own, so it may delete keys that were written while the job runs.
//
// # Duties of the owner of a Core
//
//  1. Say whether the meta group is led here ([Core.Lead]), with an entry of this term applied, and
//     hand in each new table ([Core.Table]).
//  2. Call [Core.Turn] after each of these calls, and at the latest at the time that it returned.
//  3. Carry out the actions in any order. The Start of a delete learns the last version of each slot,
//     linearizably and after the Start was given out, says so by [Core.Bounded], and deletes nothing before its
//     Send; then it deletes no key with a greater version. A Start goes on until it has ended by itself or by a Stop,
//     and ends with one [Core.Ended] either way; before that [Core.Progress] may say how far it is. A
//     Propose has no answer: it is made again where the table does not change.
//  4. A file has the name of a Start only once it is whole, synced and verified. One that is not
//     does not outlive its Start.
//
// core.go has the calls and the life of an errand, schedule.go when a backup is due, prune.go which files go.
// docs/decisions/0043-errands.md says why.
package errands
