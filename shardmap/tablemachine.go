package shardmap

import (
	"cmp"
	"fmt"
	"slices"
	"sync/atomic"

	"muster/raft"
)

// TableMachine builds the meta group's [Table] from its log. One goroutine
// applies; any may ask for the table.
type TableMachine struct {
	level   uint32                // that it understands; set once
	applied raft.LogID            // owned by the goroutine that applies
	table   atomic.Pointer[Table] // never nil
}

// NewTableMachine returns the state before any entry.
func NewTableMachine() *TableMachine {
	m := &TableMachine{level: Level}
	m.table.Store(&Table{})
	return m
}

// Understand makes m one of a build that understands no more than level. It is
// for tests, as [Map.Understand].
func (m *TableMachine) Understand(level uint32) { m.level = level }

// Table returns the table as of now. It never changes.
func (m *TableMachine) Table() *Table { return m.table.Load() }

// TableResult is the outcome of a command to the meta group.
type TableResult struct {
	Changed bool
	// Refused says why nothing changed, for whom asked; nil where the
	// command took effect, or where it asked for what is so already.
	Refused *Refusal
	Index   uint64 // of the command's entry; the id of a job that it made
}

// Apply carries out the command of the entry id. After an error, which is about
// the bytes of the payload or the order of entries, nothing was changed and the
// group must stop.
func (m *TableMachine) Apply(id raft.LogID, payload []byte) (TableResult, error) {
	if id.Index <= m.applied.Index || id.Term < m.applied.Term {
		return TableResult{}, fmt.Errorf("%w: apply %s after %s", ErrInvariant, id, m.applied)
	}
	row, c, err := readTableCommand(payload)
	if err == nil {
		err = row.understood(m.level)
	}
	if err != nil {
		return TableResult{}, fmt.Errorf("apply %s: %w", id, err)
	}
	t, refused := c.apply(m.table.Load(), id)
	// What the others do from here on, this build could not.
	if err := t.understood(m.level); err != nil {
		return TableResult{}, fmt.Errorf("apply %s: %w", id, err)
	}
	m.applied = id
	if refused != nil {
		return TableResult{Refused: refusalOf(row, refused), Index: id.Index}, nil
	}
	return TableResult{Changed: m.table.Swap(t) != t, Index: id.Index}, nil
}

// understood returns an error if a build that understands no more than level can't
// be a member of the table's cluster.
func (t *Table) understood(level uint32) error {
	if t.Level > level {
		return fmt.Errorf("cluster of level %d: %w; known is %d", t.Level, ErrLevel, level)
	}
	return nil
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
	}
	made := &Table{Cluster: f.Cluster, ClusterID: f.ClusterID, Level: f.Level, Index: id.Index, Epoch: id.Index, ValueMax: f.ValueMax,
		Nodes: slices.Clone(f.Nodes)}
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
		n.Labels = sortedLabels(n.Labels)
	}
	if len(servers) == 0 {
		return t, fmt.Errorf("no server among %d nodes, want one at least", len(made.Nodes))
	}
	made.Meta = PlanMeta(made.Nodes)
	made.Groups, made.Slots = Plan(servers, f.Groups)
	for i := range made.Groups {
		made.Groups[i].Incarnation = raft.Incarnation(id.Index)
	}
	return made, nil
}

// apply returns the table with a node's line as a says, and at the level that all
// members have announced by now.
func (a *Announce) apply(t *Table, id raft.LogID) (*Table, error) {
	i, ok := t.node(a.Node)
	if !ok {
		return t, fmt.Errorf("node %s is not a member", a.Node)
	}
	// The start is what the node counts, for people to read. It may go back: one that
	// somebody made up must not keep the node out. Which life of a node is taken is
	// settled before this log (repl/lives.go).
	was := t.Nodes[i]
	now := was
	now.Start, now.Addr, now.Version, now.Name, now.Labels, now.Level = a.Start, a.Addr, a.Version, a.Name, sortedLabels(a.Labels), a.Level
	if err := now.validate(); err != nil {
		return t, err
	}
	if now.Level < t.Level {
		return t, fmt.Errorf("node %s understands level %d, the cluster is at level %d: start the newer muster there", a.Node, a.Level, t.Level)
	}
	if now.Start == was.Start && now.Addr == was.Addr && now.Version == was.Version && now.Name == was.Name && now.Level == was.Level && slices.Equal(now.Labels, was.Labels) {
		return t, nil
	}
	made := *t
	made.Nodes = slices.Clone(t.Nodes)
	made.Nodes[i] = now
	made.Index = id.Index
	made.Level = made.levelOfAll()
	return &made, nil
}

// levelOfAll returns the highest level that all members have announced. Each says it
// anew with each start, before it serves; one that has gone back to an older binary
// is refused while the cluster is above that one's level, and stops at the entry
// that raises the level above it.
func (t *Table) levelOfAll() uint32 {
	level := t.Nodes[0].Level
	for i := range t.Nodes {
		if bug("level of the newest member") {
			level = max(level, t.Nodes[i].Level)
		} else {
			level = min(level, t.Nodes[i].Level)
		}
	}
	return max(t.Level, level)
}

func sortedLabels(labels []Label) []Label {
	return slices.SortedFunc(slices.Values(labels), func(a, b Label) int {
		return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Value, b.Value))
	})
}
