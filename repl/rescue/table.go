package rescue

import (
	"cmp"
	"fmt"
	"io"
	"slices"

	"muster/raft"
	"muster/shardmap"
)

// after returns the table with which the cluster of a plan begins.
func (s *surveyed) after(p *Plan, x *settling) *shardmap.Table {
	gone := make([]raft.NodeID, 0, len(p.Gone))
	for _, g := range p.Gone {
		gone = append(gone, raft.NodeID(g.Node))
	}
	t := s.table.WithoutLost(uint64(p.To), p.Groups[0].Base.raft(), gone)
	s.renewRow(p, &p.Groups[0], &t.Meta)
	t.Groups = slices.Clone(t.Groups)
	for i := range t.Groups {
		s.renewRow(p, &p.Groups[i+1], &t.Groups[i])
	}
	for i := range t.Groups {
		if p.Groups[i+1].Action == Refound {
			foundAgain(t, i, x)
		}
	}
	return t.WithMoves(x.slots, x.moves)
}

// foundAgain gives a group that begins without a key the slots that it had, but for those
// that moved elsewhere since. It founds itself with them, and no other group may.
func foundAgain(t *shardmap.Table, i int, x *settling) {
	var first []shardmap.Slot
	for slot, owner := range x.slots {
		if owner == t.Groups[i].ID {
			first = append(first, shardmap.Slot(slot))
		}
	}
	for k := range t.Groups {
		var others []shardmap.Slot
		for _, r := range t.Groups[k].FirstSlots {
			for slot := r.From; slot <= r.To; slot++ {
				if x.slots[slot] != t.Groups[i].ID {
					others = append(others, slot)
				}
			}
		}
		t.Groups[k].FirstSlots = shardmap.SlotRanges(others)
	}
	t.Groups[i].FirstSlots = shardmap.SlotRanges(first)
}

// renewRow changes the row of a group as its plan says. A group that is renewed has no
// founders: a replica that is made later begins without a membership, whatever its
// directory lost.
func (s *surveyed) renewRow(p *Plan, g *GroupPlan, row *shardmap.TableGroup) {
	if g.Action == Keep || g.Action == Leave {
		// Its row names replicas of nodes that are gone. Whoever plans placement takes those
		// for gone too, and replaces them.
		if s.report(ID(row.Preferred)) == nil {
			row.Preferred, row.Pinned = s.standIn(row), false
		}
		return
	}
	row.Incarnation, row.Founders, row.Replicas = raft.Incarnation(p.Incarnation), nil, nil
	row.Seen, row.Next = raft.LogID{}, raft.ReplicaID(g.Members.Next)
	row.ByHand, row.Pinned = false, false // of nodes that are gone, mostly; whoever wants it says so again
	for _, list := range [...]struct {
		members []Member
		role    shardmap.ReplicaRole
	}{{g.Members.Voters, shardmap.ReplicaVoter}, {g.Members.Learners, shardmap.ReplicaLearner}} {
		for _, m := range list.members {
			row.Replicas = append(row.Replicas, shardmap.TableReplica{Replica: raft.ReplicaID(m.Replica), Node: raft.NodeID(m.Node), Role: list.role})
		}
	}
	slices.SortFunc(row.Replicas, func(a, b shardmap.TableReplica) int { return cmp.Compare(a.Replica, b.Replica) })
	row.Preferred = row.Replicas[0].Node
	if g.Action == Refound {
		row.Founders = slices.Clone(row.Replicas)
	}
}

// standIn returns the first survivor that votes in a group by its row, or 0.
func (s *surveyed) standIn(row *shardmap.TableGroup) raft.NodeID {
	for _, r := range row.Replicas {
		if r.Role == shardmap.ReplicaVoter && s.report(ID(r.Node)) != nil {
			return r.Node
		}
	}
	return 0
}

// tableCopy is the table with which group 0 begins anew, as a state to be written.
type tableCopy struct{ table *shardmap.Table }

// Release implements [repl.StateCopy].
func (tableCopy) Release() {}

// WriteTo implements [repl.StateCopy].
func (c tableCopy) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(c.table.AppendTo(nil))
	if err != nil {
		err = fmt.Errorf("write the table: %w", err)
	}
	return int64(n), err
}
