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
// what an earlier leader noted comes before what it decides by. Two leaders that do one errand at a
// time, because one has not heard yet that it leads no more, do no harm: a key is deleted once, and
// of two files each is whole under its own name.
//
// # Duties of the owner of a Core
//
//  1. Say whether the meta group is led here ([Core.Lead]), with an entry of this term applied, and
//     hand in each new table ([Core.Table]).
//  2. Call [Core.Turn] after each of these calls, and at the latest at the time that it returned.
//  3. Carry out the actions in any order. A Start goes on until it has ended by itself or by a Stop,
//     and ends with one [Core.Ended] either way; before that [Core.Progress] may say how far it is. A
//     Propose has no answer: it is made again where the table does not change.
//  4. A file has the name of a Start only once it is whole, synced and verified. One that is not
//     does not outlive its Start.
//
// core.go has the calls and the life of an errand, schedule.go when a backup is due, prune.go which files go.
// docs/decisions/0043-errands.md says why.
package errands
