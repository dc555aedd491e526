package rafttest

import (
	"slices"

	"muster/raft"
)

// hints gives short ticks to replicas of a random run that lost their leader, and checks
// that none asks for votes by one that it should not count: in the hurry it would take an
// election from another replica, or the lead from one that lives.
type hints struct {
	run *run
	of  map[raft.ReplicaID]*hinted
}

// hinted is a replica that was told that its leader is lost.
type hinted struct {
	group *raft.Group
	lead  raft.ReplicaID
	term  uint64
	// mixed: what the next Ready says may be from before.
	mixed bool
	heard bool // of the leader, since then
	votes bool // it has told another that it would get its vote, since then
}

// lose tells a replica that its leader is lost.
func (h *hints) lose(r *Replica) {
	before := r.Group.Status()
	mixed := r.Group.HasReady()
	r.Group.LeaderLost()
	if before.Leader != 0 && before.Role == raft.RoleFollower {
		h.of[r.ID] = &hinted{group: r.Group, lead: before.Leader, term: before.Term, mixed: mixed}
	}
}

// handed notes whether a replica has heard of the leader that it lost.
func (h *hints) handed(m raft.Message, taken bool) {
	x := h.of[m.To]
	if x == nil || !taken || m.From != x.lead || m.Term != x.term {
		return
	}
	x.heard = x.heard || slices.Contains([]raft.MessageType{raft.MsgAppend, raft.MsgHeartbeat, raft.MsgSnapshot, raft.MsgQuiet}, m.Type)
}

// taken notes what a replica has promised.
func (h *hints) taken(r *Replica, rd *raft.Ready) {
	x := h.of[r.ID]
	if x == nil {
		return
	}
	x.votes = x.votes || !x.mixed && slices.ContainsFunc(rd.Messages, func(m raft.Message) bool { return m.Type == raft.MsgPreVoteAnswer && !m.Reject })
	x.mixed = false
}

// tick gives a replica a short tick, most times that it is due.
func (h *hints) tick(r *Replica) {
	x := h.of[r.ID]
	if x == nil {
		return
	}
	if r.Group != x.group {
		delete(h.of, r.ID) // it was started anew
		return
	}
	n := h.run
	if n.r.IntN(4) == 0 {
		return
	}
	n.count["short tick"]++
	before, idle := r.Group.Status(), !r.Group.HasReady()
	more := r.Group.ShortTick()
	if idle && r.Group.HasReady() {
		n.count["asked by a short tick"]++
		switch {
		case before.Leader != 0 || x.heard:
			n.Check.broken("replica %d asks for votes by a short tick, and has heard of leader %d in term %d", r.ID, x.lead, x.term)
		case x.votes:
			n.Check.broken("replica %d asks for votes by a short tick, and would vote for another", r.ID)
		case before.Term != x.term:
			n.Check.broken("replica %d asks for votes by a short tick in term %d, and lost its leader in %d", r.ID, before.Term, x.term)
		}
	}
	if !more {
		delete(h.of, r.ID)
	}
}
