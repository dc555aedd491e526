package shardmap

import (
	"cmp"
	"fmt"
	"slices"

	"muster/raft"
	"muster/shardmap/pack"
)

// Found makes a cluster, once. A command to the meta group is a msgpack array
// of two, kind and body; this body is
//
//	[cluster, cluster id, level, value max, groups, [node, …]]
//	node:   [id, name, addr, role, [label, …], version, start, level]
//	label:  [key, value]
//
// with texts as strings. From level 8 on a seventh field of the body may say in which mode of TLS
// the cluster begins; without it that is off.
type Found struct {
	Cluster   string
	ClusterID uint64
	Level     uint32
	ValueMax  int // bytes
	Groups    int // data groups, numbered from 1
	Nodes     []FoundNode
	Mode      TLSMode // SecurityOff, or from level 8 on SecurityBoth
}

type (
	// FoundNode is a founding node: its line in the table.
	FoundNode = TableNode
	// FoundLabel is one of its labels, as in its line.
	FoundLabel = Label
)

const foundFields = 6

// AppendFound appends the bytes of a founding to b. At this level the error is
// always nil.
func AppendFound(b []byte, f *Found) ([]byte, error) {
	fields := foundFields
	if f.Mode != SecurityOff { // what a build of an older level would not take
		fields++
	}
	b = appendTableHead(b, TableFound, fields)
	b = pack.AppendString(b, f.Cluster)
	b = pack.AppendUint(b, f.ClusterID)
	b = pack.AppendUint(b, uint64(f.Level))
	b = pack.AppendUint(b, uint64(f.ValueMax))
	b = pack.AppendUint(b, uint64(f.Groups))
	b = pack.AppendArray(b, len(f.Nodes))
	for i := range f.Nodes {
		b = appendTableNode(b, &f.Nodes[i], f.Nodes[i].Labels)
	}
	if f.Mode != SecurityOff {
		b = pack.AppendUint(b, uint64(f.Mode))
	}
	return b, nil
}

func (r *tableReader) found() (tableCommand, error) {
	f, at := new(Found), *r
	secured := r.Array() == foundFields+1
	if !secured {
		*r = at
		r.fields("found", foundFields)
	}
	f.Cluster, f.ClusterID = r.String(), r.Uint()
	f.Level = uint32(r.UintMax(1<<32 - 1))
	f.ValueMax, f.Groups = int(r.UintMax(1<<31-1)), int(r.UintMax(1<<31-1))
	f.Nodes = list(r, nodeBytesMin, r.node)
	if secured {
		f.Mode = TLSMode(r.UintMax(255))
	}
	return f, r.err()
}

// apply returns the table of a cluster made by f.
func (f *Found) apply(t *Table, id raft.LogID) (*Table, error) {
	switch {
	case t.Founded() && t.ClusterID == f.ClusterID:
		return t, nil
	case t.Founded():
		return t, fmt.Errorf("this is cluster %q (%016x) already, it cannot become %q (%016x)", t.Cluster, t.ClusterID, f.Cluster, f.ClusterID)
	case f.ClusterID == 0 || f.Cluster == "" || len(f.Cluster) > TableTextMax:
		return t, fmt.Errorf("cluster name %q, id %016x: want a name of at most %d bytes, and an id", f.Cluster[:min(len(f.Cluster), 32)], f.ClusterID, TableTextMax)
	case f.Groups < 1 || f.Groups > Slots:
		return t, fmt.Errorf("%d groups, want 1 to %d, so that each has a slot", f.Groups, Slots)
	case f.ValueMax < 1 || f.ValueMax > ValueMaxLimit:
		return t, fmt.Errorf("values of at most %d bytes, want 1 to %d", f.ValueMax, ValueMaxLimit)
	case len(f.Nodes) == 0 || len(f.Nodes) > TableNodesMax:
		return t, fmt.Errorf("%d nodes, want 1 to %d", len(f.Nodes), TableNodesMax)
	case f.Mode > SecurityBoth:
		return t, fmt.Errorf("mode %d of TLS, want %d (off) or %d (both): no member has a certificate yet", f.Mode, SecurityOff, SecurityBoth)
	case f.Mode != SecurityOff && f.Level < SecurityLevel:
		return t, fmt.Errorf("mode %s of TLS at level %d, which needs level %d", f.Mode, f.Level, SecurityLevel)
	}
	made := &Table{Cluster: f.Cluster, ClusterID: f.ClusterID, Level: f.Level, Index: id.Index, Epoch: id.Index, ValueMax: f.ValueMax,
		Nodes: slices.Clone(f.Nodes), Security: Security{Mode: f.Mode}}
	slices.SortFunc(made.Nodes, func(a, b TableNode) int { return cmp.Compare(a.ID, b.ID) })
	var servers []raft.NodeID
	for i := range made.Nodes {
		n := &made.Nodes[i]
		if err := n.validate(); err != nil {
			return t, err
		}
		if i > 0 && made.Nodes[i-1].ID == n.ID {
			return t, fmt.Errorf("node %s is named twice", n.ID)
		}
		if n.Level < f.Level {
			return t, fmt.Errorf("node %s understands level %d, the cluster is to be of level %d", n.ID, n.Level, f.Level)
		}
		if n.Role == NodeServer {
			servers = append(servers, n.ID)
		}
		// Of a founder it is known only what it announces.
		*n = TableNode{ID: n.ID, Name: n.Name, Addr: n.Addr, Role: n.Role, Announced: sortedLabels(n.Labels), Version: n.Version, Start: n.Start, Level: n.Level, Weight: WeightDefault}
		n.mergeLabels()
	}
	if len(servers) == 0 {
		return t, fmt.Errorf("no server among %d nodes, want one at least", len(made.Nodes))
	}
	made.Meta = PlanMeta(made.Nodes)
	made.Groups, made.Slots = Plan(servers, f.Groups)
	made.Meta.Next = made.Meta.nextOfFounding()
	for i := range made.Groups {
		g := &made.Groups[i]
		g.Incarnation, g.Next = raft.Incarnation(id.Index), g.nextOfFounding()
	}
	return made, nil
}
