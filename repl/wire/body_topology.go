package wire

import (
	"fmt"

	"muster/raft"
	"muster/shardmap"
	"muster/shardmap/pack"
)

// NodeStatus is how the answering node sees another.
type NodeStatus uint8

const (
	NodeAlive   NodeStatus = 1 // heard of lately; in a topology also one of which it is too soon to tell
	NodeDead    NodeStatus = 2 // not heard of for longer than an election takes
	NodeStandby NodeStatus = 3 // waits to be made a member

	// Of these a status tells, and a topology says that they are alive.
	NodeJoining  NodeStatus = 4 // a member that has no copy of the table yet
	NodeDraining NodeStatus = 5 // alive, and its leaders and replicas are to go elsewhere
)

func (s NodeStatus) String() string {
	switch s {
	case NodeAlive:
		return "alive"
	case NodeDead:
		return "dead"
	case NodeStandby:
		return "standby"
	case NodeJoining:
		return "joining"
	case NodeDraining:
		return "draining"
	}
	return fmt.Sprintf("status %d", uint8(s))
}

// Topology asks a node for its topology: [] for that of the table it has, [index] for that
// of a table at this index or a later one. While the node's table is older the answer waits,
// until the request's deadline.
type Topology struct {
	Index uint64 // 0: any, at once
}

// Append appends the body: without an index, the one that nodes of a level below 5 know.
func (t *Topology) Append(b []byte) []byte {
	if t.Index == 0 {
		return pack.AppendArray(b, 0)
	}
	return pack.AppendUint(pack.AppendArray(b, 1), t.Index)
}

// Read reads the body.
func (t *Topology) Read(body []byte) error {
	t.Index = 0
	r := pack.NewReader(body)
	switch n := r.Array(); n {
	case 0:
	case 1:
		t.Index = r.Uint()
	default:
		r.Fail(fmt.Sprintf("%d fields, want none or 1", n))
	}
	return r.Done()
}

func (t *Topology) lines() []string {
	if t.Index == 0 {
		return nil
	}
	return []string{fmt.Sprintf("index %d", t.Index)}
}

// TableStream opens a stream of the topology: [window, piece bytes, index]. The node sends
// its own, a [TopologyAnswer], as soon as its table is newer than index, and again after each
// change of the table; of several changes before it can send, only the newest. A change of
// leaders alone sends nothing.
type TableStream struct {
	Window     uint64 // the first grant, at most StreamWindowMax
	PieceBytes uint32 // StreamPieceMin to StreamPieceMax; a topology that is larger is a piece too
	Index      uint64 // of the table that the client has; 0: none
}

func (s *TableStream) fields(f *fields) {
	f.exactly(3, func() {
		number(f, "window", &s.Window)
		number(f, "piece_bytes", &s.PieceBytes)
		number(f, "index", &s.Index)
	})
}

// Append appends the body.
func (s *TableStream) Append(b []byte) []byte { return appendFields(b, s) }

// Read reads the body.
func (s *TableStream) Read(body []byte) error {
	if err := readFields(body, s); err != nil {
		return err
	}
	return checkWindow(s.Window, uint64(s.PieceBytes))
}

// TopologyAnswer is what a client needs to find the leader for a key.
type TopologyAnswer struct {
	ClusterID uint64
	Epoch     uint64 // of the slots: it changes when one of them gets another owner
	Nodes     []TopologyNode
	Groups    []TopologyGroup
	Slots     []shardmap.OwnedRange
	ValueMax  uint32 // bytes
	Index     uint64 // of the table: it changes with each change of anything above
	Level     uint32 // of the cluster; 0 from a node that does not say
}

// TopologyNode is a node as clients see it.
type TopologyNode struct {
	ID     raft.NodeID
	Name   string
	Addr   string
	Role   shardmap.NodeRole
	Status NodeStatus
}

// TopologyGroup says which nodes have a group.
type TopologyGroup struct {
	ID     raft.GroupID
	Leader raft.NodeID // as far as the answering node knows; 0 none
	Nodes  []raft.NodeID
}

func (m *TopologyAnswer) fields(f *fields) {
	f.grown(7, func() {
		number(f, "cluster_id", &m.ClusterID)
		number(f, "epoch", &m.Epoch)
		list(f, "nodes", &m.Nodes, 6, func(f *fields, n *TopologyNode) {
			f.atLeast(5, func() {
				number(f, "id", &n.ID)
				f.text("name", &n.Name)
				f.text("addr", &n.Addr)
				number(f, "role", &n.Role)
				number(f, "status", &n.Status)
			})
		})
		list(f, "groups", &m.Groups, 4, func(f *fields, g *TopologyGroup) {
			f.atLeast(3, func() {
				number(f, "id", &g.ID)
				number(f, "leader", &g.Leader)
				list(f, "nodes", &g.Nodes, 1, func(f *fields, n *raft.NodeID) { number(f, "id", n) })
			})
		})
		list(f, "slots", &m.Slots, 4, func(f *fields, s *shardmap.OwnedRange) {
			f.atLeast(3, func() {
				number(f, "from", &s.From)
				number(f, "to", &s.To)
				number(f, "group", &s.Group)
			})
		})
		number(f, "value_max", &m.ValueMax)
		number(f, "index", &m.Index)
	}, 1, func() {
		number(f, "level", &m.Level)
	})
}

func (m *TopologyAnswer) Append(b []byte) []byte { return appendFields(b, m) }
func (m *TopologyAnswer) Read(body []byte) error { return readFields(body, m) }
