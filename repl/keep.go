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

// Keep retires, in the next turn, the replicas here that are members no more: those
// of a row's incarnation with an id below its Next that is not among its Replicas. A
// removed replica mostly learns of it from nobody else: those that stay need not feed it
// any more.
//
// A row may be of any time, as the rows that a log brings back at a start are: an id that
// it does not name is of a replica that had been removed by then if it is below Next, and
// then it never comes back, or else of one that was not made yet. A row must
// not be joint: the voters that such a membership takes away still decide.
func (h *Host) Keep(rows []Kept) {
	for i := range rows {
		k := &rows[i]
		if r, ok := h.placing.here(k.Group); ok && k.gone(r) {
			h.cfg.Log.Info("replica is a member no more", "group", r.Group, "replica", r.ID, "next", k.Next)
			h.Retire(r)
		}
	}
}

// gone reports whether the group has removed a replica of it.
func (k *Kept) gone(r logstore.Replica) bool {
	return r.Incarnation == k.Incarnation && r.ID < k.Next && !slices.Contains(k.Replicas, r.ID)
}

// here returns the replica of a group that is here, damaged or not.
func (a *placing) here(id raft.GroupID) (logstore.Replica, bool) {
	if g := a.host.groups[id]; g != nil {
		return g.replica, !g.removed
	}
	if m := a.host.mending.of(id); m != nil {
		return m.replica, true
	}
	return logstore.Replica{}, false
}
