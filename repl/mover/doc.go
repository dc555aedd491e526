// Package mover carries out what the table asks for, one step of a group at a time.
//
// It has two cores. [Core] acts where the meta group is led: it changes groups' replicas,
// begins the moves of slots, and ends jobs. [Carrier] acts on each node, and carries slots
// from the groups that are led there to others.
//
// Neither owns state that lasts. What shall be stands in the table of the meta group, and
// what is in each group's own log; the mover looks at both, has shardmap/plan say what is
// missing, asks for the first step of each group, and looks again. Each thing that it
// asks for names what it was decided by (the membership that a change is for, the entry
// that a row was read from, the number of a move), so that the same thing asked for twice
// happens once. A new leader, of the meta group or of a slot's group, therefore continues
// where the last one stopped, at any step.
//
// It starts no goroutine, sends nothing, and knows neither clock nor disk: see
// node/mover.go and node/carrier.go, which drive it in a node, and repl/sim, which drives it
// in virtual time.
//
// # Duties of the owner of a Core
//
//  1. Say whether the meta group is led here ([Core.Lead]), with an entry of this term
//     applied: before that the table here may be an old one. Hand in each new table
//     ([Core.Table]).
//  2. Say when each other node was last heard of ([Core.Heard]), then call [Core.Turn]:
//     after each of these calls, when a node falls silent or comes back, and at the
//     latest at the time that Turn returned.
//  3. Carry out the actions in any order. Each ends with one [Core.Ended]; an Ask that
//     was answered has its [Core.Report] before that, and a View its [Core.Viewed]. What
//     never ends counts as failed after a while, so a lost answer does no harm, and neither
//     does one that comes twice or late.
//
// [Carrier] lists those of its owner.
//
// # Where to look
//
// core.go has the calls, look.go what is known of groups and when it is asked for, view.go
// the moment that a decision is made for, decide.go the decision, joblife.go the beginning
// and end of jobs, groupjob.go what a person does to one group, slotjob.go the jobs that move
// slots, preview.go what is shown before. docs/decisions/0016-mover.md says why.
//
// Of the carrier, next.go has what may be proposed, carrier.go the calls, carry.go one slot's
// move and when it takes which step, stream.go the passes of one slot, errand.go steps of
// many slots, haul.go chunks and how much of them at a time, trip.go what is under way,
// sweep.go what others have left behind.
// docs/decisions/0020-carrier.md says why.
package mover
