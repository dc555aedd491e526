// Package filer keeps the points of a node's replicas in block files, as the core of seals decides.
//
// It stands between the replicas, the core ([sealing.Core]) and the disk ([blocks.Store]): it shows the core what the replicas have,
// and carries out what the core decides. It starts no goroutine, knows no clock and dials nobody: its owner, a process or a
// simulation, has time and network.
//
// # Duties of the owner of a Filer
//
//  1. Give the machine of each replica what [Filer.Owner] returns, before its first entry.
//  2. Take a turn soon after Config.Rouse was called, the lead of a group has come or gone, or the table has changed, and at the time that
//     the last turn named. A turn is [Filer.Look] on the host's goroutine, then [Filer.Ended] for the tasks that have ended, then
//     [Filer.Turn]; if that has actions, [Filer.Begin] on the host's goroutine, and the tasks that it returns are begun. No two turns
//     overlap. A turn hands in the tasks that had ended before its Look, and no others: the Look must see what a task has changed.
//  3. Do each task by [Filer.Do], on any goroutine, and hand in its end once. A task takes as long as a disk or a network does.
//
// filer.go has what machines ask for, look.go what the core is shown, tasks.go what it has done.
package filer
