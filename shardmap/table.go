package shardmap

import (
	"fmt"
	"slices"

	"muster/raft"
)

// NodeRole says what a node does in the cluster. Numbers are for ever.
type NodeRole uint8

const (
	NodeServer NodeRole = 1 // holds replicas
	NodeClient NodeRole = 2 // holds the table only, and votes in nothing
)

func (r NodeRole) String() string {
	switch r {
	case NodeServer:
		return "server"
	case NodeClient:
		return "client"
	}
	return fmt.Sprintf("role %d", uint8(r))
}

// ReplicaRole says what a replica is meant to be in its group. What it is at
// this moment, the group's own log says. Numbers are for ever.
type ReplicaRole uint8

const (
	ReplicaVoter   ReplicaRole = 1 // counts in majorities
	ReplicaLearner ReplicaRole = 2 // has the entries, and counts in none
)

func (r ReplicaRole) String() string {
	switch r {
	case ReplicaVoter:
		return "voter"
	case ReplicaLearner:
		return "learner"
	}
	return fmt.Sprintf("role %d", uint8(r))
}

// Label is one KEY=VALUE that its operator gave a node.
type Label struct {
	Key, Value string
}

// TableNode is one line of the peer list.
type TableNode struct {
	ID   raft.NodeID
	Name string
	Addr string // host:port that others reach it at
	Role NodeRole
	// Labels are those that count, by key: Announced, with Given over them.
	// Invariant: this is what [TableNode.mergeLabels] makes of the two.
	Labels  []Label
	Version string // of its binary
	Start   uint64 // how often it was started, by its own word; it proves nothing
	// Level is the newest that its binary understands, by its own word. Invariant: no
	// lower than the table's.
	Level uint32
	// Draining: its leaders and replicas are to go elsewhere. From level 3 on, as is
	// what follows.
	Draining bool
	// Announced are the labels that the node was started with, by key.
	Announced []Label
	// Given are the labels that a person gave by command, by key. One without a value
	// takes away what the node announces under that key.
	Given []Label
	// Weight is how large a part of the data the node should hold, compared with the
	// others: 0 to [WeightMax]. It is [WeightDefault] until a command says otherwise, from
	// level 4 on.
	Weight uint32
}

// TableReplica is one member that a group is meant to have.
type TableReplica struct {
	Replica raft.ReplicaID
	Node    raft.NodeID
	Role    ReplicaRole
}

// TableGroup is a group as it is meant to be.
type TableGroup struct {
	ID          raft.GroupID
	Incarnation raft.Incarnation
	// Founders are the replicas that the group was founded with, by replica id. They
	// stay what they were: only they begin with a membership, where a replica that is
	// made later learns of it from the group's log.
	Founders []TableReplica
	// Replicas are those of today, by replica id.
	Replicas  []TableReplica
	Preferred raft.NodeID // the leader that spreads leaders evenly
	// FirstSlots are those that the group is founded with, as [SlotRanges] makes them;
	// none if it is to get its slots by moves. They stay what they were: what the group
	// owns, its own log says, and where a slot is looked for today, Table.Slots.
	FirstSlots []SlotRange
	// Seen is the entry of the group's log that brought the membership that Replicas
	// was read from; zero: it is the founding's, and nothing was read yet. Below level 3
	// it always is.
	Seen raft.LogID
	// Next is the replica id that the group allots next, as of Seen. Invariant: above
	// that of each replica.
	Next raft.ReplicaID
	// ByHand: a person chose the replicas; their number is then left as it is.
	ByHand bool
	// Pinned: a person chose Preferred; it stays while it can lead.
	Pinned bool
}

// Table is what every node knows of the cluster. It is a value: once handed
// out by [TableMachine.Table] nobody changes it.
type Table struct {
	Cluster   string
	ClusterID uint64 // 0: not founded yet
	// Level is that of the commands that the cluster takes: all members understand
	// it. It never falls.
	Level uint32
	Index uint64 // of the entry that changed it last
	// Epoch is the index of the entry that last gave a slot another owner. What
	// else changes (an address, a name) leaves it: listings and clients hold on to
	// what they know of slots.
	Epoch    uint64
	ValueMax int                 // bytes
	Nodes    []TableNode         // by id
	Meta     TableGroup          // the meta group, which owns no slots
	Groups   []TableGroup        // the others, by id
	Slots    [Slots]raft.GroupID // whose each is, as far as recorded; 0: nobody's
	tableSettings
	// Jobs are all unfinished ones, at most [JobsMax], and the last finished ones, at
	// most [JobsKept], by id. From level 3 on, as is what follows.
	Jobs []Job
	// Removed are the nodes that were taken off the list, by id, at most [RemovedMax].
	// Their ids never come back. Invariant: none of them is among Nodes.
	Removed []raft.NodeID
	// Moves are those that are not closed, by their first slot, then by number. From level
	// 4 on. Invariant: no slot is in two open ones; the slot of an open one is its source's.
	Moves []Move
	// RemovedGroups are the groups that were removed, by number, from level 5 on. A number
	// is never given again: log ids of the group, and the slots that were its, name it by
	// that alone. Invariant: none of them is among Groups.
	RemovedGroups []raft.GroupID
	// Incidents are the last replicas that were found to differ, by id, at most
	// [IncidentsMax]. From level 7 on.
	Incidents []Incident
	// IncidentCount is how many incidents there ever were. Invariant: no less than there are.
	IncidentCount uint64
	// Security is who may connect and do what. From level 8 on.
	Security Security
	// Catalog has databases, their policies and windows. From level 10 on.
	Catalog Catalog
}

// Founded reports whether the table describes a cluster.
func (t *Table) Founded() bool { return t.ClusterID != 0 }

// GroupOf returns the group where a slot is looked for; 0 if there is none.
func (t *Table) GroupOf(s Slot) raft.GroupID {
	if s >= Slots {
		return 0
	}
	return t.Slots[s]
}

// Node returns the line of a node.
func (t *Table) Node(id raft.NodeID) (TableNode, bool) {
	i, ok := t.node(id)
	if !ok {
		return TableNode{}, false
	}
	return t.Nodes[i], true
}

func (t *Table) node(id raft.NodeID) (int, bool) {
	return slices.BinarySearchFunc(t.Nodes, id, func(n TableNode, id raft.NodeID) int {
		switch {
		case n.ID < id:
			return -1
		case n.ID > id:
			return 1
		}
		return 0
	})
}

// Group returns the line of a group, the meta group's too.
func (t *Table) Group(id raft.GroupID) (TableGroup, bool) {
	if id == 0 {
		return t.Meta, t.Founded()
	}
	i, ok := t.group(id)
	if !ok {
		return TableGroup{}, false
	}
	return t.Groups[i], true
}

func (t *Table) group(id raft.GroupID) (int, bool) {
	return slices.BinarySearchFunc(t.Groups, id, func(g TableGroup, id raft.GroupID) int { return int(g.ID) - int(id) })
}

// EachGroup yields the row of each group, the meta group's first.
func (t *Table) EachGroup(yield func(*TableGroup) bool) {
	if !yield(&t.Meta) {
		return
	}
	for i := range t.Groups {
		if !yield(&t.Groups[i]) {
			return
		}
	}
}

// ReplicaOn returns the replica that a node has of the group.
func (g *TableGroup) ReplicaOn(n raft.NodeID) (TableReplica, bool) {
	for _, r := range g.Replicas {
		if r.Node == n {
			return r, true
		}
	}
	return TableReplica{}, false
}

// voters returns how many replicas of the group vote.
func (g *TableGroup) voters() (n int) {
	for _, r := range g.Replicas {
		if r.Role == ReplicaVoter {
			n++
		}
	}
	return n
}

// SlotsOf returns the slots that are looked for at a group, in order.
func (t *Table) SlotsOf(id raft.GroupID) []Slot {
	var slots []Slot
	for s, g := range t.Slots {
		if g == id {
			slots = append(slots, Slot(s))
		}
	}
	return slots
}

// OwnedRange is a run of slots of one group.
type OwnedRange struct {
	SlotRange
	Group raft.GroupID
}

// Ranges returns the slot table as runs, in order, without a gap.
func (t *Table) Ranges() []OwnedRange {
	var runs []OwnedRange
	for s, g := range t.Slots {
		if n := len(runs); n > 0 && runs[n-1].Group == g {
			runs[n-1].To = Slot(s)
			continue
		}
		runs = append(runs, OwnedRange{SlotRange{Slot(s), Slot(s)}, g})
	}
	return runs
}
