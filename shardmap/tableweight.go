package shardmap

import (
	"fmt"

	"muster/raft"
	"muster/shardmap/pack"
)

const (
	// WeightDefault is the weight of a node that nobody gave another one.
	WeightDefault = 100
	// WeightMax bounds a node's weight: ten times the default, so that it is plain what a
	// number means.
	WeightMax = 1000
)

// SetWeight says how large a part of the data a node should hold, compared with the others:
//
//	[node, weight]
type SetWeight struct {
	Node   raft.NodeID
	Weight uint32 // 0 to WeightMax
}

// AppendWeight appends the bytes of w to b. At this level the error is always nil.
func AppendWeight(b []byte, w *SetWeight) ([]byte, error) {
	b = appendTableHead(b, TableWeight, 2)
	b = pack.AppendUint(b, uint64(w.Node))
	return pack.AppendUint(b, uint64(w.Weight)), nil
}

func (r *tableReader) weight() (tableCommand, error) {
	w := new(SetWeight)
	r.fields("weight of a node", 2)
	w.Node, w.Weight = raft.NodeID(r.Uint()), uint32(r.UintMax(1<<32-1))
	return w, r.err()
}

// apply returns the table with the node's weight.
func (w *SetWeight) apply(t *Table, id raft.LogID) (*Table, error) {
	i, ok := t.node(w.Node)
	switch {
	case !ok:
		return t, unknownNode(t, w.Node)
	case w.Weight > WeightMax:
		return t, &Refusal{Kind: RefusedRequest, Object: t.Nodes[i].called(), Found: fmt.Sprintf("a weight of %d; want 0 to %d", w.Weight, WeightMax),
			Next: fmt.Sprintf("give one of these; where nobody gave any it is %d", WeightDefault)}
	case t.Nodes[i].Weight == w.Weight:
		return t, nil
	}
	made := t.draft(id)
	made.editNode(i).Weight = w.Weight
	return made.Table, nil
}

func (w *SetWeight) describe() string { return fmt.Sprintf("node %s %d", w.Node, w.Weight) }
