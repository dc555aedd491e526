package repl

import (
	"slices"

	"muster/logstore"
	"muster/raft"
)

// Kept is what a committed membership of a group says of its replicas.
type Kept struct {
	Group       raft.GroupID
	Incarnation raft.Incarnation
	// Replicas are all members, learners too, on whatever nodes.
	Replicas []raft.ReplicaID
	// Next is the replica id that the group allots next, as of that membership.
	Next raft.ReplicaID
}

// KeptGroups is what is known of the memberships of groups.
type KeptGroups struct {
	Rows []Kept // by group
	// AllAt: the rows are those of all groups, as the entry of group 0 with this index has
	// left them. 0: they are of some.
	AllAt uint64
}

// Keep retires, in the next turn, the replicas here that are members no more: those
// of a row's incarnation with an id below its Next that is not among its Replicas. A
// removed replica mostly learns of it from nobody else: those that stay need not feed it
// any more.
//
// A row may be of any time, as the rows that a log brings back at a start are: an id that
// it does not name is of a replica that had been removed by then if it is below Next, and
// then it never comes back, or else of one that was not made yet. A row must
// not be joint: the voters that such a membership takes away still decide.
//
// Where the rows are those of all groups, it also retires the replicas of groups that were
// removed, or removed and made anew: no row has their incarnation, which is the index of the
// entry that made them. Rows of a time before that entry don't have it either, so a
// group whose incarnation is above AllAt is left alone. Group 0 is never removed.
func (h *Host) Keep(k KeptGroups) {
	var gone []logstore.Replica
	h.placing.each(func(r logstore.Replica) {
		i, found := slices.BinarySearchFunc(k.Rows, r.Group, func(k Kept, id raft.GroupID) int { return int(k.Group) - int(id) })
		switch {
		case found && k.Rows[i].gone(r):
			h.cfg.Log.Info("replica is a member no more", "group", r.Group, "replica", r.ID, "next", k.Rows[i].Next)
		case r.Group != 0 && uint64(r.Incarnation) <= k.AllAt && (!found || k.Rows[i].Incarnation > r.Incarnation):
			h.cfg.Log.Info("group was removed", "group", r.Group, "incarnation", r.Incarnation, "replica", r.ID, "table", k.AllAt)
		default:
			return
		}
		gone = append(gone, r)
	})
	for _, r := range gone {
		h.Retire(r)
	}
}

// gone reports whether the group has removed a replica of it.
func (k *Kept) gone(r logstore.Replica) bool {
	return r.Incarnation == k.Incarnation && r.ID < k.Next && !slices.Contains(k.Replicas, r.ID)
}

// each yields the replicas that are here, damaged or not.
func (a *placing) each(f func(logstore.Replica)) {
	for _, g := range a.host.order {
		if !g.removed {
			f(g.replica)
		}
	}
	for _, m := range a.host.mending.list {
		if m.group == nil { // else it was among those that run
			f(m.replica)
		}
	}
}
