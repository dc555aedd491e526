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
// until the next change of the membership. Each message of a follower is looked up
// here. A binary search over so few took a hundred instructions, most of them to
// copy what it compares.
func (f *followers) of(id ReplicaID) *progress {
	for i := range f.list {
		if f.list[i].replica == id {
			return &f.list[i]
		}
	}
	return nil
}

// become makes the list match the members of m. New ones are sent the entry next
// first, and count as heard of at tick now.
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
// value returns that of a follower; the leader's is own.
func (f *followers) quorum(m *Membership, own uint64, value func(*progress) uint64) uint64 {
	// A leader that is no voter, because it removes itself, does not count itself (the
	// paper, section 6): own enters only where the lists name it.
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

// known returns the last index, at most last, up to which every follower fed from
// memory is known to hold the log. A follower whose log is not known to agree may
// lack anything, and is fed from disk.
func (f *followers) known(last uint64) uint64 {
	for i := range f.list {
		if p := &f.list[i]; p.state == ProgressReplicate {
			last = min(last, p.match)
		}
	}
	return last
}
