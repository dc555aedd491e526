package overview

import (
	"slices"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// Sample is what the nodes of a cluster have said in one round of questions. Nothing in it is of
// an earlier round, but for Known: an old answer would pass for one of now.
type Sample struct {
	At time.Time // when the round ended
	// Known are the nodes that were asked. If none of them has told its status these are
	// all that is known.
	Known []wire.StatusNode
	// Answers are what each node has said, or why it has said nothing.
	Answers map[raft.NodeID]*Answer
	// Table is the table as one node has it; nil if nobody has told it.
	Table *shardmap.Table
	// Err is why nobody has told its status.
	Err error
	// Limited is why this user sees no more than every user may; nil if it may look into the
	// cluster.
	Limited error
}

// Answer is what one node has said. What it has not said is nil.
type Answer struct {
	Status   *wire.StatusAnswer
	Doctor   *wire.DoctorAnswer
	Counters *wire.CountersAnswer
	// Asked is when it was asked for all three, Answered when Doctor came.
	Asked, Answered time.Time
	// Err is why it has not said all; nil if it has.
	Err error
	// Unasked reports whether the node could not be asked in the name of this user, as from a node
	// that can't prove there who the user is. Then its silence says nothing about it.
	Unasked bool
}

// answer returns what a node has said; never nil.
func (s *Sample) answer(id raft.NodeID) *Answer {
	if a := s.Answers[id]; a != nil {
		return a
	}
	return new(Answer)
}

// statuses returns the statuses that were told, that of the meta group's leader first: it hears
// from all nodes that work, while one that is cut off calls all others dead. Then the order is
// that of names.
func (s *Sample) statuses() []*wire.StatusAnswer {
	var all []*wire.StatusAnswer
	for _, n := range s.Known {
		if a := s.answer(n.ID).Status; a != nil {
			all = append(all, a)
		}
	}
	term := func(a *wire.StatusAnswer) uint64 { // in which it leads the meta group; 0: it does not
		i := slices.IndexFunc(a.Groups, func(g wire.StatusGroup) bool { return g.ID == 0 })
		if i < 0 || a.Groups[i].Leader != a.Self {
			return 0
		}
		return a.Groups[i].Term
	}
	slices.SortStableFunc(all, func(a, b *wire.StatusAnswer) int {
		switch x, y := term(a), term(b); {
		case x > y:
			return -1
		case x < y:
			return 1
		}
		return 0
	})
	return all
}

// Nodes returns the nodes to ask in the next round: those of the cluster, as far as is known.
func (s *Sample) Nodes() []wire.StatusNode {
	if all := s.statuses(); len(all) > 0 {
		return all[0].Nodes
	}
	return s.Known
}

// Teller returns the address of the node whose word is believed first; "" if there is none.
func (s *Sample) Teller() string {
	all := s.statuses()
	if len(all) == 0 {
		return ""
	}
	for _, n := range all[0].Nodes {
		if n.ID == all[0].Self {
			return n.Addr
		}
	}
	return ""
}

// patient returns what the doctor makes a diagnosis of; nil if nobody could be asked.
func (s *Sample) patient(status *wire.StatusAnswer) *Patient {
	if status == nil || s.Limited != nil {
		return nil
	}
	p := NewPatient(status)
	for _, n := range p.nodes {
		a, asked := s.Answers[n.ID]
		switch {
		case asked && a.Doctor != nil:
			p.Answered(n.ID, a.Doctor, a.Asked, a.Answered)
		case asked && a.Unasked, !asked: // one that has just been added is asked in the next round
			p.unasked[n.ID] = true
		default:
			p.Silent(n.ID, a.Err)
		}
	}
	return p
}
