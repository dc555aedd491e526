package plan

import (
	"errors"
	"fmt"
	"slices"

	"muster/raft"
	"muster/shardmap"
)

var (
	// ErrStale is wrapped by the errors of [Recheck] about a step that was planned for
	// another state than that of now. A new plan helps.
	ErrStale = errors.New("the plan is stale")
	// ErrRisk is wrapped by its errors about a step that would stop the group now.
	ErrRisk = errors.New("the group would lose its majority")
)

// Recheck returns why a step must not be carried out as things stand now, or nil. It
// fills in the step's quorums anew.
func Recheck(t *shardmap.Table, known *Known, s *Step) error {
	row, ok := t.Group(s.Group)
	if !ok {
		return fmt.Errorf("%w: group %d is not there", ErrStale, s.Group)
	}
	if _, told := known.Groups[s.Group]; !told {
		return fmt.Errorf("%w: nothing is known of group %d", ErrStale, s.Group)
	}
	// Only the nodes that the step is about: it is called for each step of a plan.
	var nodes []shardmap.TableNode
	about := func(id raft.NodeID) {
		if n, ok := t.Node(id); ok && !slices.ContainsFunc(nodes, func(n shardmap.TableNode) bool { return n.ID == id }) {
			nodes = append(nodes, n)
		}
	}
	for _, r := range row.Replicas {
		if s.Group != 0 || r.Role == shardmap.ReplicaVoter {
			about(r.Node)
		}
	}
	for _, p := range s.In {
		about(p.Node)
	}
	c := newCluster(&shardmap.Table{Nodes: nodes}, known, Defaults)
	var g group
	c.read(&g, &row)
	w := writer{c: c}
	v := view{}
	for _, m := range g.members {
		if !m.learner {
			v[w.place(m)] = m.counts
		}
	}
	now := *s
	now.In, now.Out = nil, nil
	for _, p := range s.In {
		n, there := c.byID[p.Node]
		if !there || !c.nodes[n].live {
			return fmt.Errorf("%w: %s is not live", ErrStale, p.Name)
		}
		m, is := g.on(n)
		switch {
		case is && p.Replica != 0 && m.id != p.Replica:
			return fmt.Errorf("%w: %s holds replica %d of group %d now, not %d", ErrStale, p.Name, m.id, s.Group, p.Replica)
		case s.Kind == Add && is:
			return fmt.Errorf("%w: %s holds a replica of group %d already", ErrStale, p.Name, s.Group)
		case s.Kind == Promote && (!is || !m.learner):
			return fmt.Errorf("%w: %s holds no learner of group %d", ErrStale, p.Name, s.Group)
		case s.Kind == Promote && m.state != Learned && m.state != Intact:
			return fmt.Errorf("%w: the replica of group %d on %s has not caught up", ErrStale, s.Group, p.Name)
		case s.Kind == Prefer && (!is || !m.counts):
			return fmt.Errorf("%w: %s holds no live voter of group %d", ErrStale, p.Name, s.Group)
		}
		if s.Kind == Promote {
			now.In = append(now.In, w.place(m))
		}
	}
	for _, p := range s.Out {
		found := false
		for _, m := range g.members {
			if m.at == p.Node && m.id == p.Replica {
				now.Out = append(now.Out, w.place(m))
				found = true
			}
		}
		if !found {
			return fmt.Errorf("%w: group %d has no replica %d on %s", ErrStale, s.Group, p.Replica, p.Name)
		}
	}
	safe := v.change(&now)
	s.Before, s.After, s.Joint = now.Before, now.After, now.Joint
	if !safe {
		return fmt.Errorf("%w: group %d: %s", ErrRisk, s.Group, s.Risk())
	}
	return nil
}
