package wire

import (
	"fmt"
	"hash/crc32"

	"muster/raft"
	"muster/shardmap"
)

// StatusAnswer is the cluster as one node knows it.
type StatusAnswer struct {
	Cluster   string
	ClusterID uint64
	Self      raft.NodeID // that answers
	Epoch     uint64      // of its table
	Healthy   bool        // Invariant: there are no Problems
	Problems  []Problem
	Nodes     []StatusNode
	Groups    []StatusGroup // the meta group included
	CPUMicros uint64        // that the process has used since its start
	RSS       uint64        // bytes
	Log       LogStats
	Level     uint32 // of commands: the newest that the cluster takes; 0 before it is known
	// Notes are worth knowing and no Problems: the cluster is healthy with them.
	Notes []Problem
}

// Problem is something that needs an operator's attention.
type Problem struct {
	What   string
	Remedy string // the next command, where there is one
	// Kind and About tell programs what it is about, whatever the words. A node of an older build sends neither. Both are
	// numbers, so that they take no memory beside the row: a stranger may send many rows that are empty.
	Kind  ProblemKind
	About uint32
}

// ProblemKind says what a problem is about. A number keeps its meaning; one that is not known here counts as
// [ProblemOther].
type ProblemKind uint8

// Kinds of problems.
const (
	ProblemOther    ProblemKind = 0 // anything else. About is 0
	ProblemMajority ProblemKind = 1 // too few voters of groups live. About is [SumOf] these, as the words name them
	ProblemLeader   ProblemKind = 2 // groups have no leader. About as for ProblemMajority
	ProblemNode     ProblemKind = 3 // a node is not there, or does not take part. About is its place in Nodes, from 0
)

// SumOf is the CRC-32 of groups as a problem names them, like "groups 1, 2 and 7 more": two that name the same groups have
// the same.
func SumOf(groups string) uint32 { return crc32.ChecksumIEEE([]byte(groups)) }

// StatusNode is a node as operators see it.
type StatusNode struct {
	ID          raft.NodeID
	Name        string
	Addr        string
	Role        shardmap.NodeRole
	Status      NodeStatus
	Version     string
	Labels      []shardmap.Label
	Start       uint64
	LastHeardMs uint64 // ago; 0 for the node itself, and for one that was never heard
	Level       uint32 // of commands: the newest that it has announced to understand
	Weight      uint32 // how large a part of the data it should hold, compared with the others
}

// StatusGroup is a group as the answering node knows it.
type StatusGroup struct {
	ID          raft.GroupID
	Incarnation raft.Incarnation
	Leader      raft.NodeID // 0 none
	Term        uint64
	Commit      raft.LogID
	Applied     uint64
	Slots       uint32 // how many it owns
	Replicas    []StatusReplica
}

// StatusReplica is one member of a group. Only the leader knows Match and State,
// except [ReplicaDamaged], which its own node knows.
type StatusReplica struct {
	ID    raft.ReplicaID
	Node  raft.NodeID
	Role  shardmap.ReplicaRole
	Match uint64 // durable there, as far as the leader knows
	State ReplicaState
}

// ReplicaState is how the leader feeds a replica.
type ReplicaState uint8

const (
	ReplicaUnknown    ReplicaState = 0 // the answering node does not lead the group
	ReplicaLeads      ReplicaState = 1 // it is the leader
	ReplicaProbed     ReplicaState = 2 // the leader does not know yet where the logs meet
	ReplicaReplicates ReplicaState = 3 // entries are sent as they come
	ReplicaSnapshot   ReplicaState = 4 // needs what the leader's log no longer has
	ReplicaLost       ReplicaState = 5 // not heard of lately
	ReplicaDamaged    ReplicaState = 6 // of the answering node itself: its log lost something, and it takes no part
)

func (s ReplicaState) String() string {
	names := [...]string{"unknown", "leader", "probe", "replicate", "snapshot", "lost", "damaged"}
	if int(s) < len(names) {
		return names[s]
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// LogStats is what a node's log has done since its start.
type LogStats struct {
	Bytes    uint64 // appended
	Batches  uint64
	Syncs    uint64
	Segments uint64 // files now
	Recycled uint64 // files used again

	EntryBytes    uint64 // the part of Bytes that the groups had to keep
	MovedBytes    uint64 // the part of Bytes that was written again to free a file
	FilledBytes   uint64 // of zeros, in new files
	Snapshots     uint64
	SnapshotBytes uint64 // written in them
}

func (m *StatusAnswer) fields(f *fields) {
	f.grown(12, func() {
		f.text("cluster", &m.Cluster)
		number(f, "cluster_id", &m.ClusterID)
		number(f, "self", &m.Self)
		number(f, "epoch", &m.Epoch)
		f.flag("healthy", &m.Healthy)
		list(f, "problems", &m.Problems, 3, problem)
		list(f, "nodes", &m.Nodes, 11, statusNode)
		list(f, "groups", &m.Groups, 11, statusGroup)
		number(f, "cpu_micros", &m.CPUMicros)
		number(f, "rss", &m.RSS)
		f.atLeast(10, func() {
			number(f, "log.bytes", &m.Log.Bytes)
			number(f, "log.batches", &m.Log.Batches)
			number(f, "log.syncs", &m.Log.Syncs)
			number(f, "log.segments", &m.Log.Segments)
			number(f, "log.recycled", &m.Log.Recycled)
			number(f, "log.entry_bytes", &m.Log.EntryBytes)
			number(f, "log.moved_bytes", &m.Log.MovedBytes)
			number(f, "log.filled_bytes", &m.Log.FilledBytes)
			number(f, "log.snapshots", &m.Log.Snapshots)
			number(f, "log.snapshot_bytes", &m.Log.SnapshotBytes)
		})
		number(f, "level", &m.Level)
	}, 1, func() {
		list(f, "notes", &m.Notes, 3, problem)
	})
}

func problem(f *fields, p *Problem) {
	f.grown(2, func() {
		f.text("what", &p.What)
		f.text("remedy", &p.Remedy)
	}, 2, func() {
		number(f, "kind", &p.Kind)
		number(f, "about", &p.About)
	})
}

func statusNode(f *fields, n *StatusNode) {
	if f.reading {
		n.Weight = shardmap.WeightDefault // an older build knows no other
	}
	f.grown(10, func() {
		number(f, "id", &n.ID)
		f.text("name", &n.Name)
		f.text("addr", &n.Addr)
		number(f, "role", &n.Role)
		number(f, "status", &n.Status)
		f.text("version", &n.Version)
		list(f, "labels", &n.Labels, labelMin, label)
		number(f, "start", &n.Start)
		number(f, "last_heard_ms", &n.LastHeardMs)
		number(f, "level", &n.Level)
	}, 1, func() {
		number(f, "weight", &n.Weight)
	})
}

func statusGroup(f *fields, g *StatusGroup) {
	f.atLeast(8, func() {
		number(f, "id", &g.ID)
		number(f, "incarnation", &g.Incarnation)
		number(f, "leader", &g.Leader)
		number(f, "term", &g.Term)
		f.exactly(2, func() {
			number(f, "commit.term", &g.Commit.Term)
			number(f, "commit.index", &g.Commit.Index)
		})
		number(f, "applied", &g.Applied)
		number(f, "slots", &g.Slots)
		list(f, "replicas", &g.Replicas, 6, func(f *fields, r *StatusReplica) {
			f.atLeast(5, func() {
				number(f, "id", &r.ID)
				number(f, "node", &r.Node)
				number(f, "role", &r.Role)
				number(f, "match", &r.Match)
				number(f, "state", &r.State)
			})
		})
	})
}

// CountersAnswer holds a row for each type that was seen.
type CountersAnswer struct{ Rows []CounterRow }

// CounterRow counts the frames of one type, header included in the bytes.
type CounterRow struct {
	Name              string
	In, Out           uint64 // frames
	BytesIn, BytesOut uint64
}

func (m *CountersAnswer) fields(f *fields) {
	f.atLeast(1, func() {
		list(f, "rows", &m.Rows, 6, func(f *fields, r *CounterRow) {
			f.atLeast(5, func() {
				f.text("name", &r.Name)
				number(f, "in", &r.In)
				number(f, "out", &r.Out)
				number(f, "bytes_in", &r.BytesIn)
				number(f, "bytes_out", &r.BytesOut)
			})
		})
	})
}

func (m *StatusAnswer) Append(b []byte) []byte   { return appendFields(b, m) }
func (m *CountersAnswer) Append(b []byte) []byte { return appendFields(b, m) }

func (m *StatusAnswer) Read(body []byte) error   { return readFields(body, m) }
func (m *CountersAnswer) Read(body []byte) error { return readFields(body, m) }
