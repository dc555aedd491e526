package shardmap

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"muster/raft"
	"muster/shardmap/pack"
)

// nodeFields is how many fields of a node commands have, and nodeFieldsKept how many the
// table's own bytes have, by format.
const nodeFields = 8

var nodeFieldsKept = perFormat{nodeFields, 10, 11, 11, 11, 11, 11}

// appendTableNode appends a node as commands have it, with these labels.
func appendTableNode(b []byte, n *TableNode, labels []Label) []byte {
	return appendNodeFields(pack.AppendArray(b, nodeFields), n, labels)
}

// appendKeptNode appends a node as the table's bytes have it. The labels that count follow
// from the others.
func appendKeptNode(b []byte, n *TableNode, format uint16) []byte {
	b = appendNodeFields(pack.AppendArray(b, nodeFieldsKept.of(format)), n, n.Announced)
	if format >= tableFormatJobs {
		b = pack.AppendBool(b, n.Draining)
		b = appendLabels(b, n.Given)
	}
	if format >= tableFormatMoves {
		b = pack.AppendUint(b, uint64(n.Weight))
	}
	return b
}

func appendNodeFields(b []byte, n *TableNode, labels []Label) []byte {
	b = pack.AppendUint(b, uint64(n.ID))
	b = pack.AppendString(b, n.Name)
	b = pack.AppendString(b, n.Addr)
	b = pack.AppendUint(b, uint64(n.Role))
	b = appendLabels(b, labels)
	b = pack.AppendString(b, n.Version)
	b = pack.AppendUint(b, n.Start)
	return pack.AppendUint(b, uint64(n.Level))
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

func (r *tableReader) labels() []Label {
	return list(r, 3, func() Label {
		r.fields("label", 2)
		return Label{r.String(), r.String()}
	})
}

// nodeBytesMin is what a node takes at least: nine heads, and an address of
// one byte.
const nodeBytesMin = 10

// node reads a node of a command: its labels are those that it announces.
func (r *tableReader) node() (n TableNode) {
	r.fields("node", nodeFields)
	r.nodeFields(&n)
	return n
}

// keptNode reads a node of a table.
func (r *tableReader) keptNode(format uint16) (n TableNode) {
	r.fields("node", nodeFieldsKept.of(format))
	r.nodeFields(&n)
	n.Announced, n.Weight = n.Labels, WeightDefault
	if format >= tableFormatJobs {
		n.Draining, n.Given = r.Bool(), r.labels()
	}
	if format >= tableFormatMoves {
		n.Weight = uint32(r.UintMax(1<<32 - 1))
	}
	n.mergeLabels()
	return n
}

func (r *tableReader) nodeFields(n *TableNode) {
	n.ID, n.Name, n.Addr = raft.NodeID(r.Uint()), r.String(), r.String()
	n.Role, n.Labels = NodeRole(r.UintMax(255)), r.labels()
	n.Version, n.Start = r.String(), r.Uint()
	n.Level = uint32(r.UintMax(1<<32 - 1))
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
	case n.Weight > WeightMax:
		return fmt.Errorf("node %s has weight %d, the limit is %d", n.ID, n.Weight, WeightMax)
	case max(len(n.Labels), len(n.Announced), len(n.Given)) > TableLabelsMax:
		return fmt.Errorf("node %s has %d labels, of which it announces %d and was given %d; the limit is %d", n.ID, len(n.Labels), len(n.Announced), len(n.Given), TableLabelsMax)
	}
	texts := []string{n.Name, n.Addr, n.Version}
	for _, list := range [...][]Label{n.Labels, n.Announced, n.Given} {
		for _, l := range list {
			texts = append(texts, l.Key, l.Value)
		}
	}
	for _, s := range texts {
		if len(s) > TableTextMax {
			return fmt.Errorf("node %s: %q… has %d bytes, the limit is %d", n.ID, s[:32], len(s), TableTextMax)
		}
	}
	return nil
}

func sortedLabels(labels []Label) []Label {
	return slices.SortedFunc(slices.Values(labels), func(a, b Label) int {
		return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Value, b.Value))
	})
}

// mergeLabels makes the labels that count of those that the node announces and those
// that it was given: of two with one key, the given one.
func (n *TableNode) mergeLabels() {
	n.Labels = nil
	given := func(key string) bool {
		return slices.ContainsFunc(n.Given, func(l Label) bool { return l.Key == key })
	}
	for _, l := range n.Announced {
		if !given(l.Key) {
			n.Labels = append(n.Labels, l)
		}
	}
	for _, l := range n.Given {
		if l.Value != "" {
			n.Labels = append(n.Labels, l)
		}
	}
	n.Labels = sortedLabels(n.Labels)
}

// called is the node as people know it.
func (n *TableNode) called() string {
	if n.Name == "" {
		return "node " + n.ID.String()
	}
	return "node " + n.Name
}

// called is a node, in the table or not, as people know it.
func (t *Table) called(id raft.NodeID) string {
	if n, ok := t.Node(id); ok {
		return n.called()
	}
	return "node " + id.String()
}

// WasRemoved reports whether a node was a member once and was taken off the list.
func (t *Table) WasRemoved(id raft.NodeID) bool {
	_, found := slices.BinarySearch(t.Removed, id)
	return found
}

// removed is the refusal of what a node asks for that was taken off the list.
func removed(id raft.NodeID) error {
	return &Refusal{Kind: RefusedConflict, Object: "node " + id.String(), Found: "it was removed from the cluster, and its id never comes back",
		Next: "start it with an empty directory, and run muster node add HOST:PORT"}
}

// unknownNode is the refusal of what is about a node that is not in the table.
func unknownNode(t *Table, id raft.NodeID) error {
	found := "it is no member of the cluster"
	if t.WasRemoved(id) {
		found = "it was removed from the cluster"
	}
	return &Refusal{Kind: RefusedAbsent, Object: "node " + id.String(), Found: found, Next: "see muster node list"}
}
