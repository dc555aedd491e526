package shardmap

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"muster/raft"
	"muster/shardmap/pack"
)

// The table is kept as a stream of bytes, equal for equal tables, numbers
// little-endian:
//
//	 0  8    "mustmeta"
//	 8  u16  format, 3
//	10  u16  zero
//	12  u32  length of what follows, in bytes
//	16       the table, in msgpack
//
// The table is an array, as are its parts; texts are strings:
//
//	table:   [cluster, cluster id, level, index, epoch, value max, [node, …], meta group, [group, …], [run, …]]
//	node:    [id, name, addr, role, [label, …], version, start, level], as in a founding
//	label:   [key, value]
//	group:   [id, incarnation, preferred node, [founder, …], [replica, …], [first slots, …]]
//	replica: [replica id, node, role], a founder too
//	first slots: [from, to], both included
//	run:     [number of slots, group], the runs of all slots, in order
//
// That is all of it: what the table's log says is in the table, save where it
// stands, which is said by what holds the stream. So are checksums. Bytes that
// are not those which would be written for the table that they tell of are
// refused, so nothing can be in them that is not understood.
const (
	tableMagic  = "mustmeta"
	tableHeader = 16
	// tableBytesMax is above what [TableNodesMax] nodes with all their
	// labels, and all groups, can take.
	tableBytesMax = 64 << 20
	// tableElementsMax bounds the msgpack elements: 200 for each node, and
	// four groups of five replicas for every four slots.
	tableElementsMax = 1 << 20
)

// TableCopy is the table as it was at one entry.
type TableCopy struct{ table *Table }

// Copy returns the table as it is now. It costs nothing: a table never changes.
func (m *TableMachine) Copy() *TableCopy { return &TableCopy{m.Table()} }

// Release does nothing.
func (c *TableCopy) Release() {}

// WriteTo writes the table to w.
func (c *TableCopy) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(c.table.appendSnapshot(nil))
	if err != nil {
		err = fmt.Errorf("write the table: %w", err)
	}
	return int64(n), err
}

// Load makes the table the one that a [TableCopy] wrote, which must be all of
// r, as it stood at the entry at. After an error it is as it was.
func (m *TableMachine) Load(r io.Reader, at raft.LogID) error {
	d := streamReader{r: r}
	t, err := readTable(&d, m.level)
	if errors.Is(err, ErrLevel) || errors.Is(err, ErrOlder) {
		return fmt.Errorf("load the table: %w", err)
	}
	if err != nil {
		return fmt.Errorf("load the table: %w: at byte %d: %w", ErrSnapshot, d.offset, err)
	}
	m.applied = at
	m.table.Store(t)
	return nil
}

func (t *Table) appendSnapshot(b []byte) []byte {
	b = append(b, tableMagic...)
	b = binary.LittleEndian.AppendUint16(b, tableFormats.newest)
	b = binary.LittleEndian.AppendUint16(b, 0)
	b = binary.LittleEndian.AppendUint32(b, 0)
	from := len(b)
	b = pack.AppendArray(b, tableFields)
	b = pack.AppendString(b, t.Cluster)
	b = pack.AppendUint(b, t.ClusterID)
	b = pack.AppendUint(b, uint64(t.Level))
	b = pack.AppendUint(b, t.Index)
	b = pack.AppendUint(b, t.Epoch)
	b = pack.AppendUint(b, uint64(t.ValueMax))
	b = pack.AppendArray(b, len(t.Nodes))
	for i := range t.Nodes {
		b = appendTableNode(b, &t.Nodes[i])
	}
	b = appendTableGroup(b, &t.Meta)
	b = pack.AppendArray(b, len(t.Groups))
	for i := range t.Groups {
		b = appendTableGroup(b, &t.Groups[i])
	}
	runs := t.Ranges()
	b = pack.AppendArray(b, len(runs))
	for _, r := range runs {
		b = pack.AppendArray(b, 2)
		b = pack.AppendUint(b, uint64(r.To-r.From)+1)
		b = pack.AppendUint(b, uint64(r.Group))
	}
	binary.LittleEndian.PutUint32(b[from-4:], uint32(len(b)-from))
	return b
}

// tableFields and groupFields are how many fields a table and a group have.
const (
	tableFields = 10
	groupFields = 6
)

func appendTableGroup(b []byte, g *TableGroup) []byte {
	b = pack.AppendArray(b, groupFields)
	b = pack.AppendUint(b, uint64(g.ID))
	b = pack.AppendUint(b, uint64(g.Incarnation))
	b = pack.AppendUint(b, uint64(g.Preferred))
	for _, list := range [...][]TableReplica{g.Founders, g.Replicas} {
		b = pack.AppendArray(b, len(list))
		for _, r := range list {
			b = pack.AppendArray(b, 3)
			b = pack.AppendUint(b, uint64(r.Replica))
			b = pack.AppendUint(b, uint64(r.Node))
			b = pack.AppendUint(b, uint64(r.Role))
		}
	}
	return appendRanges(b, g.FirstSlots)
}

// readTable reads a table, and checks it for a build that understands no more than
// level.
func readTable(d *streamReader, level uint32) (*Table, error) {
	head, err := d.need(tableHeader)
	if err != nil {
		return nil, err
	}
	if string(head[:8]) != tableMagic {
		return nil, fmt.Errorf("begins with %q, want %q", head[:8], tableMagic)
	}
	if err := tableFormats.check(binary.LittleEndian.Uint16(head[8:])); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint32(head[12:])
	if n > tableBytesMax {
		return nil, fmt.Errorf("%d bytes, the limit is %d", n, tableBytesMax)
	}
	b, err := d.take(tableHeader + int(n))
	if err != nil {
		return nil, err
	}
	if err := pack.Check(b[tableHeader:], tableElementsMax); err != nil {
		return nil, err
	}
	r := tableReader{Reader: pack.NewReader(b[tableHeader:])}
	t := r.table()
	if err := r.err(); err != nil {
		return nil, err
	}
	if err := t.understood(level); err != nil {
		return nil, err
	}
	if err := t.check(); err != nil {
		return nil, err
	}
	if !bytes.Equal(t.appendSnapshot(make([]byte, 0, len(b))), b) {
		return nil, errors.New("these are not the bytes of the table that they tell of")
	}
	return t, d.end()
}

func (r *tableReader) table() *Table {
	t := &Table{}
	r.fields("table", tableFields)
	t.Cluster, t.ClusterID = r.String(), r.Uint()
	t.Level = uint32(r.UintMax(1<<32 - 1))
	t.Index = r.Uint()
	t.Epoch = r.Uint()
	t.ValueMax = int(r.UintMax(ValueMaxLimit))
	t.Nodes = list(r, nodeBytesMin, r.node)
	t.Meta = r.group()
	t.Groups = list(r, 1+groupFields, r.group)
	slot := 0
	list(r, 3, func() (none struct{}) {
		r.fields("run", 2)
		n, g := int(r.UintMax(Slots)), raft.GroupID(r.UintMax(1<<16-1))
		if slot+n > Slots {
			r.Fail(fmt.Sprintf("more than %d slots", Slots))
			return
		}
		for range n {
			t.Slots[slot] = g
			slot++
		}
		return
	})
	if slot != Slots && r.Err() == nil {
		r.Fail(fmt.Sprintf("%d slots, there are %d", slot, Slots))
	}
	return t
}

func (r *tableReader) group() (g TableGroup) {
	r.fields("group", groupFields)
	g.ID, g.Incarnation = raft.GroupID(r.UintMax(1<<16-1)), raft.Incarnation(r.Uint())
	g.Preferred = raft.NodeID(r.Uint())
	g.Founders, g.Replicas = list(r, 4, r.replica), list(r, 4, r.replica)
	g.FirstSlots = r.ranges()
	return g
}

func (r *tableReader) replica() (m TableReplica) {
	r.fields("replica", 3)
	m.Replica, m.Node = raft.ReplicaID(r.Uint()), raft.NodeID(r.Uint())
	m.Role = ReplicaRole(r.UintMax(255))
	return m
}

// check says why t can't be the table of a cluster.
func (t *Table) check() error {
	switch {
	case len(t.Nodes) > TableNodesMax:
		return fmt.Errorf("%d nodes, the limit is %d", len(t.Nodes), TableNodesMax)
	case len(t.Cluster) > TableTextMax:
		return fmt.Errorf("the name of the cluster has %d bytes, the limit is %d", len(t.Cluster), TableTextMax)
	case t.Epoch > t.Index:
		return fmt.Errorf("epoch %d, the table changed last at %d", t.Epoch, t.Index)
	case t.Meta.ID != 0:
		return fmt.Errorf("%s in the place of the meta group", t.Meta.ID)
	}
	for i := range t.Nodes {
		if err := t.Nodes[i].validate(); err != nil {
			return err
		}
		if i > 0 && t.Nodes[i-1].ID >= t.Nodes[i].ID {
			return fmt.Errorf("node %s is out of order", t.Nodes[i].ID)
		}
		if t.Nodes[i].Level < t.Level {
			return fmt.Errorf("node %s understands level %d, the cluster is at level %d", t.Nodes[i].ID, t.Nodes[i].Level, t.Level)
		}
	}
	if err := t.Meta.check(); err != nil {
		return err
	}
	for i := range t.Groups {
		if err := t.Groups[i].check(); err != nil {
			return err
		}
		if id := t.Groups[i].ID; id == 0 || i > 0 && t.Groups[i-1].ID >= id {
			return fmt.Errorf("%s is out of order", id)
		}
	}
	if err := t.checkFirstSlots(); err != nil {
		return err
	}
	for _, r := range t.Ranges() {
		if r.Group == 0 {
			continue
		}
		if _, ok := t.Group(r.Group); !ok {
			return fmt.Errorf("slots %s are of %s, which is not in the table", r.SlotRange, r.Group)
		}
	}
	return nil
}

// checkFirstSlots says why groups can't have been founded with these slots: no slot
// begins in two groups.
func (t *Table) checkFirstSlots() error {
	if len(t.Meta.FirstSlots) > 0 {
		return fmt.Errorf("%s is founded with slots", t.Meta.ID)
	}
	var first [Slots]raft.GroupID
	for i := range t.Groups {
		g := &t.Groups[i]
		if err := checkRanges(g.FirstSlots); err != nil {
			return fmt.Errorf("%s: %w", g.ID, err)
		}
		for s := range eachOf(g.FirstSlots) {
			if first[s] != 0 {
				return fmt.Errorf("%s and %s are both founded with slot %d", first[s], g.ID, s)
			}
			first[s] = g.ID
		}
	}
	return nil
}

func (g *TableGroup) check() error {
	for _, list := range [...]struct {
		name     string
		replicas []TableReplica
	}{{"founder", g.Founders}, {"replica", g.Replicas}} {
		if len(list.replicas) > raft.MembersMax {
			return fmt.Errorf("%s has %d of %s, the limit is %d", g.ID, len(list.replicas), list.name, raft.MembersMax)
		}
		for i, r := range list.replicas {
			switch {
			case r.Role != ReplicaVoter && r.Role != ReplicaLearner:
				return fmt.Errorf("%s %d of %s has role %d: %w", list.name, r.Replica, g.ID, r.Role, ErrLevel)
			case r.Replica == 0 || i > 0 && list.replicas[i-1].Replica >= r.Replica:
				return fmt.Errorf("%s %d of %s is out of order", list.name, r.Replica, g.ID)
			}
		}
	}
	return nil
}
