package repl

import (
	"muster/logstore"
	"muster/raft"
)

// Replicas are the replicas that run on a host.
type Replicas struct{ host *Host }

// ReplicaView is what can be said of a replica at next to no cost.
type ReplicaView struct {
	Replica logstore.Replica
	// Machine is nil while the state is known to be wrong, and once the group has stopped here.
	Machine StateMachine
	// Term is that in which the group is led here, with an entry of it applied; 0: it is not led here.
	Term    uint64
	Applied uint64
	// Others are the nodes of the group's other replicas. It is good until the next view.
	Others []raft.NodeID
}

// Each calls f for each replica, in order of their groups. f keeps nothing of the view.
func (r *Replicas) Each(f func(*ReplicaView)) {
	var v ReplicaView
	for _, g := range r.host.order {
		if g.removed || g.gone {
			continue
		}
		v.Replica, v.Machine, v.Term, v.Applied = g.replica, nil, ledTerm(g), g.applied.Index
		if g.fence == nil && g.stopped == nil {
			v.Machine = g.machine
		}
		v.Others = v.Others[:0]
		for m := range g.members.All() {
			if m.Node != r.host.cfg.Self {
				v.Others = append(v.Others, m.Node)
			}
		}
		f(&v)
	}
}

// Last returns the index of the last entry in the log of a group's replica; 0: it is not here.
func (r *Replicas) Last(id raft.GroupID) uint64 {
	if g := r.host.groups[id]; g != nil {
		return g.core.Status().Last.Index
	}
	return 0
}

// Has reports whether a replica is here, even one that is damaged or was not opened yet.
func (r *Replicas) Has(id raft.GroupID, of raft.Incarnation) (has bool) {
	r.host.placing.each(func(x logstore.Replica) { has = has || x.Group == id && x.Incarnation == of })
	return has
}

// Wrong fences the replica of a group: what it has made of its state differs from what the group has, which another node
// of the group still has right.
func (r *Replicas) Wrong(id raft.GroupID, what string) {
	g := r.host.groups[id]
	if g == nil || g.core == nil {
		return
	}
	f := finding{found: logstore.FenceByComparison, at: g.applied, what: what}
	for m := range g.members.All() {
		if m.Node != r.host.cfg.Self {
			f.sources = append(f.sources, m.Node)
		}
	}
	g.audit.fenceOff(f)
}
