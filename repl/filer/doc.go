// Package filer keeps the points of a node's replicas in block files, as the core of seals decides.
//
// It stands between the replicas, the core ([sealing.Core]) and the disk ([blocks.Store]): it shows the core what the replicas have,
// and carries out what the core decides. It starts no goroutine, knows no clock and dials nobody: a node of its own kind of
// time and network owns it, as a process does or a simulation.
//
// # Duties of the owner of a Filer
//
//  1. Give the machine of each replica what [Filer.Owner] returns, before its first entry.
//  2. When Config.Rouse was called, the lead of a group has come or gone, or the table has changed, soon, and at the time that the last turn named:
//     call [Filer.Look] where the host is, then hand in by [Filer.Ended] which tasks have ended, then call [Filer.Turn]. If that has actions,
//     call [Filer.Begin] where the host is, and begin the tasks that it returns. Nothing of a turn may run at the same time as another.
//     What has ended before the Look is to be handed in after it, and nothing else: what a task has changed shows in what is looked at.
//  3. Do each task by [Filer.Do], on any goroutine, and hand in its end once. A task may go on for as long as a disk or a
//     network takes.
//
// filer.go has what machines ask for, look.go what the core is shown, tasks.go what it has done.
package filer
