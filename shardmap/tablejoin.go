package shardmap

import (
	"cmp"
	"fmt"
	"slices"

	"muster/raft"
	"muster/shardmap/pack"
)

// Join makes a host a member of the cluster, which then is to get a copy of the meta
// group. The body is
//
//	[node]
//
// with the node as in a founding. Asked again it tells what the host is since its last
// start.
type Join struct {
	Node TableNode
}

// Leave takes a node off the list, for good. No group may have a replica there:
//
//	[node]
type Leave struct {
	Node raft.NodeID
}

// AppendJoin appends the bytes of a join to b. At this level the error is always nil.
func AppendJoin(b []byte, j *Join) ([]byte, error) {
	b = appendTableHead(b, TableJoin, 1)
	return appendTableNode(b, &j.Node, j.Node.Labels), nil
}

// AppendLeave appends the bytes of a leave to b. At this level the error is always nil.
func AppendLeave(b []byte, l *Leave) ([]byte, error) {
	b = appendTableHead(b, TableLeave, 1)
	return pack.AppendUint(b, uint64(l.Node)), nil
}

func (r *tableReader) join() (tableCommand, error) {
	j := new(Join)
	r.fields("join", 1)
	j.Node = r.node()
	return j, r.err()
}

func (r *tableReader) leave() (tableCommand, error) {
	l := new(Leave)
	r.fields("leave", 1)
	l.Node = raft.NodeID(r.Uint())
	return l, r.err()
}

// apply returns the table with the node on its list.
func (j *Join) apply(t *Table, id raft.LogID) (*Table, error) {
	n := TableNode{ID: j.Node.ID, Name: j.Node.Name, Addr: j.Node.Addr, Role: j.Node.Role, Announced: sortedLabels(j.Node.Labels),
		Version: j.Node.Version, Start: j.Node.Start, Level: j.Node.Level, Weight: WeightDefault}
	n.mergeLabels()
	if err := n.validate(); err != nil {
		return t, err
	}
	if t.WasRemoved(n.ID) && !bug("removed node joins again") {
		return t, removed(n.ID)
	}
	if n.Level < t.Level {
		return t, &Refusal{Kind: RefusedLevel, Object: n.called(), Found: fmt.Sprintf("its muster understands level %d, the cluster is at level %d", n.Level, t.Level),
			Next: "start the newer muster there"}
	}
	if err := taken(t, &n); err != nil {
		return t, err
	}
	i, member := t.node(n.ID)
	if member {
		// It asks until it has its copy of the meta group, perhaps started anew in
		// between. What was decided about it since the first time stays.
		a := Announce{Node: n.ID, Start: n.Start, Addr: n.Addr, Version: n.Version, Name: n.Name, Labels: n.Announced, Level: n.Level}
		return a.apply(t, id)
	}
	if err := t.Security.admits(&n); err != nil {
		return t, err
	}
	if len(t.Nodes) >= TableNodesMax {
		return t, &Refusal{Kind: RefusedConflict, Object: n.called(), Found: fmt.Sprintf("the cluster has %d nodes, as many as it may", len(t.Nodes)),
			Next: "take one off first: muster node remove NODE"}
	}
	made := t.draft(id)
	made.Nodes = slices.Insert(slices.Clone(t.Nodes), i, n)
	return made.Table, nil
}

// admits refuses a host that has no certificate where each member has one, and one that is not what
// its token lets it be.
func (s *Security) admits(n *TableNode) error {
	p, ok := s.Pin(n.ID)
	switch {
	case !ok && s.Mode == SecurityOnly:
		return &Refusal{Kind: RefusedConflict, Object: n.called(), Found: "it has no certificate of the cluster", Next: "start it with a token: muster token create"}
	case ok && p.Role != 0 && p.Role != n.Role:
		return &Refusal{Kind: RefusedConflict, Object: n.called(), Found: fmt.Sprintf("it is a %s, and its token is for a %s", n.Role, p.Role), Next: fmt.Sprintf("start it with --role %s; or with another token: muster token create --role %s", p.Role, n.Role)}
	}
	return nil
}

// taken refuses a node whose name or address another one has. It does not matter
// whether that one is alive: it may come back.
func taken(t *Table, n *TableNode) error {
	for i := range t.Nodes {
		has, what := &t.Nodes[i], ""
		switch {
		case has.ID == n.ID:
			continue
		case has.Addr == n.Addr:
			what = "address " + n.Addr
		case has.Name == n.Name && n.Name != "" && !bug("two joiners with one name"):
			what = "name " + n.Name
		default:
			continue
		}
		return &Refusal{Kind: RefusedConflict, Object: fmt.Sprintf("node %s at %s", cmp.Or(n.Name, n.ID.String()), n.Addr),
			Found: fmt.Sprintf("%s (%s) at %s has the %s", has.called(), has.ID, has.Addr, what),
			Next:  fmt.Sprintf("join under another one; or, if that node is gone for good: muster node remove %s --force", has.ID)}
	}
	return nil
}

// apply returns the table without the node.
func (l *Leave) apply(t *Table, id raft.LogID) (*Table, error) {
	i, ok := t.node(l.Node)
	if !ok && t.WasRemoved(l.Node) {
		return t, nil
	}
	if !ok {
		return t, unknownNode(t, l.Node)
	}
	for g := range t.EachGroup {
		if _, holds := g.ReplicaOn(l.Node); holds {
			return t, &Refusal{Kind: RefusedConflict, Object: t.Nodes[i].called(), Found: fmt.Sprintf("it has a replica of %s", g.ID),
				Next: fmt.Sprintf("wait until that is gone: muster node remove %s", l.Node)}
		}
	}
	if err := t.lastServer(l.Node, "removed"); err != nil {
		return t, err
	}
	if len(t.Removed) >= RemovedMax {
		return t, &Refusal{Kind: RefusedConflict, Object: t.Nodes[i].called(), Found: fmt.Sprintf("%d nodes were removed before, as many as the table remembers", len(t.Removed)),
			Next: "let it stay, drained"}
	}
	made := t.draft(id)
	made.Nodes = slices.Delete(slices.Clone(t.Nodes), i, i+1)
	at, _ := slices.BinarySearch(t.Removed, l.Node)
	made.Removed = slices.Insert(slices.Clone(t.Removed), at, l.Node)
	made.Security.forget(l.Node)
	// The others may have been waiting for this one's newer binary.
	made.Level = made.levelOfAll()
	return made.Table, nil
}

func (j *Join) describe() string {
	n := &j.Node
	return fmt.Sprintf("node %s name %s at %s role %s version %s start %d level %d",
		n.ID, describeText(n.Name), describeText(n.Addr), n.Role, describeText(n.Version), n.Start, n.Level)
}

func (l *Leave) describe() string { return "node " + l.Node.String() }
