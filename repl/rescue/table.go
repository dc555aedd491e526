package rescue

import (
	"fmt"
	"io"
	"slices"

	"muster/raft"
	"muster/shardmap"
)

// after returns the table with which the cluster of a plan begins. The nodes that are
// gone are taken off it. Index and epoch are those of the entry that group 0's new base
// stands for: above all that the old log can have had, and so is every id that comes from
// an index of that log.
//
// A group that is renewed has no founders: a replica that is made later begins without a
// membership, whatever its directory lost.
func (s *surveyed) after(p *Plan) *shardmap.Table {
	t := *s.table
	index := p.Groups[0].Base.Index
	t.ClusterID, t.Index, t.Epoch = uint64(p.To), index, index
	t.Nodes = slices.DeleteFunc(slices.Clone(t.Nodes), func(n shardmap.TableNode) bool { return s.report(ID(n.ID)) == nil })
	s.renewRow(p, &p.Groups[0], &t.Meta)
	t.Groups = slices.Clone(t.Groups)
	for i := range t.Groups {
		s.renewRow(p, &p.Groups[i+1], &t.Groups[i])
	}
	return &t
}

// renewRow changes the row of a group as its plan says.
func (s *surveyed) renewRow(p *Plan, g *GroupPlan, row *shardmap.TableGroup) {
	if g.Action == Keep || g.Action == Leave {
		// Its row names replicas of nodes that are gone. Whoever plans placement takes those
		// for gone too, and replaces them.
		if s.report(ID(row.Preferred)) == nil {
			row.Preferred = s.standIn(row)
		}
		return
	}
	row.Incarnation, row.Founders, row.Replicas = raft.Incarnation(p.Incarnation), nil, nil
	for _, list := range [...]struct {
		members []Member
		role    shardmap.ReplicaRole
	}{{g.Members.Voters, shardmap.ReplicaVoter}, {g.Members.Learners, shardmap.ReplicaLearner}} {
		for _, m := range list.members {
			row.Replicas = append(row.Replicas, shardmap.TableReplica{Replica: raft.ReplicaID(m.Replica), Node: raft.NodeID(m.Node), Role: list.role})
		}
	}
	slices.SortFunc(row.Replicas, func(a, b shardmap.TableReplica) int { return int(a.Replica) - int(b.Replica) })
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
