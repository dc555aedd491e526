// Package sim runs whole clusters from one seed.
//
// Raft, the log store on a disk in memory, the shard maps, the hosts, the handling of
// requests and the clients' cores are the real ones. What physics owns is made up here:
// the network, the time that a disk takes, clocks, power, and chance. Nothing runs
// concurrently, and nothing sleeps: a queue holds the events that are due, and the clock
// jumps from one to the next. The package checks; it does not repair, and it knows
// nothing of sockets and processes.
//
// # A run
//
// [Run] makes a cluster and lets it work under faults that its seed chose. Then the
// faults stop for a quorum, which must make progress within a bound; then for all nodes,
// which must become equal. The invariants (check.go, shadow.go, config.go, linear.go) are
// checked all the time, by code that shares nothing with what it checks. The same seed
// gives the same run, to the last event, and the same hash of its events.
//
// # Start reading
//
// cluster.go has the life of a run, node.go that of a process, fault.go the
// table of faults, chaos.go when they strike, disk.go and rot.go what they do to disks,
// client.go and asker.go the two ends of a connection, listing.go what a client lists, backup.go what it backs up, locks.go what it locks,
// snapshot.go how snapshots are written and sent, task.go what a node does beside its
// host, member.go how memberships change, order.go how nodes come and go, mover.go how a
// node moves replicas, config.go what must hold of them, lull.go what
// happens in groups to which nobody writes, lost.go what a lost majority leaves. life.go
// has what a slot is, by the logs of all groups, steps.go what the entries that move it
// mean, slots.go who orders that, carry.go how a node carries slots. meaning.go has what a
// write means, txn.go those that came with leases, ends.go what ends and when, watch.go the
// watches of clients and watchcheck.go what must hold of them, feed.go and follow.go the two
// ends of what a node sends of its own accord, kind.go the kinds of operations. secure.go has what a run has of
// certificates and tokens, credential.go what a node has, handshake.go what that proves to whom, applicant.go
// the hosts that come with tokens. users.go has what people do about users, lawful.go what a node lets through,
// ruling.go what it must not. limits.go has who limits prefixes and who writes under them, dividing.go what a node
// does for that, bound.go what must hold, and limitsend.go what a healed cluster must do. series.go has the windows of time series,
// seriesop.go who writes, deletes and asks for points, seriesmodel.go what the logs make of that, seriesfiles.go their block files,
// seriesharm.go what befalls these, serieshints.go the hints of nodes. flaw.go has how
// states of replicas become wrong (flawkind.go, slip.go), and what must come of it (flawrun.go,
// incident.go).
package sim
