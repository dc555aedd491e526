// Package rescue makes a cluster of what is left when a majority is gone for good.
//
// It works on data directories whose nodes are stopped: no goroutine, no network, no
// clock. It does not decide that nodes are gone for good; a person does.
//
//  1. [Inspect] reads one survivor's directory and changes nothing. Its [Report] says
//     how far the log of each group reaches there, and has the table.
//  2. [Make] takes the reports of all survivors. Its [Plan] says which groups are made
//     anew, from whose log, who is a member, and what may be lost.
//  3. [Apply] carries the plan out in one survivor's directory. It may be cut short at
//     any operation of the disk, and is then repeated.
//
// # Why it is safe
//
// A group of which a majority of the voters survives is kept as it is: it can elect a
// leader, and has lost nothing. Any other group begins anew, in a new incarnation, with
// the whole log of the survivor that would win an election among them: the one whose
// last log id is the highest. That log holds all that is committed in any of their logs.
// What stands behind it on the lost disks nobody can know.
//
// No second log can win. Of a data group only the chosen replica votes; the other
// survivors begin with nothing, are fed by it, and are promoted later, as any new replica
// is. Group 0 begins with the same state on all survivors, so several may vote there.
//
// No slot has two owners: one that was moving is served by nobody before it is clear whose
// it is.
//
// The survivors leave the old cluster for another, whose id is derived from the old one
// and the plan's. So a node that was taken for gone, and survivors with different plans,
// refuse each other at the hello.
//
// # Where to look
//
// report.go and plan.go have what is in the files, file.go how they are written, choose.go
// the rule by which a log is chosen, slots.go what becomes of slots that were moving,
// table.go what becomes of the table, state.go how a state is made from a log, and apply.go
// the order in which a directory is changed.
package rescue
