package raft

// NewMember is a replica to be made: where, and what it shall become.
type NewMember struct {
	Node NodeID
	Goal Goal
}

// Change is a change of the membership. Several replicas may come and go in
// one.
type Change struct {
	Add    []NewMember
	Remove []ReplicaID
}

// Change appends a new membership to the leader's log and returns it, with the
// ids of the new replicas.
func (g *Group) Change(c Change) (Membership, error) { return Membership{}, nil }
