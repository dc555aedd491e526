package raft

import (
	"slices"

	"muster/raft/quorum"
)

// followers are the other members, learners included, as their leader knows them.
type followers struct {
	self    ReplicaID
	list    []progress // by replica id
	scratch []uint64   // what quorum counts
}

// of returns the progress of a replica, or nil if it is no member. It is valid
// until the next change of the membership.
func (f *followers) of(id ReplicaID) *progress {
	i, ok := slices.BinarySearchFunc(f.list, id, func(p progress, id ReplicaID) int {
		return compare(p.replica, id)
	})
	if !ok {
		return nil
	}
	return &f.list[i]
}

// become makes the list that of the members of m. New ones are sent the entry
// next first, and count as heard of at tick now.
func (f *followers) become(m *Membership, next, now uint64) {
	old := f.list
	f.list = nil
	for _, id := range m.Replicas() {
		if id == f.self {
			continue
		}
		if i := slices.IndexFunc(old, func(p progress) bool { return p.replica == id }); i >= 0 {
			f.list = append(f.list, old[i])
			continue
		}
		f.list = append(f.list, progress{replica: id, state: ProgressProbe, next: next, heard: now, moved: now})
	}
}

// quorum returns the largest value that a quorum of the voters of m has reached.
// value is asked for each voter but the leader, whose own value is own.
func (f *followers) quorum(m *Membership, own uint64, value func(*progress) uint64) uint64 {
	f.scratch = f.scratch[:0]
	for _, list := range [...][]Member{m.Voters, m.Outgoing} {
		for i := range list {
			v := own
			if id := list[i].Replica; id != f.self {
				v = value(f.of(id))
			}
			f.scratch = append(f.scratch, v)
		}
	}
	n := len(m.Voters)
	if bug("joint quorum") {
		return quorum.Reached(f.scratch[:n])
	}
	return quorum.ReachedJoint(f.scratch[:n], f.scratch[n:])
}

// known returns the last index up to which all that are fed from memory are known
// to hold the log, at most last. A follower whose log is not known to agree may
// lack anything, and reads it from disk.
func (f *followers) known(last uint64) uint64 {
	for i := range f.list {
		if p := &f.list[i]; p.state == ProgressReplicate {
			last = min(last, p.match)
		}
	}
	return last
}
