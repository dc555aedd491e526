package rafttest

import (
	"slices"

	"muster/raft"
)

// change is a membership and the index from which on it is in force.
type change struct {
	index   uint64
	members raft.Membership
}

func (s *seen) change(e raft.Entry) {
	if e.Kind != raft.EntryMembership {
		return
	}
	if m, err := raft.ReadMembership(e.Payload()); err == nil {
		s.changes = append(s.changes, change{e.ID.Index, m})
	}
}

func (s *seen) truncate(index uint64) {
	for len(s.changes) > 1 && s.changes[len(s.changes)-1].index >= index {
		s.changes = s.changes[:len(s.changes)-1]
	}
}

// change: I6, a leader appends no membership while another one is not
// committed, and every quorum of it meets every quorum of the one before.
func (c *Check) change(id raft.ReplicaID, s *seen, rd *raft.Ready, e raft.Entry) {
	if e.Kind != raft.EntryMembership {
		return
	}
	before := s.changes[len(s.changes)-1]
	s.change(e)
	after := s.changes[len(s.changes)-1].members
	if rd.Role == raft.RoleLeader && e.ID.Term == rd.State.Term && before.index > rd.State.Commit {
		c.broken("I6: replica %d appends membership %s while that of %d is not committed", id, e.ID, before.index)
	}
	if !before.members.Blank() && !meet(before.members, after) {
		c.broken("I6: a quorum of %s need not meet one of %s (entry %s at replica %d)", words(before.members), words(after), e.ID, id)
	}
}

// meet reports whether every quorum of a shares a replica with every quorum of b, by
// trying all sets: none is a quorum of a while the rest is one of b.
func meet(a, b raft.Membership) bool {
	ids := append(a.Replicas(), b.Replicas()...)
	slices.Sort(ids)
	if ids = slices.Compact(ids); len(ids) > 16 {
		panic("rafttest: too many members to try all quorums")
	}
	for set := range uint32(1) << len(ids) {
		in := func(id raft.ReplicaID) bool {
			for i := range ids {
				if ids[i] == id {
					return set>>i&1 == 1
				}
			}
			return false
		}
		if decides(a, in) && decides(b, func(id raft.ReplicaID) bool { return !in(id) }) {
			return false
		}
	}
	return true
}

// decides reports whether the replicas for which in is true are a quorum of m.
func decides(m raft.Membership, in func(raft.ReplicaID) bool) bool {
	for _, list := range [...][]raft.Member{m.Voters, m.Outgoing} {
		yes := 0
		for _, v := range list {
			if in(v.Replica) {
				yes++
			}
		}
		if len(list) > 0 && 2*yes <= len(list) {
			return false
		}
	}
	return true
}
