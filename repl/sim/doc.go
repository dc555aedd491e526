// Package sim runs whole clusters from one seed.
//
// Raft, the log store on a disk in memory, the shard maps, the hosts, what a node
// makes of its clients' requests and the clients' cores are the real ones. What physics owns is made up here: the
// network, the time that a disk takes, clocks, power, and chance. Nothing in it
// runs beside anything else, and it never sleeps: a queue holds what is due, and the clock jumps
// from one event to the next. It checks; it does not repair, and it knows
// nothing of sockets and processes.
//
// # A run
//
// [Run] makes a cluster and lets it work under faults that its seed chose.
// Then faults stop for a quorum, which must go on within a bound; then for
// all, who must become equal. The invariants (check.go, shadow.go, config.go, linear.go)
// are held all the time, by code that shares nothing with what it checks. The
// same seed gives the same run, to the last event: its hash tells.
//
// # Start reading
//
// cluster.go has the life of a run, node.go that of a process, fault.go the
// table of faults, client.go and asker.go the two ends of a connection, listing.go
// what a client lists, chaos.go when they strike, disk.go and rot.go what they do to
// disks, snapshot.go how states are written down and sent, task.go what a node
// does beside its host, member.go how memberships change, config.go what must
// hold of them, lull.go what becomes of groups to which nobody writes.
package sim
