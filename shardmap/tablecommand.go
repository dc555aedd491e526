package shardmap

import (
	"bytes"
	"fmt"

	"github.com/vmihailenco/msgpack/v5"

	"muster/pack"
	"muster/raft"
)

// TableCommandKind says what a command to the meta group does. Numbers are for
// ever.
type TableCommandKind uint8

const (
	TableFound    TableCommandKind = 1 // makes the cluster; body: Found; since level 1
	TableAnnounce TableCommandKind = 2 // a member says where it is; body: Announce; since level 1
)

// Found makes a cluster, once. Each node that founds it is in Nodes.
type Found struct {
	_msgpack  struct{} `msgpack:",as_array"`
	Cluster   string
	ClusterID uint64
	Level     uint32
	ValueMax  int
	Groups    int // how many data groups
	Nodes     []FoundNode
}

// FoundNode is a founding node.
type FoundNode struct {
	_msgpack struct{} `msgpack:",as_array"`
	ID       raft.NodeID
	Name     string
	Addr     string
	Role     NodeRole
	Labels   []FoundLabel
	Version  string
	Start    uint64
}

// FoundLabel is a label of a founding node.
type FoundLabel struct {
	_msgpack struct{} `msgpack:",as_array"`
	Key      string
	Value    string
}

// Announce tells the cluster what a member is since its last start.
type Announce struct {
	_msgpack struct{} `msgpack:",as_array"`
	Node     raft.NodeID
	Start    uint64
	Addr     string
	Version  string
	Name     string
	Labels   []FoundLabel
}

// TableElementsMax bounds the msgpack elements of one command to the meta
// group.
const TableElementsMax = 1 << 16

// AppendFound appends the bytes of a founding to b: [kind, body].
func AppendFound(b []byte, f *Found) ([]byte, error) { return appendTable(b, TableFound, f) }

// AppendAnnounce appends the bytes of an announcement to b: [kind, body].
func AppendAnnounce(b []byte, a *Announce) ([]byte, error) { return appendTable(b, TableAnnounce, a) }

func appendTable(b []byte, kind TableCommandKind, body any) ([]byte, error) {
	var buf bytes.Buffer
	e := msgpack.NewEncoder(&buf)
	e.UseCompactInts(true)
	if err := e.Encode(body); err != nil {
		return b, fmt.Errorf("encode command to the meta group: %w", err)
	}
	b = pack.AppendArray(b, 2)
	b = pack.AppendUint(b, uint64(kind))
	return append(b, buf.Bytes()...), nil
}
