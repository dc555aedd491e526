package wire

import (
	"muster/raft"
	"muster/shardmap"
)

// FoundingHost is a host that takes part in founding a cluster.
type FoundingHost struct {
	Addr string
	Node raft.NodeID // 0: not heard of yet
}

func foundingHost(f *fields, h *FoundingHost) {
	f.exactly(2, func() {
		f.text("addr", &h.Addr)
		number(f, "node", &h.Node)
	})
}

const foundingHostMin = 3 // bytes

// Founding tells another host named in --join who the sender is and whom it
// has heard of. The cluster is founded when all have heard the same of all.
type Founding struct {
	Node      raft.NodeID
	Start     uint64
	Addr      string
	Expect    uint32 // number of hosts
	Seen      []FoundingHost
	Cluster   string
	ClusterID uint64 // 0 until it is known
	Settings  FoundingSettings
}

// FoundingSettings are what the hosts that found a cluster must agree on, for
// the cluster keeps them.
type FoundingSettings struct {
	Groups   uint32 // data groups
	ValueMax uint32 // bytes of the largest value
}

func foundingSettings(f *fields, s *FoundingSettings) {
	f.exactly(2, func() {
		number(f, "groups", &s.Groups)
		number(f, "value_max", &s.ValueMax)
	})
}

func (m *Founding) fields(f *fields) {
	f.exactly(8, func() {
		number(f, "node", &m.Node)
		number(f, "start", &m.Start)
		f.text("addr", &m.Addr)
		number(f, "expect", &m.Expect)
		list(f, "seen", &m.Seen, foundingHostMin, foundingHost)
		f.text("cluster", &m.Cluster)
		number(f, "cluster_id", &m.ClusterID)
		foundingSettings(f, &m.Settings)
	})
}

// Stage tells the other founding hosts how far a host is. The stage on its own disk
// is another list, with other numbers: logstore.Stage.
type Stage uint8

const (
	StageEmpty    Stage = 1 // has a node id and waits for the others
	StageFounding Stage = 2 // reserved, and sent by nobody: a host that knows the cluster id answers as a member
	StageMember   Stage = 3 // is a member of a cluster
)

// FoundingAnswer answers a Founding. From a member it is what an empty host
// named among the members adopts.
type FoundingAnswer struct {
	Stage     Stage
	Node      raft.NodeID
	Seen      []FoundingHost
	Cluster   string
	ClusterID uint64
	Members   []FoundingHost // of group 0, once they are known
	Settings  FoundingSettings
}

func (m *FoundingAnswer) fields(f *fields) {
	f.atLeast(7, func() {
		number(f, "stage", &m.Stage)
		number(f, "node", &m.Node)
		list(f, "seen", &m.Seen, foundingHostMin, foundingHost)
		f.text("cluster", &m.Cluster)
		number(f, "cluster_id", &m.ClusterID)
		list(f, "members", &m.Members, foundingHostMin, foundingHost)
		foundingSettings(f, &m.Settings)
	})
}

// Announce tells the meta group's leader where a node is to be found and what
// it is.
type Announce struct {
	Node    raft.NodeID
	Start   uint64
	Addr    string
	Version string // of the binary
	Name    string
	Labels  []shardmap.Label
	Level   uint32 // of commands: the newest that the binary understands
}

func (m *Announce) fields(f *fields) {
	f.exactly(7, func() {
		number(f, "node", &m.Node)
		number(f, "start", &m.Start)
		f.text("addr", &m.Addr)
		f.text("version", &m.Version)
		f.text("name", &m.Name)
		list(f, "labels", &m.Labels, labelMin, label)
		number(f, "level", &m.Level)
	})
}

// AnnounceAnswer answers an Announce.
type AnnounceAnswer struct {
	Index uint64 // of the table that holds what was announced
}

func (m *AnnounceAnswer) fields(f *fields) {
	f.atLeast(1, func() { number(f, "index", &m.Index) })
}

// label is a mark that an operator put on a node.
func label(f *fields, l *shardmap.Label) {
	f.exactly(2, func() {
		f.text("key", &l.Key)
		f.text("value", &l.Value)
	})
}

const labelMin = 3 // bytes

func (m *Founding) Append(b []byte) []byte       { return appendFields(b, m) }
func (m *FoundingAnswer) Append(b []byte) []byte { return appendFields(b, m) }
func (m *Announce) Append(b []byte) []byte       { return appendFields(b, m) }
func (m *AnnounceAnswer) Append(b []byte) []byte { return appendFields(b, m) }

func (m *Founding) Read(body []byte) error       { return readFields(body, m) }
func (m *FoundingAnswer) Read(body []byte) error { return readFields(body, m) }
func (m *Announce) Read(body []byte) error       { return readFields(body, m) }
func (m *AnnounceAnswer) Read(body []byte) error { return readFields(body, m) }
