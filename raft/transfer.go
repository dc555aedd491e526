package raft

// Transfer hands leadership over to a voter, or, if to is 0, to the one that
// has the most of the log. Until it leads, or an election timeout has passed,
// this leader takes no proposals ([ErrTransferring]).
func (g *Group) Transfer(to ReplicaID) error { return nil }

// Prefer names the replica that should lead, 0 for none. It is a wish and no
// condition: any voter may be elected, and then transfers leadership to the
// preferred one when that is active, has caught up and is not new to it.
func (g *Group) Prefer(id ReplicaID) {}
