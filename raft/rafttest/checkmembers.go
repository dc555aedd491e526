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

// Changes checks a change that a leader took: the membership before it in that log is the
// one that it was made for, and each learner that it promotes can be fed from that log and
// was heard of. before is the leader's status when it was asked.
func (c *Check) Changes(r *Replica, ch raft.Change, before *raft.Status) {
	s := c.replicas[r.ID]
	if in := s.changes[len(s.changes)-1]; ch.After != 0 && in.index > ch.After {
		c.broken("replica %d takes a change for the membership of %d, in force is that of %d", r.ID, ch.After, in.index)
	}
	for _, id := range ch.Promote {
		i := slices.IndexFunc(before.Progress, func(p raft.Progress) bool { return p.Replica == id })
		if i < 0 || !before.Progress[i].Active || before.Progress[i].Match < before.Base.Index {
			c.broken("replica %d promotes %d, which lags: %+v, its log begins after %s", r.ID, id, before.Progress, before.Base)
		}
	}
}

// named: a leader's settled membership is that of its log, is committed, and a name stands
// for one membership, whoever leads.
func (c *Check) named(r *Replica, st *raft.Status) {
	if !st.Settled {
		return
	}
	s := c.replicas[r.ID]
	in, at, m := s.changes[len(s.changes)-1], st.MembershipAt.Index, string(st.Membership.Append(nil))
	if in.index > at || at > max(st.Commit, 1) || string(in.members.Append(nil)) != m {
		c.broken("replica %d calls %s at %s settled, with commit %d; in its log is that of %d, %s", r.ID, words(st.Membership), st.MembershipAt, st.Commit, in.index, words(in.members))
	}
	if known, ok := c.settled[at]; ok && known != m {
		c.broken("replica %d calls %s settled at %s, another had another there", r.ID, words(st.Membership), st.MembershipAt)
	}
	c.settled[at] = m
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
