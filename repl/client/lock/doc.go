// Package lock lets one of many processes at a time do what no two may do at once.
//
//	held, err := lock.Acquire(ctx, c, "{report}lock", lock.Options{})
//	if err != nil {
//		return err
//	}
//	defer held.Release(ctx)
//	return report(held.Context(), held.Token())
//
// A lock is a key, of the lock's name, that is attached to a lease: the cluster has no other notion of a lock, and
// no request of its own for it. The process that sets the key while it is absent holds the lock; it keeps the lease alive, and revokes it to
// release the lock. The lease of a holder that has crashed ends after its TTL, and the key with it.
//
// # What a holder may rely on
//
// Two processes never hold a lock at one moment. But a process may believe that it holds one for longer than it does:
// it can be stopped, suspended, or kept waiting by a disk, between a look at its lock and what it does next, for longer than
// the lease lasts. No lock can prevent that. Three things follow.
//
//  1. Stop when [Lock.Context] ends. It ends a tenth of the TTL before the cluster can let
//     another one in, counted from when the last sign of life was sent, by a clock that takes suspended hosts into
//     account. So only a process that does not run outlives its lock.
//  2. Where that is not enough, guard what you write: [Write] changes keys of the lock's
//     slot only if the lock still has the same fencing token. Keys with the lock's {tag} are in
//     its slot.
//  3. Where others keep the data, give them [Lock.Token] with each request, and let them refuse a token below
//     the highest that they have seen. It grows with every acquisition of a name and is never given twice,
//     whatever becomes of keys, slots, nodes and disks, because it is the version of the lock's key.
//
// There is no queue: when a lock becomes free, all that wait for it try once, and one of them gets it.
//
// # Rights
//
// A process that takes a lock needs read and write on the key of its name, and watch to wait for it. [Write]
// needs write on the keys that it changes.
//
// Read acquire.go for how a lock is taken, hold.go for how it is kept, tenure.go for the time that a holder has. A
// lock that is held has two goroutines, the keeper and the lookout; both end when its context does. steps.go has the same without
// them, for the simulator.
package lock
