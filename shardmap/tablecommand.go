package shardmap

import (
	"errors"
	"fmt"

	"muster/raft"
	"muster/shardmap/pack"
)

// TableCommandKind says what a command to the meta group does. Numbers are for
// ever; commands.go has a row for each.
type TableCommandKind uint8

const (
	TableFound    TableCommandKind = 1 // makes the cluster; body: Found
	TableAnnounce TableCommandKind = 2 // a member says what it is; body: Announce
)

// Limits of the table. They are checked when a command is applied: one that is
// beyond them is refused, alike on every replica.
const (
	// TableNodesMax bounds the peer list, which every node and client holds.
	TableNodesMax = 1000
	// TableTextMax bounds each name, address, version, label, in bytes.
	TableTextMax = 255
	// TableLabelsMax bounds the labels of a node.
	TableLabelsMax = 64
	// TableElementsMax bounds the msgpack elements of one command.
	TableElementsMax = 1 << 18
)

// Found makes a cluster, once. A command to the meta group is a msgpack array
// of two, kind and body; this body is
//
//	[cluster, cluster id, level, value max, groups, [node, …]]
//	node:   [id, name, addr, role, [label, …], version, start, level]
//	label:  [key, value]
//
// with texts as strings.
type Found struct {
	Cluster   string
	ClusterID uint64
	Level     uint32
	ValueMax  int // bytes
	Groups    int // data groups, numbered from 1
	Nodes     []FoundNode
}

type (
	// FoundNode is a founding node: its line in the table.
	FoundNode = TableNode
	// FoundLabel is one of its labels, as in its line.
	FoundLabel = Label
)

// Announce tells the cluster what a member is since its last start:
//
//	[node, start, addr, version, name, [label, …], level]
type Announce struct {
	Node    raft.NodeID
	Start   uint64
	Addr    string
	Version string
	Name    string
	Labels  []Label
	Level   uint32 // the newest that its binary understands
}

// AppendFound appends the bytes of a founding to b. At this level the error is
// always nil.
func AppendFound(b []byte, f *Found) ([]byte, error) {
	b = pack.AppendArray(b, 2)
	b = pack.AppendUint(b, uint64(TableFound))
	b = pack.AppendArray(b, 6)
	b = pack.AppendString(b, f.Cluster)
	b = pack.AppendUint(b, f.ClusterID)
	b = pack.AppendUint(b, uint64(f.Level))
	b = pack.AppendUint(b, uint64(f.ValueMax))
	b = pack.AppendUint(b, uint64(f.Groups))
	b = pack.AppendArray(b, len(f.Nodes))
	for i := range f.Nodes {
		b = appendTableNode(b, &f.Nodes[i])
	}
	return b, nil
}

func appendTableNode(b []byte, n *TableNode) []byte {
	b = pack.AppendArray(b, 8)
	b = pack.AppendUint(b, uint64(n.ID))
	b = pack.AppendString(b, n.Name)
	b = pack.AppendString(b, n.Addr)
	b = pack.AppendUint(b, uint64(n.Role))
	b = appendLabels(b, n.Labels)
	b = pack.AppendString(b, n.Version)
	b = pack.AppendUint(b, n.Start)
	return pack.AppendUint(b, uint64(n.Level))
}

// AppendAnnounce appends the bytes of an announcement to b. At this level the
// error is always nil.
func AppendAnnounce(b []byte, a *Announce) ([]byte, error) {
	b = pack.AppendArray(b, 2)
	b = pack.AppendUint(b, uint64(TableAnnounce))
	b = pack.AppendArray(b, 7)
	b = pack.AppendUint(b, uint64(a.Node))
	b = pack.AppendUint(b, a.Start)
	b = pack.AppendString(b, a.Addr)
	b = pack.AppendString(b, a.Version)
	b = pack.AppendString(b, a.Name)
	b = appendLabels(b, a.Labels)
	return pack.AppendUint(b, uint64(a.Level)), nil
}

func appendLabels(b []byte, labels []Label) []byte {
	b = pack.AppendArray(b, len(labels))
	for _, l := range labels {
		b = pack.AppendArray(b, 2)
		b = pack.AppendString(b, l.Key)
		b = pack.AppendString(b, l.Value)
	}
	return b
}

// tableReader reads the body of a command: of those to the meta group, and of those to
// data groups that have one.
type tableReader struct {
	pack.Reader
	level error // the first thing that a newer level must have written
}

// fields takes the head of an array that has want fields at this level.
func (r *tableReader) fields(what string, want int) {
	if n := r.Array(); r.Err() == nil && n != want {
		if n > want && r.level == nil {
			r.level = fmt.Errorf("%s of %d fields: %w; level %d has %d", what, n, ErrLevel, Level, want)
		}
		r.Fail(fmt.Sprintf("%s of %d fields, want %d", what, n, want))
	}
}

// err returns what kept the command from being read.
func (r *tableReader) err() error {
	if r.level != nil {
		return r.level
	}
	if err := r.Done(); err != nil {
		return fmt.Errorf("%w: %w", ErrCommand, err)
	}
	return nil
}

// list reads an array by calling read for each element, of bytes bytes at least,
// as long as there is no mistake. Room is made only for what can be there.
func list[E any](r *tableReader, bytes int, read func() E) []E {
	n := r.Array()
	if left := len(r.Rest()); n > left/bytes {
		r.Fail(fmt.Sprintf("%d elements in %d bytes", n, left))
	}
	if n == 0 || r.Err() != nil {
		return nil
	}
	out := make([]E, 0, n)
	for i := 0; i < n && r.Err() == nil; i++ {
		out = append(out, read())
	}
	return out
}

func (r *tableReader) labels() []Label {
	return list(r, 3, func() Label {
		r.fields("label", 2)
		return Label{r.String(), r.String()}
	})
}

func (r *tableReader) found() (tableCommand, error) {
	f := new(Found)
	r.fields("found", 6)
	f.Cluster, f.ClusterID = r.String(), r.Uint()
	f.Level = uint32(r.UintMax(1<<32 - 1))
	f.ValueMax, f.Groups = int(r.UintMax(1<<31-1)), int(r.UintMax(1<<31-1))
	f.Nodes = list(r, nodeBytesMin, r.node)
	return f, r.err()
}

// nodeBytesMin is what a node takes at least: nine heads, and an address of
// one byte.
const nodeBytesMin = 10

func (r *tableReader) node() (n TableNode) {
	r.fields("node", 8)
	n.ID, n.Name, n.Addr = raft.NodeID(r.Uint()), r.String(), r.String()
	n.Role, n.Labels = NodeRole(r.UintMax(255)), r.labels()
	n.Version, n.Start = r.String(), r.Uint()
	n.Level = uint32(r.UintMax(1<<32 - 1))
	return n
}

func (r *tableReader) announce() (tableCommand, error) {
	a := new(Announce)
	r.fields("announce", 7)
	a.Node, a.Start = raft.NodeID(r.Uint()), r.Uint()
	a.Addr, a.Version, a.Name = r.String(), r.String(), r.String()
	a.Labels = r.labels()
	a.Level = uint32(r.UintMax(1<<32 - 1))
	return a, r.err()
}

// tableCommand is a command to the meta group that was read.
type tableCommand interface {
	// apply returns the table as it is with the command of the entry id, or why
	// the command is refused. It leaves t as it is.
	apply(t *Table, id raft.LogID) (*Table, error)
	// describe says in one line what it does.
	describe() string
}

func readTableCommand(payload []byte) (*CommandRow, tableCommand, error) {
	if err := pack.Check(payload, TableElementsMax); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrCommand, err)
	}
	r := tableReader{Reader: pack.NewReader(payload)}
	row, err := r.row()
	if err != nil {
		return nil, nil, err
	}
	c, err := row.read(&r)
	return row, c, err
}

// row reads what stands before the body.
func (r *tableReader) row() (*CommandRow, error) {
	r.fields("command to the meta group", 2)
	kind := r.Uint()
	if r.Err() != nil {
		return nil, r.err()
	}
	if kind == 0 || kind >= uint64(len(tableRows)) {
		return nil, fmt.Errorf("command to the meta group of kind %d: %w; level %d ends at %d", kind, ErrLevel, Level, len(tableRows)-1)
	}
	return &tableRows[kind], nil
}

// TableRow returns the row of a command to the meta group, whose body it does not
// look at.
func TableRow(payload []byte) (*CommandRow, error) {
	r := tableReader{Reader: pack.NewReader(payload)}
	return r.row()
}

// TableKindOf returns the kind of a command to the meta group; 0 if this level has none
// such. It does not look at the body.
func TableKindOf(payload []byte) TableCommandKind {
	r := tableReader{Reader: pack.NewReader(payload)}
	r.fields("command to the meta group", 2)
	if kind := r.Uint(); r.Err() == nil && kind < uint64(len(tableRows)) {
		return TableCommandKind(kind)
	}
	return 0
}

// validate says why the line of a node cannot stand in the table.
func (n *TableNode) validate() error {
	switch {
	case n.ID == 0:
		return errors.New("node id is zero")
	case n.Addr == "":
		return fmt.Errorf("node %s has no address", n.ID)
	case n.Role != NodeServer && n.Role != NodeClient:
		return fmt.Errorf("node %s has role %d, want %d (server) or %d (client)", n.ID, n.Role, NodeServer, NodeClient)
	case len(n.Labels) > TableLabelsMax:
		return fmt.Errorf("node %s has %d labels, the limit is %d", n.ID, len(n.Labels), TableLabelsMax)
	}
	texts := []string{n.Name, n.Addr, n.Version}
	for _, l := range n.Labels {
		texts = append(texts, l.Key, l.Value)
	}
	for _, s := range texts {
		if len(s) > TableTextMax {
			return fmt.Errorf("node %s: %q… has %d bytes, the limit is %d", n.ID, s[:32], len(s), TableTextMax)
		}
	}
	return nil
}
