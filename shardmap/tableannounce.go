package shardmap

import (
	"fmt"
	"slices"

	"muster/raft"
	"muster/shardmap/pack"
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

func (r *tableReader) announce() (tableCommand, error) {
	a := new(Announce)
	r.fields("announce", 7)
	a.Node, a.Start = raft.NodeID(r.Uint()), r.Uint()
	a.Addr, a.Version, a.Name = r.String(), r.String(), r.String()
	a.Labels = r.labels()
	a.Level = uint32(r.UintMax(1<<32 - 1))
	return a, r.err()
}

// apply returns the table with a node's line as a says, and at the level that all
// members have announced by now.
func (a *Announce) apply(t *Table, id raft.LogID) (*Table, error) {
	i, ok := t.node(a.Node)
	if !ok && t.WasRemoved(a.Node) {
		return t, removed(a.Node)
	}
	if !ok {
		return t, fmt.Errorf("node %s is not a member", a.Node)
	}
	// The start is what the node counts, for people to read. It may go back: one that
	// somebody made up must not keep the node out. Which life of a node is taken is
	// settled before this log (repl/lives.go).
	was := t.Nodes[i]
	now := was
	now.Start, now.Addr, now.Version, now.Name, now.Announced, now.Level = a.Start, a.Addr, a.Version, a.Name, sortedLabels(a.Labels), a.Level
	now.mergeLabels()
	if err := now.validate(); err != nil {
		return t, err
	}
	if now.Level < t.Level {
		return t, fmt.Errorf("node %s understands level %d, the cluster is at level %d: start the newer muster there", a.Node, a.Level, t.Level)
	}
	if now.Start == was.Start && now.Addr == was.Addr && now.Version == was.Version && now.Name == was.Name && now.Level == was.Level && slices.Equal(now.Announced, was.Announced) {
		return t, nil
	}
	made := t.draft(id)
	*made.editNode(i) = now
	made.Level = made.levelOfAll()
	return made.Table, nil
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
