package rafttest

import (
	"errors"

	"muster/raft"
)

// farTerms are terms that no correct replica reaches; the last ones are above the
// limit. forgedIndexes are indexes that no log can have.
var (
	farTerms      = []uint64{1 << 34, raft.TermLimit / 2, raft.TermLimit - 1, raft.TermLimit, ^uint64(0)}
	forgedIndexes = []uint64{raft.IndexLimit, raft.TermLimit - 1, ^uint64(0)}
)

// lie has a replica told, in another one's name, what can't be so: a term far
// above all, or in the term of today an index or a time beyond any log. Nothing may come
// of it, then or when it settles.
func (n *run) lie(r *Replica) {
	if r.Group == nil {
		return
	}
	st := r.Group.Status()
	m := raft.Message{Type: raft.MessageType(1 + n.r.IntN(int(raft.MsgQuiet))), From: n.any().ID, To: r.ID,
		Term: st.Term, Log: st.Last, Round: n.r.Uint64(), Reject: n.r.IntN(2) == 0}
	if m.From == r.ID || m.Type == raft.MsgSnapshot {
		return // a snapshot is made by the receiver's owner, who has read all of it
	}
	switch n.r.IntN(5) {
	case 0:
		m.Log.Index = forgedIndexes[n.r.IntN(len(forgedIndexes))]
	case 1:
		m.Commit = forgedIndexes[n.r.IntN(len(forgedIndexes))]
	case 2:
		m.Time = raft.TimeLimit + raft.GroupTime(n.r.Uint64()>>2)
	default:
		m.Term = farTerms[n.r.IntN(len(farTerms))]
	}
	n.count["lie"]++
	err := r.Group.Step(m)
	if after := r.Group.Status(); err == nil || after.Term != st.Term || after.Vote != st.Vote || after.Commit != st.Commit || after.Stopped != nil {
		n.Check.broken("replica %d believes a lie, %s: %v", r.ID, describe(m), err)
	}
	if errors.Is(err, raft.ErrTerm) {
		n.count["term out of reach"]++
	}
}
