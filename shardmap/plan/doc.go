// Package plan says what should move in a cluster: which replicas, which leaders, which slots.
//
// [Make] is a pure function: the table, what is known of nodes and replicas at
// this moment, and the settings give an ordered list of steps, each with its
// reason and with the quorum before and after. The same arguments always give
// the same plan, and the plan for what a plan leads to is empty, once what earlier
// plans began is finished. A plan for what a part of the steps leads to has the
// others: what was begun is taken as done, also where it would not be begun now.
//
// [Slots] is another one, of the table and of what slots hold. It gives no steps, but
// where slots should be: a person is shown it, and a job carries it out.
//
// The package carries nothing out, and knows no clock: whoever calls it decides when a
// node counts as dead, how many steps run at a time and how fast bytes move.
//
// # Duties of the owner
//
//  1. Carry out the steps of one group in order, each when the one before it is
//     done. Steps of different groups are independent and may run at a time; the
//     more urgent stand first.
//  2. Call [Recheck] with the newest table before each step, and drop the rest of
//     the group's steps if it refuses: the next plan knows what is true now.
//  3. Carry out an [In] and [Out] of one step in one change of the membership.
//     Promoting first and removing later makes the number of voters even between,
//     and a promotion that never finds its removal leaves it so.
//
// # Where to look
//
// known.go has what comes in, step.go what comes out. make.go shows the order
// of the parts: repair.go decides what a group lacks, spread.go where a replica
// may stand, even.go evens out replicas, thrift.go takes back needless moves,
// leaders.go evens out leaders, meta.go does the meta group, steps.go turns the difference
// into steps. recheck.go looks at a step again. slots.go stands alone.
// docs/decisions/0015-placement.md says why it is done so.
package plan
